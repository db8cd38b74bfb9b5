"""A base model on the hub: looked at before it is downloaded, since what cannot be trained may be 20 GB."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from huggingface_hub import hf_hub_download, list_repo_files, model_info, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.models.families import family, require_known, require_settings
from dreambooth.models.opening import Kind, require_known_parts
from dreambooth.support.files import at_home
from dreambooth.support.hub import out_of_reach
from dreambooth.support.model_index import MODEL_INDEX, read_model_index
from dreambooth.support.variants import chosen_variant, variant_of

WEIGHTS = (".safetensors", ".bin", ".ckpt", ".msgpack", ".onnx", ".onnx_data", ".pb", ".h5")
"""How the names of weights end, of every format."""


_fetches: ContextVar[bool] = ContextVar("fetches", default=True)


@contextmanager
def from_cache_alone() -> Iterator[None]:
    """Inside, `downloaded` downloads no weight: it gives what the cache has, or raises ModelError."""
    token = _fetches.set(False)
    try:
        yield
    finally:
        _fetches.reset(token)


def downloaded(base: Base, its: Kind | None = None) -> Path:
    """The folder of a hub id, in the hub's own cache; what is there is not downloaded again.

    its: what must be in it; None: a base model of a family that is known. Its model_index.json comes first: before
    any weight is downloaded, raises ModelError for a family or parts that are not known, or variants that are not
    whole, and ConfigError for settings of another family. Raises ModelError where there is no such model, or no way
    to it.
    """
    unreachable = out_of_reach(base.model, MODEL_INDEX, base.revision)
    its, commit = _looked_at(base, its, unreachable)
    fetches = _fetches.get()
    variant = _variant(base, its, commit) if fetches else base.variant
    try:
        folder = DiffusionPipeline.download(
            base.model,
            revision=commit,
            variant=variant,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=bool(unreachable) or not fetches,
            **dict.fromkeys(its.unread),
        )
    except Exception as error:  # as above
        raise _unreachable(base, error) from error
    if not fetches and not all(any(Path(folder, part).glob("*.safetensors")) for part in its.weights):
        raise _unreachable(base, unreachable or "it does not say how much is to come, and a plan downloads nothing")
    return Path(folder)


def second_of(base: Base) -> Base:
    """What is asked for of the second stage of a cascade, which is another model of the hub."""
    return base.model_copy(update={"model": base.super_resolution, "revision": None})


def _looked_at(base: Base, its: Kind | None, unreachable: str) -> tuple[Kind, str]:
    """What is there, by its model_index.json alone, and the commit; the arguments are those of `downloaded`."""
    index_file = _index_file(base, unreachable)
    try:
        index = read_model_index(index_file)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the model_index.json of {base.model} is damaged: delete {index_file}, and try again."
        ) from error
    its = its or _base_kind(index, base)
    require_known_parts(its, index, base.model)
    return its, index_file.parent.name


def _base_kind(index: Mapping[str, Any], base: Base) -> Kind:
    """That of a base model; its second stage is looked at too, before the first is downloaded."""
    class_name = require_known(index, base.model)
    require_settings(base, class_name)
    model = family(class_name)
    if model.second and base.super_resolution and not at_home(base.super_resolution).exists():
        second = second_of(base)
        _looked_at(second, model.second, out_of_reach(second.model, MODEL_INDEX, None))
    its: Kind = model.kind
    return its


def to_come(base: Base, its: Kind | None = None) -> tuple[str, int] | None:
    """The name of its pipeline, and the bytes that `downloaded` would download; None where the hub says nothing.

    its: as there.
    """
    try:
        index_file = _index_file(base, out_of_reach(base.model, MODEL_INDEX, base.revision))
        index, commit = read_model_index(index_file), index_file.parent.name
        known: Kind = its or family(require_known(index, base.model)).kind
        if its:
            require_known_parts(its, index, base.model)
        files = {file.rfilename: file.size or 0 for file in _files(base, commit)}
    except Exception:  # no network, no such model: who opens it says so
        return None
    variant = chosen_variant(base.model, known.weights, list(files), base.variant)
    parts = (*known.weights, *known.others)
    wanted = [
        name
        for name in files
        if name.partition("/")[0] in parts and (not name.endswith(WEIGHTS) or _is_read(name, variant))
    ]
    there = {name for name in wanted if isinstance(try_to_load_from_cache(base.model, name, revision=commit), str)}
    return index["_class_name"], sum(files[name] for name in wanted if name not in there)


def _files(base: Base, commit: str) -> Sequence[Any]:
    return model_info(base.model, revision=commit, files_metadata=True).siblings or ()


def _is_read(name: str, variant: str | None) -> bool:
    return name.endswith(".safetensors") and variant_of(name.rpartition("/")[2]) == (variant or "")


def _index_file(base: Base, unreachable: str) -> Path:
    """unreachable: why the hub cannot be asked, where it cannot: the cache is all there is then."""
    try:
        found = hf_hub_download(base.model, MODEL_INDEX, revision=base.revision, local_files_only=bool(unreachable))
        return Path(found)
    except LocalEntryNotFoundError as error:
        raise _unreachable(base, unreachable or error) from error
    except EntryNotFoundError as error:
        raise ModelError(
            f"{base.model} has no model_index.json, so it is no diffusers model: perhaps a LoRA, or a checkpoint in "
            "one file. Give the id of the diffusers model, or download the .safetensors file and give its path."
        ) from error
    except Exception as error:  # the hub's client raises its own kinds for a name, a licence, a network
        raise _unreachable(base, error) from error


def _variant(base: Base, its: Kind, commit: str) -> str | None:
    """What is asked for, or all that there is; what the cache has, whoever opens it finds without the hub."""
    try:
        files = list_repo_files(base.model, revision=commit)
    except Exception:  # no network: the cache is all there is
        return base.variant
    return chosen_variant(base.model, its.weights, files, base.variant)


def _unreachable(base: Base, error: Exception | str) -> ModelError:
    """What to do about whatever the hub's client raised, or said of the network."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    match _refusal(error):
        case GatedRepoError():
            return ModelError(
                f"{base.model} is gated: its owner asks you to accept a licence first. Accept it on the model's page, "
                f"https://huggingface.co/{base.model}, log in with `hf auth login` or set HF_TOKEN, and try again."
            )
        case RepositoryNotFoundError():
            return ModelError(
                f"the hub has no model {base.model}, or it is private. Check the name; for a private one log in with "
                "`hf auth login` or set HF_TOKEN."
            )
        case RevisionNotFoundError():
            return ModelError(f"{base.model} has no revision {base.revision}: leave out --revision for the newest one.")
        case HfHubHTTPError():
            return ModelError(
                f"the hub refused {base.model} ({said}): log in anew with `hf auth login`, or mend HF_TOKEN."
            )
    at = f" at revision {base.revision}" if base.revision else ""
    return ModelError(
        f"{base.model}{at} could not be downloaded, and it is not in the cache. Check the network, or give a folder "
        f"that is on this disk. (The hub: {said})"
    )


def _refusal(error: Exception | str) -> HfHubHTTPError | None:
    """The hub's own refusal, which its client may have wrapped; None where it was the network."""
    found: BaseException | None = error if isinstance(error, Exception) else None
    while found is not None:
        if isinstance(found, HfHubHTTPError) and found.response.status_code in (401, 403, 404):
            return found
        found = found.__cause__ or found.__context__
    return None
