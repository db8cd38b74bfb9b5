"""How the second stage of a cascade draws."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dreambooth.errors import ModelError
from dreambooth.models.base import Sampling
from dreambooth.support.model_index import MODEL_INDEX, SUPER_RESOLUTION, read_model_index


@dataclass(frozen=True, kw_only=True)
class Refining:
    """How super-resolution draws; whoever draws with the model needs the values that it was tuned at.

    noise_level: of 1000, added to the small picture before it is read; the paper tunes at next to none, IF draws at
    250.  guidance_scale: 1 is no guidance.  num_inference_steps: None: as many as the base.  unread: a word that is
    left out of its prompts, the identifier of a subject that it is not told.
    """

    noise_level: int = 0
    guidance_scale: float = 4.0
    num_inference_steps: int | None = None
    unread: str = ""

    def sampling(self, of_base: Sampling) -> Sampling:
        """How it samples where the base samples so."""
        steps = self.num_inference_steps or of_base.num_inference_steps
        return replace(of_base, num_inference_steps=steps, guidance_scale=self.guidance_scale)


def refining_of(folder: Path, asked: Mapping[str, Any]) -> Refining:
    """How the cascade in `folder` draws; asked: what goes before what its folder says, None where nothing does.

    Raises ModelError where the folder says what no picture can be drawn by.
    """
    kept = read_model_index(folder / MODEL_INDEX).get(SUPER_RESOLUTION, {})
    try:
        refining = Refining(**{**kept, **{name: value for name, value in asked.items() if value is not None}})
        refining.sampling(Sampling(sampler="", num_inference_steps=1, guidance_scale=1))
    except (TypeError, ValueError) as error:  # what a stranger wrote there
        raise ModelError(
            f"{folder / MODEL_INDEX} does not say how super-resolution draws ({error}): copy or download the model "
            "again."
        ) from error
    return refining
