"""Section 3.3: the class-specific prior preservation loss."""

from torch import Tensor


def prior_preservation_loss(error: Tensor, is_prior: Tensor, prior_loss_weight: float) -> Tensor:
    """Eq. 2 of Ruiz et al. (2023): the subject term plus lambda times the class-prior term.

    error: (B,) weighted squared error of each row.  is_prior: (B,) bool.  prior_loss_weight: the paper's lambda.
    Each term is the mean over its own rows, so the balance does not depend on how many of each the batch holds.
    A batch without class images gives Eq. 1. Returns a scalar; raises ValueError where the shapes differ or no row
    shows the subject.
    """
    if error.shape != is_prior.shape:
        raise ValueError(f"error and is_prior must both be (B,), got {tuple(error.shape)} and {tuple(is_prior.shape)}")
    if is_prior.all():
        raise ValueError("a batch needs at least one row of the subject; all of its rows are class images")
    loss = error[~is_prior].mean()
    return loss + prior_loss_weight * error[is_prior].mean() if is_prior.any() else loss
