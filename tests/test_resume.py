"""A run that resumes at any step ends as one that never stopped; benchmarks.resumed_runs tries all of them."""

from pathlib import Path

import pytest

from trained import resumed_otherwise


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("stable diffusion", {"method": "textual_inversion", "use_ema": True}),
        ("stable diffusion", {"method": "lora", "use_ema": True, "gradient_accumulation_steps": 2}),
        ("deepfloyd if, base", {"use_ema": True}),
        ("deepfloyd if, super_resolution", {"use_ema": False, "gradient_accumulation_steps": 2}),
    ],
)
def test_a_resumed_run_leaves_the_bytes_of_an_uninterrupted_one(
    family: str, settings: dict[str, object], tmp_path: Path
) -> None:
    assert resumed_otherwise(family, settings, 4, tmp_path, every=2) == []
