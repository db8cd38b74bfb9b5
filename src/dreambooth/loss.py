"""Section 3.3: the class-specific prior preservation loss; and one that does without class images, not the paper's."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from dreambooth.support.device import onto


def prior_preservation_loss(error: Tensor, is_prior: Tensor, prior_loss_weight: float) -> Tensor:
    """Eq. 2 of Ruiz et al. (2023): the subject term plus lambda times the class-prior term.

    error: (B,) weighted squared error of each row.  is_prior: (B,) bool, on the CPU.
    prior_loss_weight: the paper's lambda.
    Each term is the mean over its own rows, so the balance does not depend on how many of each the batch holds.
    A batch without class images gives Eq. 1. Returns a scalar; raises ValueError where the shapes differ, is_prior is
    not of bool, or no row shows the subject.
    """
    if error.shape != is_prior.shape:
        raise ValueError(f"error and is_prior must both be (B,), got {tuple(error.shape)} and {tuple(is_prior.shape)}")
    if is_prior.dtype is not torch.bool:  # "not" of whole numbers is never 0: every row would count as the subject's
        raise ValueError(f"is_prior must be of bool, got {is_prior.dtype}")
    if is_prior.all():
        raise ValueError("a batch needs at least one row of the subject; all of its rows are class images")
    loss = _mean(error, ~is_prior)
    return loss + prior_loss_weight * _mean(error, is_prior) if is_prior.any() else loss


def direct_consistency(error: Tensor, base_error: Tensor, beta: float) -> Tensor:
    """Of each row (B,) what Direct Consistency Optimization asks, -log sigmoid(-beta (error - base_error)).

    error, base_error: (B,) of the model that trains and of its base, on the same noisy rows. It falls as the model
    becomes the better of both, and vanishes where it is so by far (Lee et al. 2024, https://arxiv.org/abs/2402.12004).
    """
    return softplus(beta * (error - base_error))


def _mean(error: Tensor, chosen: Tensor) -> Tensor:
    """Of the chosen rows, by their numbers: a mask would have a GPU count them first."""
    return error.index_select(0, onto(chosen.nonzero().flatten(), error.device)).mean()
