"""Too little memory: one sentence with the settings of this run that help; torch's own error stands for a full GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dreambooth import Config, Subject, dreambooth, photos_in
from dreambooth.config.memory import memory_in_words
from dreambooth.config.savings import of_memory, of_time
from dreambooth.errors import DeviceMemoryError
from dreambooth.run import Run, checkpoint
from dreambooth.support.model_index import SIDE, add_to_model_index
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


def advised(config: Config) -> list[str]:
    """What a training on a full GPU is told, with all that could help."""
    return [saving.flag for saving in of_memory(config, cuda=True, drawing=False)]


def test_only_what_the_other_settings_accept_is_advised() -> None:
    flux: dict[str, Any] = {"model": "black-forest-labs/FLUX.1-dev"}
    offloaded = {**flux, "group_offload": True, "gradient_checkpointing": True}
    assert "--base-bits 4" in advised(Config.build(flux))
    assert "--base-bits 4" not in advised(Config.build(offloaded))
    assert "--gradient-checkpointing" not in advised(Config.build(cuda_graphs=True))
    for settings in (flux, offloaded, {"cuda_graphs": True}, {"use_8bit_adam": True, "l2_to_base": 0.1}):
        config = Config.build(settings)
        savings = [*of_memory(config, True, False), *of_memory(config, True, True), *of_time(config)]
        assert savings and all(saving.applied(config) != config for saving in savings)


def test_a_lower_side_is_advised_where_there_is_one(tmp_path: Path) -> None:
    photographs: dict[str, Any] = {"model": "stabilityai/stable-diffusion-xl-base-1.0"}
    assert "--resolution 256" in advised(Config.build(photographs))
    assert "--resolution 256" not in advised(Config.build(photographs, resolution=256))
    assert "--resolution 256" not in advised(Config.build(model="toybox"))
    cascade = advised(Config.build(model="DeepFloyd/IF-I-M-v1.0", method="lora"))
    assert not {"--resolution 256", "--base-bits 4"} & set(cascade)
    assert "--base-bits 4" in advised(Config.build(model="DeepFloyd/IF-I-M-v1.0", method="lora", stages=("base",)))
    tiny_pipeline().save_pretrained(tmp_path)
    assert "--resolution 256" in advised(Config.build(model=str(tmp_path)))
    add_to_model_index(tmp_path, SIDE, 256)
    assert "--resolution 256" not in advised(Config.build(model=str(tmp_path)))


def test_where_nothing_can_be_changed_it_says_so() -> None:
    least = Config.build(method="lora", dtype="bfloat16", sample_batch_size=1, probe=False)
    says = "No setting of this run that could still be changed needs less: take"
    with pytest.raises(DeviceMemoryError, match=says), memory_in_words(lambda: least, "drawing", drawing=True):
        raise torch.cuda.OutOfMemoryError(FULL)
