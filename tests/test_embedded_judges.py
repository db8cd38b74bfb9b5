"""The embedded judges: they open as any CLIP and ViT do, and they see what differs between toys they never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from benchmarks.judges import captions_told_apart, clip, subjects_told_apart
from dreambooth.toybox.photos import SIZE
from pretraining import judge_clip, judge_dino, judge_renders

FOLDERS = (judge_clip.PACKAGED, judge_dino.PACKAGED)


def test_they_are_small_and_half_precision() -> None:
    files = [file for folder in FOLDERS for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 10e6
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".txt"}
    for folder in FOLDERS:
        model = AutoModel.from_pretrained(folder, local_files_only=True)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}


def test_transformers_opens_the_clip() -> None:
    model = AutoModel.from_pretrained(judge_clip.PACKAGED, local_files_only=True, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(judge_clip.PACKAGED, local_files_only=True)
    short, long = (
        model.get_text_features(**tokenizer(texts, padding=padding, return_tensors="pt")).pooler_output
        for texts, padding in ((["a red dog"], False), (["a red dog", "a cat in the snow"], "max_length"))
    )
    assert short.shape == (1, model.config.projection_dim)
    assert torch.allclose(short[0], long[0], atol=1e-4), "padding changes what a caption means"


@pytest.mark.parametrize("folder", FOLDERS, ids=("clip", "dino"))
def test_the_processor_prepares_a_picture_as_the_training_did(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    prepared = processor(Image.fromarray(pixels), return_tensors="pt").pixel_values
    as_trained = judge_renders.normalised(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
    assert torch.allclose(prepared, as_trained, atol=1e-5)
    larger = processor(Image.fromarray(pixels).resize((200, 200)), return_tensors="pt").pixel_values
    assert larger.shape == (1, 3, SIZE, SIZE)


def test_dino_knows_a_toy_in_another_pose_scene_and_light() -> None:
    areas = subjects_told_apart(judge_dino.packaged(), toys=6, shots=1, same_words=False)
    assert areas["all"] >= 0.97
    assert min(areas[name] for name in ("pose", "scene", "light")) >= 0.93


def test_dino_tells_toys_apart_that_no_caption_does() -> None:
    assert subjects_told_apart(judge_dino.packaged(), toys=6, shots=1, same_words=True)["all"] >= 0.90


def test_clip_hears_a_changed_word_and_tells_stripes_from_spots() -> None:
    model, tokenizer = clip()
    right = captions_told_apart(model, tokenizer, 384)
    assert right["all"][0] >= 0.95
    assert min(right[name][0] for name in ("class_noun", "colour", "scene")) >= 0.85
    assert right["pattern"][0] >= 0.75
