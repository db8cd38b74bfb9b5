"""Each method as a whole run on a small random pipeline: photos in, a complete model folder and its export out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.errors import ConfigError
from dreambooth.personal import personal_model
from dreambooth.recipe import base_model, dreambooth
from dreambooth.run import Run
from dreambooth.subject import Subject
from tiny import tiny_pipeline
from tiny_xl import tiny_xl_pipeline

SMALL: dict[str, Any] = {
    "learning_rate": 1e-2,
    "validation_steps": 2,
    "num_class_images": 2,
    "class_num_inference_steps": 2,
    "num_inference_steps": 2,
    "num_images_per_prompt": 1,
    "prompts": ("a {} in the snow",),
    "probe": False,
}
CARD = {"README.md", "samples"}
METHODS: dict[str, tuple[dict[str, Any], str, set[str]]] = {
    "lora": ({"max_train_steps": 2}, "a olis dog in the snow",
             {"pytorch_lora_weights.safetensors", "olis-dog-kohya.safetensors"}),
    "textual_inversion": ({"max_train_steps": 2}, "a <dog> in the snow", {"learned_embeds.safetensors"}),
    "pivotal": ({"max_train_steps": 2}, "a <dog> dog in the snow",
                {"pytorch_lora_weights.safetensors", "dog-dog-kohya.safetensors", "learned_embeds.safetensors"}),
    "prompt_only": ({"description": "orange dog"}, "an orange dog in the snow", set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model in diffusers' format."""
    folder = tmp_path_factory.mktemp("base") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_a_run_leaves_a_whole_model_and_what_the_field_shares(
    method: str, base: Path, photos_dir: Path, tmp_path: Path
) -> None:
    settings, sentence, exported = METHODS[method]
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    named = {"identifier": "olis"} if method == "lora" else {}
    config = Config.build({**SMALL, **settings, **named, "model": str(base), "method": method})
    run = dreambooth(subject, config, tmp_path / "run")
    assert {file.name for file in run.adapter.glob("*")} == (exported and exported | CARD)
    assert run.losses.exists() == (method != "prompt_only")
    assert (run.root / "prior.json").exists() == (method in ("lora", "pivotal"))
    pictures = {stage.name: sorted(file.name for file in stage.glob("*.png")) for stage in run.samples.iterdir()}
    assert pictures["before"] == pictures["after"] and len(pictures["after"]) == 2
    assert any(run.samples.joinpath("after").glob("00-*.png"))
    assert run.subject.fill("a {} in the snow") == sentence
    tuned, plain = personal_model(run), base_model(run)
    pairs = zip(tuned.weights.parts.values(), plain.weights.parts.values(), strict=True)
    weights = [(a.state_dict(), b.state_dict()) for a, b in pairs]
    same = all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in weights)
    assert same == (method == "prompt_only")
    pipeline = DiffusionPipeline.from_pretrained(run.model)
    read = pipeline.tokenizer(sentence)["input_ids"]
    assert (len(pipeline.tokenizer) == len(plain.tokenizers["text_encoder"])) == (method in ("lora", "prompt_only"))
    assert max(read) < pipeline.text_encoder.config.vocab_size
    assert dreambooth(subject, config, tmp_path / "run").model == run.model  # the same call finds it complete


def test_a_run_on_two_text_encoders(photos_dir: Path, tmp_path: Path) -> None:
    """SDXL from a folder, photos in, a model and its files out; the encoders go and come back around the training."""
    tiny_xl_pipeline(size=32).save_pretrained(tmp_path / "base")
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    settings = {
        **SMALL,
        "max_train_steps": 2,
        "model": str(tmp_path / "base"),
        "sampler": "euler",
        "identifier": "olis",
    }
    for method, text, files in (
        ("dreambooth", True, set()),
        ("lora", False, {"pytorch_lora_weights.safetensors", "olis-dog-kohya.safetensors"}),
    ):
        config = Config.build({**settings, "method": method, "train_text_encoder": text})
        run = dreambooth(subject, config, tmp_path / method)
        assert {file.name for file in run.adapter.glob("*")} == (files and files | CARD)
        pipeline = DiffusionPipeline.from_pretrained(run.model)
        image = pipeline(prompt="a olis dog", num_inference_steps=2, output_type="np").images[0]
        assert image.shape == (32, 32, 3) and image.std() > 0


def test_targets_that_do_not_exist_are_reported_before_a_picture_is_drawn(
    base: Path, photos_dir: Path, tmp_path: Path
) -> None:
    settings = {"model": str(base), "method": "lora", "lora_target_modules": ("to_x",), "probe": False}
    with pytest.raises(ConfigError, match="to_x"):
        dreambooth(Subject(photos=photos_in(photos_dir), class_noun="dog"), Config.build(settings), tmp_path / "run")
    assert not Run(tmp_path / "run").samples.exists()
