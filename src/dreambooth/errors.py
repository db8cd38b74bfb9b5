"""What can go wrong, said to the person who can fix it.

    DreamBoothError                 catch this one
    |-- ConfigError                 settings that cannot work, all of them at once
    |-- PhotoError                  photos that cannot be used, all of them at once
    |-- PromptError                 an identifier or a prompt that cannot work
    |-- ModelError                  a base model or a judge that cannot be found, opened or saved
    |-- RunError                    a run folder that is in use, belongs to other settings or is damaged
    |-- DiskError                   no room, or no right, to write
    |-- DeviceMemoryError           a GPU, or a machine, whose memory is too small
    |-- TrainingError               a loss that is not finite
    `-- Interrupted                 stopped by Ctrl-C or SIGTERM, after saving

Every message says what was given, what was expected and what to do.
"""

import errno
from collections.abc import Sequence


class DreamBoothError(Exception):
    """Anything this package raises for its user to read."""


class _Listed(DreamBoothError):
    headline = ""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([self.headline, *(f"  - {problem}" for problem in problems)]))

    def __reduce__(self) -> tuple[object, ...]:  # another process is told the list, not the text made of it
        return type(self), (self.problems,)


class ConfigError(_Listed):
    """Settings that cannot work; `problems` lists all of them."""

    headline = "these settings cannot work:"


class PhotoError(_Listed):
    """Photos that cannot be used; `problems` lists all of them. The originals are never changed."""

    headline = "these photos cannot be used (nothing was changed):"


class PromptError(DreamBoothError):
    """An identifier or a prompt that cannot work."""


class ModelError(DreamBoothError):
    """A base model or a judge that cannot be found, opened or saved."""


class RunError(DreamBoothError):
    """A run folder that is in use, belongs to other settings or is damaged."""


class DiskError(DreamBoothError):
    """No room, or no right, to write."""


class DeviceMemoryError(DreamBoothError):
    """Too little memory, on the GPU or in the machine, for what was asked; the message names settings that help."""


class TrainingError(DreamBoothError):
    """A loss or a gradient that is not finite; the weights of the last good step are kept."""


class Interrupted(DreamBoothError):
    """The run was stopped by Ctrl-C or SIGTERM; it saved first, and the message says how to resume."""


DISK_REASONS = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space and run the same command again",
    errno.EFBIG: "a file is too large for this disk, or for a limit (`ulimit -f`): choose another folder, or raise it",
    errno.EACCES: "you may not write there, or not read it: change its permissions, or choose another folder",
    errno.EPERM: "you may not write there, or not read it: change its permissions, or choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.ENAMETOOLONG: "a name in it is too long for this disk: choose a shorter one",
    errno.ENOTDIR: "a part of it is a file, not a folder: choose another folder",
    errno.EISDIR: "it is a folder where a file was expected: move it away",
    errno.EEXIST: "it is a file where a folder was expected: choose another folder",
    errno.EIO: "the disk reports a fault: check it, or choose another folder",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`)",
}
"""What each error of the system about a file means, and what to do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused: by Python, by torch's allocator on the CPU, or on a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = ("can't allocate memory", "out of memory")  # by torch on the CPU, and on Apple's MPS
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


def in_words(error: BaseException) -> str | None:
    """The sentence for an error that the user or the machine can fix, by its kind; None for any other.

    The one place where what the libraries and the system raise is put in words, whoever raised it.
    """
    name, said = type(error).__name__, str(error).strip().partition("\n")[0]
    if is_out_of_memory(error):
        return (
            "there is not enough memory for this. Use smaller batches (--train-batch-size 1, --sample-batch-size 1), "
            "--gradient-checkpointing, --dtype bfloat16 or --method lora, or end other programs; then run the same "
            f"command again. ({said or name})"
        )
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename if error.filename is not None else "a file"
        return f"{place}: {DISK_REASONS.get(error.errno, error.strerror or said)}."
    if isinstance(error, ImportError) or said.startswith("Failed to import") or "shared object" in said:
        return f"a library does not load: {str(error).strip().rpartition(chr(10))[2]}. `dreambooth doctor` says which."
    if isinstance(error, UnicodeEncodeError):
        near = error.object[max(0, error.start - 30) : error.end + 30]
        return (
            f"{near!r} has characters that cannot be written as {error.encoding}: rename the file or folder, or "
            "choose other words."
        )
    return None
