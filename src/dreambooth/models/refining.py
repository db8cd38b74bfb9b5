"""How the second stage of a cascade draws."""

from dataclasses import dataclass, replace

from dreambooth.models.base import Sampling


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
