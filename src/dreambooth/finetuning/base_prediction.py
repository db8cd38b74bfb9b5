"""A second term of Eq. 2 without class images: what the base model makes of the photos by the class prompt is kept.

This is not the paper's term. There the target is the noise in images of the class, which the base model drew; here it
is the base model's prediction on the subject's own noisy latents, so that "a dog" goes on meaning there what it meant,
and nothing is asked elsewhere. AI Toolkit (https://github.com/ostris/ai-toolkit) has it as differential output
preservation.
"""

from typing import final

import torch
from torch import Tensor

from dreambooth.adapters import Adapter
from dreambooth.data.batch import Batch
from dreambooth.models.base import Conditioning, Stage
from dreambooth.support.device import onto


@final
class BasePrediction:
    """The base model's prediction, with the adapter set aside.

    words: the conditioning of prompts by the base model's text encoders, filled as prompts are asked for.
    """

    def __init__(self, stage: Stage, adapter: Adapter, words: dict[str, Conditioning]) -> None:
        self.stage, self.adapter, self.words = stage, adapter, words

    @torch.no_grad()
    def __call__(self, target: Tensor, batch: Batch, x_t: Tensor, t: Tensor, *place: int) -> Tensor:
        """The targets (B, C, h, w), those of the class's rows replaced by the prediction for x_t at times t (B,).

        Call it before a pass whose gradients are wanted: the adapter does not train while it is set aside.
        """
        rows, prior = onto(batch.is_prior.nonzero().flatten(), x_t.device), batch.prior
        if not prior.rows:  # other processes have them
            return target
        with self.adapter.set_aside():
            for prompt in prior.prompts:
                if prompt not in self.words:
                    self.words[prompt] = self.stage.condition([prompt])
            words = self.stage.stack([self.words[prompt] for prompt in prior.prompts])
            words = self.stage.with_row_conditioning(words, prior, *place)
            return target.index_copy(0, rows, self.stage.predict(x_t[rows], t[rows], words).to(target))
