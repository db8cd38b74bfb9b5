"""How pictures are drawn: numbers that draw nothing are refused where they are given, not as a black picture later."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreambooth.models.base import Sampling

USUAL = Sampling(sampler="ddim", num_inference_steps=20, guidance_scale=3.0)


@pytest.mark.parametrize("steps", [0, -1, 2.5, float("nan"), None, "20"])
def test_steps_that_draw_nothing_are_refused(steps: Any) -> None:
    with pytest.raises(ValueError, match=r"num_inference_steps is a whole number from 1 on, not .*: 20 to 50"):
        Sampling(sampler="ddim", num_inference_steps=steps, guidance_scale=3.0)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0, -1.0, None, "3"])
def test_guidance_that_is_none_is_refused(scale: Any) -> None:
    with pytest.raises(ValueError, match=r"guidance_scale is a number from 1 on, not .*: 1 is no guidance"):
        replace(USUAL, guidance_scale=scale)


def test_what_can_be_drawn_is_taken() -> None:
    few = replace(USUAL, num_inference_steps=1, guidance_scale=1)
    assert few == Sampling(sampler="ddim", num_inference_steps=1, guidance_scale=1.0)
    of_numpy: dict[str, Any] = {"num_inference_steps": np.int64(20), "guidance_scale": np.float32(3)}
    assert replace(USUAL, **of_numpy) == USUAL
