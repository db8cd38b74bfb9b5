"""Randomness is a function of its place and of nothing else."""

import torch

from dreambooth.support.rng import generator, normal, permutation


def test_the_same_place_gives_the_same_stream_and_another_place_another() -> None:
    first = torch.randn(8, generator=generator(0, "noise", 3))
    assert torch.equal(first, torch.randn(8, generator=generator(0, "noise", 3)))
    for other in [(1, "noise", 3), (0, "latent", 3), (0, "noise", 4), (0, "noise", 3, 0), (0, "noise", "3")]:
        assert not torch.equal(first, torch.randn(8, generator=generator(*other)))


def test_a_row_does_not_depend_on_how_many_follow_it() -> None:
    few, many = normal((2, 3, 4), "noise", 7), normal((5, 3, 4), "noise", 7)
    assert torch.equal(few, many[:2])
    assert not torch.equal(many[0], many[1])


def test_nothing_is_drawn_from_the_global_stream() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    normal((4, 2), 0)
    permutation(9, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_normal_rows_are_standard_normal() -> None:
    drawn = normal((200, 500), "moments")
    assert abs(drawn.mean().item()) < 0.01
    assert abs(drawn.std().item() - 1) < 0.01


def test_a_permutation_holds_every_index_once() -> None:
    assert sorted(permutation(50, 1, "order")) == list(range(50))
    assert permutation(50, 1, "order") != permutation(50, 2, "order")
