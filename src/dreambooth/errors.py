"""What can go wrong, told to the person who can mend it.

    DreamBoothError                 catch this one
    |-- ConfigError                 settings that cannot work, all of them at once
    |-- PhotoError                  photos that cannot be used, all of them at once
    |-- PromptError                 an identifier or a prompt that cannot work
    |-- ModelError                  a base model or a judge that cannot be found, opened or saved
    |-- RunError                    a run folder that is in use, belongs to other settings or is damaged
    |-- DiskError                   no room, or no right, to write
    |-- TrainingError               a loss that is not finite
    `-- Interrupted                 stopped by Ctrl-C or SIGTERM, after saving

Every message says what was given, what was expected and what to do.
"""

from collections.abc import Sequence


class DreamBoothError(Exception):
    """Anything this package raises for its user to read."""


class _Listed(DreamBoothError):
    headline = ""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([self.headline, *(f"  - {problem}" for problem in problems)]))


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


class TrainingError(DreamBoothError):
    """A loss or a gradient that is not finite; the weights of the last good step are kept."""


class Interrupted(DreamBoothError):
    """The run was stopped by Ctrl-C or SIGTERM; it saved first, and the message says how to go on."""
