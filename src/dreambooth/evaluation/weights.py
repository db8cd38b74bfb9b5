"""Where a judge's weights are: embedded, in a folder, or on the hub at one commit. Only safetensors are ever read."""

import hashlib
import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import get_repo_discussions, model_info, snapshot_download, try_to_load_from_cache

from dreambooth.config.worlds import named
from dreambooth.errors import ModelError
from dreambooth.support.files import at_home
from dreambooth.support.hub import is_hub_id, out_of_reach

PINNED = {
    "facebook/dinov2-small": "ed25f3a31f01632728cabb09d1542f84ab7b0056",
    "openai/clip-vit-base-patch32": "c237dc49a33fc61debc9276459120b7eac67e7ef",
    "openai/clip-vit-large-patch14": "32bd64288804d66eefd0ccbe215aa642df71cc41",
}
"""The commit that is meant where no revision is given; each holds its weights as safetensors."""

WANTED = ("*.json", "*.txt", "*.safetensors")
CONVERTED = ("SFconvertbot", "Adding `safetensors` variant of this model")
"""Who converts pickled weights on the hub, and what it calls its pull requests; transformers trusts the same ones."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A folder with a judge in transformers' format. name: "owner/name@commit", or "folder#hash of its weights"."""

    folder: Path
    name: str

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json; raises ModelError where there is none."""
        try:
            config: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it is not a table of settings")
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(
                f"the judge {self.name} has no readable config.json in {self.folder}: give a folder that "
                "save_pretrained of transformers has written, or a hub id owner/name."
            ) from error
        return config


def find(model: str, revision: str | None, part: str) -> Found:
    """The judge `model`: the name of a world that has its own, a folder or a hub id "owner/name".

    part: which of the embedded judges, "dino" or "clip".  Raises ModelError where there is none, or where it has no
    weights as safetensors.
    """
    local, embedded = at_home(model), named(model).embedded
    if embedded or local.exists():
        if revision is not None:
            raise ModelError(f"the judge {model} is on this disk and has no revisions: leave out {revision!r}.")
        folder = embedded / "judges" / part if embedded else local
        called = f"{model}-{part}" if embedded else local.resolve().name
        return Found(folder=folder, name=f"{called}#{_fingerprint(folder)}")
    if not is_hub_id(model):
        raise ModelError(
            f"there is no folder {model} to take a judge from, and it is no hub id either: give an existing folder in "
            "transformers' format, or owner/name."
        )
    asked = revision or PINNED.get(model)
    folder = _downloaded(model, asked)
    if asked is None and not _weights(folder) and (converted := _converted(model)):
        folder = _downloaded(model, converted)
    _require_weights(folder, f"{model} at {revision or folder.name}")
    return Found(folder=folder, name=f"{model}@{folder.name}")


def is_here(model: str, revision: str | None) -> bool:
    """Whether `find` has nothing to download, as far as this machine knows: a new commit of the hub it does not."""
    if named(model).embedded or at_home(model).exists():
        return True
    try:
        asked = revision or PINNED.get(model)
        return bool(_weights(Path(snapshot_download(model, revision=asked, local_files_only=True))))
    except Exception:  # the hub's client raises its own kinds for what it lacks, and for what is no name
        return False


def to_come(model: str, revision: str | None) -> int | None:
    """Bytes that `find` would download; None where the hub does not say, 0 for what is no hub id either."""
    if is_here(model, revision) or not is_hub_id(model):
        return 0
    asked = revision or PINNED.get(model)
    if out_of_reach(model, "config.json", asked):
        return None
    try:
        there, lacking = _listed(model, asked)
        if asked is None and not any(name.endswith(".safetensors") for name in there) and (its := _converted(model)):
            _, lacking = _listed(model, its)
    except Exception:  # no such model, no network by now: who opens it says so
        return None
    return sum(lacking.values())


def _listed(model: str, revision: str | None) -> tuple[list[str], dict[str, int]]:
    """The names of the files that are wanted of a judge of the hub, and the sizes of those that the cache lacks."""
    info = model_info(model, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    wanted = [name for name in sizes if any(fnmatch(name, pattern) for pattern in WANTED)]  # as the hub's client does
    cached = {name for name in wanted if isinstance(try_to_load_from_cache(model, name, revision=info.sha), str)}
    return wanted, {name: sizes[name] for name in wanted if name not in cached}


def _fingerprint(folder: Path) -> str:
    """Of the weights alone: equal judges have equal names wherever they lie."""
    _require_weights(folder, str(folder))
    digest = hashlib.blake2b(digest_size=6)
    for file in _weights(folder):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _require_weights(folder: Path, called: str) -> None:
    if not _weights(folder):
        raise ModelError(
            f"the judge {called} has no .safetensors weights, and other formats are never opened, as a pickle can run "
            "anything. Give a revision or a folder that has them: save_pretrained of transformers writes them."
        )


def _downloaded(model: str, revision: str | None) -> Path:
    unreachable = out_of_reach(model, "config.json", revision)
    how: dict[str, Any] = {"allow_patterns": list(WANTED), "local_files_only": bool(unreachable)}
    try:
        return Path(snapshot_download(model, revision=revision, **how))
    except Exception as error:  # the hub's client raises its own kinds for a name, a licence, a network, a file
        raise _unreachable(model, revision, unreachable or error) from error


def _converted(model: str) -> str | None:
    """The revision of the hub's own conversion of a model that was published as a pickle."""
    author, title = CONVERTED
    try:
        for request in get_repo_discussions(model, author=author, discussion_type="pull_request"):
            if (request.author, request.title, request.status) == (author, title, "open"):
                return request.git_reference
        return None
    except Exception as error:  # as above
        raise _unreachable(model, None, error) from error


def _unreachable(model: str, revision: str | None, error: Exception | str) -> ModelError:
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    at = f" at revision {revision}" if revision else ""
    return ModelError(
        f"the judge {model}{at} could not be found or downloaded. Check the name and the network, or give a folder "
        f"that is on this disk. (The hub: {said})"
    )
