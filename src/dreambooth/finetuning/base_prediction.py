"""What the base model makes of the same noisy photos, and the two losses without class images that ask for it.

Neither is the paper's. In Eq. 2 the second term's target is the noise in images of the class, which the base model
drew. Here it is either the base model's prediction on the subject's own noisy latents by the class prompt, so that
"a dog" goes on meaning there what it meant, and nothing is asked elsewhere: AI Toolkit
(https://github.com/ostris/ai-toolkit) has it as differential output preservation. Or there is no second term, and the
photos are to be predicted better than by the base model: Direct Consistency Optimization.
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

    words: the conditioning of prompts by the base model's text encoders, filled as prompts are asked for.  dco_beta:
    of `direct_consistency`, where that is the loss.

    Call it before a pass whose gradients are wanted: the adapter does not train while it is set aside.
    """

    def __init__(
        self, stage: Stage, adapter: Adapter, words: dict[str, Conditioning], dco_beta: float | None = None
    ) -> None:
        self.stage, self.adapter, self.words, self.dco_beta = stage, adapter, words, dco_beta

    @torch.no_grad()
    def predict(self, batch: Batch, x_t: Tensor, t: Tensor, *place: int) -> Tensor:
        """(B, C, h, w), for the rows of a batch x_t at times t (B,) by their prompts."""
        with self.adapter.set_aside():
            for prompt in batch.prompts:
                if prompt not in self.words:
                    self.words[prompt] = self.stage.condition([prompt])
            words = self.stage.stack([self.words[prompt] for prompt in batch.prompts])
            return self.stage.predict(x_t, t, self.stage.with_row_conditioning(words, batch, *place))

    def hold(self, target: Tensor, batch: Batch, x_t: Tensor, t: Tensor, *place: int) -> Tensor:
        """The targets (B, C, h, w), those of the class's rows replaced by the base model's prediction."""
        rows = onto(batch.is_prior.nonzero().flatten(), x_t.device)
        return target.index_copy(0, rows, self.predict(batch.prior, x_t[rows], t[rows], *place).to(target))
