"""Too little memory: one sentence with the settings of this run that help; torch's own error stands for a full GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dreambooth import Config, Subject, dreambooth, photos_in
from dreambooth.config.memory import memory_in_words
from dreambooth.errors import DeviceMemoryError
from dreambooth.run import Run, checkpoint
from tiny import tiny_pipeline

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.75 GiB"


@pytest.fixture
def refusing() -> Iterator[Any]:
    """Has every module refuse memory while gradients are wanted, or while they are not, but for the look at opening."""
    handles = []

    def refuse(training: bool) -> None:
        looks = 0

        def hook(module: Any, given: Any) -> None:
            nonlocal looks
            if type(module).__name__ == "UNet2DConditionModel" and torch.is_grad_enabled() == training:
                looks += 1
                if training or looks > 1:
                    raise torch.cuda.OutOfMemoryError(f"{FULL}\nmore of it")

        handles.append(torch.nn.modules.module.register_module_forward_pre_hook(hook))

    yield refuse
    for handle in handles:
        handle.remove()


def settings(base: Path, **more: Any) -> Config:
    small = {"max_train_steps": 2, "num_class_images": 1, "class_num_inference_steps": 1, "num_inference_steps": 1}
    return Config.build({"model": str(base), "probe": False, "prompts": ("a {}",), **small, **more})


@pytest.mark.parametrize(
    ("training", "more", "words"),
    [
        (
            True,
            {},
            "the memory of this GPU is too small for fine-tuning. What helps, the most helpful first: "
            "--gradient-checkpointing, --method lora (a LoRA in place of all weights), --use-8bit-adam (pip install "
            "'dreambooth[bnb]'). Give it with another --output-dir, as a run keeps the settings that it began with; "
            f"class images that are there are used again. ({FULL})",
        ),
        (
            True,
            {"method": "lora", "gradient_checkpointing": True, "train_batch_size": 2},
            "--mixed-precision bf16, --dtype bfloat16, --base-bits 4 (pip install 'dreambooth[bnb]'). Give",
        ),
        (False, {}, "too small for class images. What helps, the most helpful first: --sample-batch-size 1, --dtype"),
    ],
)
def test_a_full_gpu_is_told_with_three_settings_that_help(
    training: bool,
    more: dict[str, Any],
    words: str,
    refusing: Any,
    photos_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DREAMBOOTH_CACHE", str(tmp_path / "cache"))
    tiny_pipeline().save_pretrained(tmp_path / "base")
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog", identifier="sks")
    refusing(training)
    with pytest.raises(DeviceMemoryError) as caught:
        dreambooth(subject, settings(tmp_path / "base", **more), tmp_path / "run")
    assert words in str(caught.value) and "more of it" not in str(caught.value)
    assert checkpoint.newest_step(Run(tmp_path / "run").checkpoints) is None


def test_what_is_no_lack_of_memory_is_not_told_as_one() -> None:
    for error in (RuntimeError("shapes differ"), OSError("no")):
        with pytest.raises(type(error), match=str(error)), memory_in_words(Config, "drawing", drawing=True):
            raise error
