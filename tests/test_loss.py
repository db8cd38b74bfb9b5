"""Eq. 1 and 2 against their closed forms."""

import pytest
import torch

from dreambooth.loss import prior_preservation_loss

ERROR = torch.tensor([1.0, 3.0, 10.0])
UNEVEN = torch.tensor([False, False, True])


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 2.0), (0.5, 7.0), (1.0, 12.0)])
def test_the_weight_scales_only_the_prior_term(weight: float, expected: float) -> None:
    assert prior_preservation_loss(ERROR, UNEVEN, weight) == expected


def test_without_class_images_it_is_equation_1() -> None:
    assert prior_preservation_loss(ERROR, torch.zeros(3, dtype=torch.bool), 1.0) == ERROR.mean()


def test_each_term_is_its_own_mean_so_more_class_rows_change_nothing() -> None:
    mixed = torch.tensor([10.0, 1.0, 10.0, 10.0, 3.0])
    is_prior = torch.tensor([True, False, True, True, False])
    assert prior_preservation_loss(mixed, is_prior, 1.0) == prior_preservation_loss(ERROR, UNEVEN, 1.0)


def test_the_gradient_reaches_every_row_in_proportion() -> None:
    error = ERROR.clone().requires_grad_()
    prior_preservation_loss(error, UNEVEN, 0.5).backward()
    assert error.grad is not None
    assert error.grad.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("is_prior", "said"),
    [
        (torch.ones(3, dtype=torch.bool), "at least one row of the subject"),
        (torch.tensor([True]), "must both be"),
        (torch.tensor([0, 0, 1]), "must be of bool"),
    ],
)
def test_a_batch_that_cannot_work_is_refused(is_prior: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        prior_preservation_loss(ERROR, is_prior, 1.0)
