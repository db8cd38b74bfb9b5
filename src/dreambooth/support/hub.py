"""The hub, asked once: whether a model can be had from there is known in a second, online or not.

Its own client tries six times in half a minute where there is no network, for a name that was misspelled too.
"""

from pathlib import Path

from dreambooth.errors import ModelError


def is_hub_id(name: str) -> bool:
    """Whether `name` can be owner/name, and is nothing on this disk."""
    return name.count("/") == 1 and name[0] not in "./~" and not Path(name).exists()


def out_of_reach(model: str, file: str, revision: str | None, patience: float = 10.0) -> str:
    """Why the hub cannot be asked for a model, in a clause; "" where it answers, be it that there is none.

    file: one that the model should have.  patience: seconds to wait.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, so that only what is in the cache is used"
    try:
        get_hf_file_metadata(hf_hub_url(model, file, revision=revision), timeout=patience)
    except HfHubHTTPError:
        return ""  # it answers: who downloads learns what
    except Exception as error:  # of the network, whichever client this version of the hub's has
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""


def require_cached(what: str, model: str, file: str, revision: str | None) -> None:
    """Raise ModelError where no network may be asked and the cache lacks `file` of a hub model.

    what: the model's part in the run, "the base model".  It costs no network and no torch, so ask early.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if not constants.HF_HUB_OFFLINE or not is_hub_id(model):
        return
    try:
        cached = isinstance(try_to_load_from_cache(model, file, revision=revision), str)
    except ValueError:  # what is no name on the hub
        cached = False
    if not cached:
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"{what} {model}{at} is not in the cache, and HF_HUB_OFFLINE is set: unset it once to download, check the "
            "name, or give a folder that is on this disk."
        )
