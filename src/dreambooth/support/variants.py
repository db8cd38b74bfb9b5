"""Which weights of a diffusers folder are meant: the plain ones, or those of a variant such as fp16."""

import re
from collections.abc import Collection, Iterable

from dreambooth.errors import ModelError
from dreambooth.support.progress import log

_WEIGHTS = re.compile(r"[^.]+?(?:\.(?P<variant>[^.]+?))?(?:-\d+-of-\d+)?\.safetensors")
"""model.safetensors, model.fp16.safetensors, and the shards of both."""


def variant_of(file: str) -> str | None:
    """ "fp16" of "model.fp16.safetensors", "" of "model.safetensors"; None of a name that is no weight file's."""
    match = _WEIGHTS.fullmatch(file)
    return None if match is None else match["variant"] or ""


def chosen_variant(name: str, parts: Iterable[str], files: Iterable[str], asked: str | None) -> str | None:
    """The variant to read of a model's files, given by their paths in its folder: `asked`, or the only one there is.

    None: the plain weights, which are taken where every part has them. Raises ModelError where no choice would be
    whole, with what each part has. A part without any safetensors is left for its reader to tell.
    """
    has = {part: set[str]() for part in parts}
    for path in files:
        folder, _, file = path.rpartition("/")
        if folder in has and (variant := variant_of(file)) is not None:
            has[folder].add(variant)
    whole = set.intersection(*filter(None, has.values())) if any(has.values()) else {asked or ""}
    if (asked or "") in whole:
        return asked
    if asked is None and len(whole) == 1:
        (only,) = whole
        log.info("%s: its weights are there as variant %s alone, which is used", name, only)
        return only
    listed = "; ".join(f"{part}: {', '.join(its or 'plain' for its in sorted(has[part])) or 'none'}" for part in has)
    raise ModelError(
        f"{name} has no {f'variant {asked}' if asked else 'plain weights'} of every part ({listed}). {_remedy(whole)}"
    )


def _remedy(whole: Collection[str]) -> str:
    if not whole:
        return "All parts must be of one variant: download the model again."
    flags = [f"--variant {variant}" for variant in sorted(whole) if variant]
    return f"Give {' or '.join(flags)}." if flags else "Leave out --variant."
