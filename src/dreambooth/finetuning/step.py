"""The step of the method: photos and class images, noised at their own times, and the loss of Eq. 2.

Two other losses, which are not the paper's, ask the base model too: base_prediction.py.
"""

from torch import Tensor

from dreambooth.data.batch import Batch
from dreambooth.diffusion import ForwardProcess, row_errors
from dreambooth.finetuning.base_prediction import BasePrediction
from dreambooth.loss import direct_consistency, prior_preservation_loss
from dreambooth.models.base import Conditioning, Stage
from dreambooth.support.device import onto
from dreambooth.support.rng import generator, normal


def training_step(
    stage: Stage,
    process: ForwardProcess,
    batch: Batch,
    words: Conditioning,
    prior_loss_weight: float,
    *place: int,
    base: BasePrediction | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss (scalar, Eq. 2) of a batch of B rows and the error (B,) of each; `place` is where its noise is drawn.

    base: the base model, where the loss asks what it predicts.

    Of a batch that W rows of several processes make, the error is (W,), and the losses of all add up to that of Eq. 2.
    """
    shape, device, rows = batch.mean.shape, stage.device, batch.numbers
    x0 = onto(batch.mean + batch.std * normal(shape, "latent", *place, rows=rows), device)  # (B, C, h, w)
    noise = onto(normal(shape, "noise", *place, rows=rows), device)  # (B, C, h, w), a row's own: eps, eps' of Eq. 2
    times = process.sample_t(shape, *(generator("t", *place, row) for row in rows))
    t = onto(times, device)  # (B,), own time for every row: t and t'
    x_t = process.add_noise(x0, noise, t)  # (B, C, h, w)
    target = process.target(x0, noise, t)  # (B, C, h, w)
    if base and batch.is_prior.any():
        target = base.hold(target, batch, x_t, t, *place)
    beta = base.dco_beta if base else None
    base_pred = base.predict(batch, x_t, t, *place) if base and beta else None  # (B, C, h, w)
    cond = stage.with_row_conditioning(words, batch, *place)  # the words, and what this family asks of the photo itself
    pred = stage.predict(x_t, t, cond)  # (B, C, h, w)
    weight = None if batch.weight is None else onto(batch.weight, device)  # (B, 1, h, w), of masks
    error = row_errors(process, pred, x0, noise, t, weight, target)  # (B,), every weighting reaches every row
    minimised = error
    if base_pred is not None and beta:
        base_error = row_errors(process, base_pred, x0, noise, t, weight, target)  # (B,)
        minimised = direct_consistency(error, base_error, beta)
    (minimised, is_prior), (error, _) = batch.in_whole(minimised), batch.in_whole(error)  # (W,)
    return prior_preservation_loss(minimised, is_prior, prior_loss_weight), error
