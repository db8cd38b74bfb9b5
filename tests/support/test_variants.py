"""A folder with weights of one variant alone opens; where a flag is the answer, the flag is told."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from dreambooth import models
from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.support.variants import chosen_variant, variant_of
from families import FAMILIES, WITH_TEXT
from tiny import tiny_pipeline

PARTS = ("unet", "vae")
FP16 = ["unet/model.fp16.safetensors", "vae/model.fp16.safetensors"]
BF16 = ["unet/model.bf16.safetensors", "vae/model.bf16.safetensors"]
PLAIN = ["unet/model.safetensors", "vae/model.safetensors", "unet/config.json"]


@pytest.mark.parametrize("family", WITH_TEXT)
def test_a_folder_with_fp16_weights_alone_opens(family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    half: Any = FAMILIES[family].pipeline().to(torch.float16)
    half.save_pretrained(tmp_path / "half", variant="fp16")
    with caplog.at_level(logging.INFO):
        model: Any = models.load(Base(model=str(tmp_path / "half")))
    assert "its weights are there as variant fp16 alone, which is used" in caplog.text
    assert model.pipeline.unet.dtype == torch.float32
    assert torch.equal(model.pipeline.unet.conv_in.weight, half.unet.conv_in.weight.float())
    assert model.fingerprint() == models.load(Base(model=str(tmp_path / "half"), variant="fp16")).fingerprint()


def test_the_plain_weights_are_taken_where_they_are_there_too(tmp_path: Path) -> None:
    whole: Any = tiny_pipeline()
    whole.save_pretrained(tmp_path / "both")
    tiny_pipeline().to(torch.float16).save_pretrained(tmp_path / "both", variant="fp16")
    model: Any = models.load(Base(model=str(tmp_path / "both")))
    assert torch.equal(model.pipeline.unet.conv_in.weight, whole.unet.conv_in.weight)


@pytest.mark.parametrize(
    ("files", "asked", "chosen"),
    [
        (PLAIN, None, None),
        (PLAIN + FP16, None, None),
        (PLAIN + FP16, "fp16", "fp16"),
        (FP16, None, "fp16"),
        (["unet/a.fp16-00001-of-00002.safetensors", "vae/a.fp16.safetensors"], None, "fp16"),
        (["unet/a-00001-of-00002.safetensors", "vae/a.safetensors"], None, None),
        ([*FP16, "text_encoder/model.safetensors"], None, "fp16"),  # of a part that nobody asks for
        ([], None, None),
    ],
)
def test_the_choice_is_the_one_that_is_whole(files: list[str], asked: str | None, chosen: str | None) -> None:
    assert chosen_variant("it", PARTS, files, asked) == chosen


@pytest.mark.parametrize(
    ("files", "asked", "told"),
    [
        (PLAIN, "fp16", "no variant fp16 of every part (unet: plain; vae: plain). Leave out --variant."),
        (FP16, "bf16", "(unet: fp16; vae: fp16). Give --variant fp16."),
        (FP16 + BF16, None, "(unet: bf16, fp16; vae: bf16, fp16). Give --variant bf16 or --variant fp16."),
        ([FP16[0], BF16[1]], None, "(unet: fp16; vae: bf16). All parts must be of one variant"),
        ([FP16[0], PLAIN[1]], "fp16", "(unet: fp16; vae: plain). All parts must be of one variant"),
    ],
)
def test_where_a_flag_is_the_answer_it_is_told(files: list[str], asked: str | None, told: str) -> None:
    with pytest.raises(ModelError) as caught:
        chosen_variant("it", PARTS, files, asked)
    assert told in str(caught.value)


def test_what_is_no_weight_file_has_no_variant() -> None:
    names = ("model.bin", "model.fp16.bin", "config.json", "model.safetensors.index.json", ".safetensors")
    assert [variant_of(name) for name in names] == [None] * len(names)
