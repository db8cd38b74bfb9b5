"""Judges of every kind are opened, and what cannot be is refused in plain words."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dreambooth.config import Evaluation
from dreambooth.errors import ModelError
from dreambooth.evaluation import Judges, load_judges
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.dino import Dino
from dreambooth.evaluation.weights import find
from dreambooth.generation.photographs import PHOTOGRAPHS
from dreambooth.toybox.home import TOYBOX
from small_judges import dino_parts, dinov2_parts, pictures, save, two_towers

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def open_dino(model: str | Path, revision: str | None = None) -> Dino:
    return Dino.open(find(str(model), revision, "dino"))


@pytest.fixture
def saved(judge_folders: Path, tmp_path: Path) -> Path:
    """A DINO that may be harmed."""
    return copytree(judge_folders / "dino", tmp_path / "dino")


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_embeddings_are_of_unit_length_and_in_order(judges: Judges) -> None:
    few = pictures(3)
    for judge in (judges.dino, judges.clip):
        together = judge.images(few)
        assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-6)
        assert torch.allclose(together[1:2], judge.images(few[1:2]), atol=1e-6)
        assert (together[0] @ together[1]).item() < 0.9999
    patches = judges.dino.patches(few)
    assert patches.shape == (3, 4, 4, 3 * 32)
    assert torch.allclose(patches.norm(dim=-1), torch.ones(3, 4, 4), atol=1e-6)


def test_more_pictures_than_are_embedded_at_a_time(judges: Judges) -> None:
    many = pictures(70, side=32)
    assert torch.allclose(judges.dino.images(many)[66:], judges.dino.images(many[66:]), atol=1e-6)
    assert torch.allclose(judges.dino.patches(many)[66:], judges.dino.patches(many[66:]), atol=1e-6)
    assert judges.clip.texts(["a dog", "a cat"] * 35).shape == (70, 24)


def test_patches_lie_where_they_are_in_the_picture(judges: Judges) -> None:
    changed = Image.new("RGB", (32, 32), "white")
    changed.paste((20, 40, 200), (24, 0, 32, 8))
    white, blue = judges.dino.patches([Image.new("RGB", (32, 32), "white"), changed])
    assert (white - blue).norm(dim=-1).flatten().argmax() == 3  # the upper right one of 4 x 4


def test_a_text_longer_than_clip_can_read_is_cut(judges: Judges) -> None:
    assert torch.equal(*judges.clip.texts(["a dog " * 30, "a dog " * 40]))


def test_pictures_of_other_modes_are_taken(judges: Judges) -> None:
    grey = pictures(1)[0].convert("L")
    assert torch.allclose(judges.dino.images([grey]), judges.dino.images([grey.convert("RGB")]))


def test_the_toybox_has_judges_of_its_own_unless_others_are_named(judge_folders: Path) -> None:
    embedded = load_judges(Evaluation(), TOYBOX)
    assert embedded.names["dino"].startswith("toybox-dino#") and embedded.names["clip"].startswith("toybox-clip#")
    named = load_judges(Evaluation(dino_model=str(judge_folders / "dino")), TOYBOX)
    assert named.names["dino"].startswith("dino#") and named.names["clip"] == embedded.names["clip"]
    assert load_judges(Evaluation(dino_model="toybox", clip_model="toybox"), PHOTOGRAPHS).names == embedded.names


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2(registers: int, tmp_path: Path) -> None:
    judge = open_dino(save(tmp_path / "dinov2", dinov2_parts(registers)))
    assert judge.patches(pictures(2)).shape == (2, 4, 4, 3 * 32)
    assert judge.images(pictures(2)).shape == (2, 32)


def test_a_clip_with_a_levit_sees_and_hears_as_before_it_was_saved(tmp_path: Path) -> None:
    model, processor, tokenizer = two_towers()
    judge = Clip.open(find(str(save(tmp_path / "towers", (model, processor, tokenizer))), None, "clip"))
    before = Clip(model.eval(), processor, tokenizer, "before")
    torch.testing.assert_close(judge.images(pictures(2)), before.images(pictures(2)))
    torch.testing.assert_close(judge.texts(["a dog"]), before.texts(["a dog"]))
    assert judge.scale == before.scale


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("text_config", {"model_type": "roberta"}, "is of two towers, levit and roberta: only levit and clip_text"),
        ("vision_config", {"image_size": 3200}, "pictures of 3200 pixels; of a LeViT at most 256"),
        ("vision_config", {"depths": [1, 10**6, 1]}, "depths"),
    ],
)
def test_towers_that_no_judge_has(part: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = save(tmp_path / "towers", two_towers()) / "config.json"
    edit(config, **{part: json.loads(config.read_text())[part] | change})
    with pytest.raises(ModelError, match=message):
        Clip.open(find(str(config.parent), None, "clip"))


def test_patches_of_a_judge_that_cuts_out_the_middle_are_those_of_the_whole_picture(tmp_path: Path) -> None:
    judge = open_dino(save(tmp_path / "dinov2", dinov2_parts()))
    changed = Image.new("RGB", (72, 72), "white")
    changed.paste((20, 40, 200), (69, 0, 72, 3))  # outside of what is cut out
    both = [Image.new("RGB", (72, 72), "white"), changed]
    assert torch.equal(*judge.images(both))
    white, blue = judge.patches(both)
    assert (white - blue).norm(dim=-1).flatten().argmax() == 3


def test_half_precision_weights_judge_in_float32(tmp_path: Path) -> None:
    model, processor = dino_parts()
    whole = Dino(model, processor, "whole").images(pictures(2))
    half = open_dino(save(tmp_path / "half", (model.half(), processor)))
    assert half.images(pictures(2)).dtype == torch.float32
    assert torch.allclose(half.images(pictures(2)), whole, atol=2e-3)


def test_a_judge_with_weights_of_one_variant_alone_opens(saved: Path) -> None:
    few = pictures(2)
    plain = open_dino(saved).images(few)
    (saved / "model.safetensors").rename(saved / "model.fp16.safetensors")
    assert torch.equal(open_dino(saved).images(few), plain)


def test_a_name_changes_with_the_weights_only(saved: Path, tmp_path: Path) -> None:
    before = open_dino(saved).name
    assert before.startswith("dino#") and len(before) == len("dino#") + 12
    model, processor = dino_parts()
    model.layernorm.bias.data += 1
    assert open_dino(save(saved, (model, processor))).name != before


def test_a_judge_of_the_hub_has_its_commit_in_its_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(saved, tmp_path, monkeypatch)
    assert open_dino("owner/name").name == f"owner/name@{COMMIT}"
    assert open_dino("owner/name", COMMIT).name == f"owner/name@{COMMIT}"


def cached(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the folder into a local cache of the hub as owner/name."""
    repository = root / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root / "hub"))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "no-such-judge", "a/b/c", "~no-such-user/judge"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        open_dino(name)


def test_a_judge_of_the_hub_without_a_network() -> None:
    with pytest.raises(ModelError, match="the judge nobody/nothing at revision abc could not be found or downloaded"):
        open_dino("nobody/nothing", "abc")
    with pytest.raises(ModelError, match="the judge facebook/dino-vits16 could not be found or downloaded"):
        load_judges(Evaluation(), PHOTOGRAPHS)


def test_a_revision_of_something_local(saved: Path) -> None:
    with pytest.raises(ModelError, match="has no revisions"):
        open_dino(saved, "main")


def test_pickled_weights_are_never_opened(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (saved / "model.safetensors").unlink()
    torch.save({}, saved / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has no \.safetensors weights"):
        open_dino(saved)
    cached(saved, tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=r"owner/name at main has no \.safetensors weights"):
        open_dino("owner/name", "main")


def test_a_judge_of_another_kind(judge_folders: Path) -> None:
    with pytest.raises(ModelError, match="is a clip: DINO takes a vit or dinov2"):
        open_dino(judge_folders / "clip")
    with pytest.raises(ModelError, match="is a vit: CLIP-I and CLIP-T takes a clip"):
        Clip.open(find(str(judge_folders / "dino"), None, "clip"))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"no readable config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"no readable config\.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"no readable config\.json"),
        (lambda folder: (folder / "config.json").write_text("[" * 10**5), r"no readable config\.json"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "could not be opened"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n."), "could not be opened"),
        (
            lambda folder: edit(folder / "config.json", num_hidden_layers=4),
            r"not those that its config\.json describes",
        ),
        (
            lambda folder: edit(folder / "preprocessor_config.json", size={"height": 40, "width": 40}),
            "cannot take the pictures that its own",
        ),
    ],
    ids=[
        *("no config", "broken config", "no table", "deep config", "no preprocessor", "pickle inside"),
        *("too few weights", "other size"),
    ],
)
def test_a_folder_that_is_damaged(saved: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(saved)
    with pytest.raises(ModelError, match=message):
        open_dino(saved)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"num_hidden_layers": 10**6}),
        ("config.json", {"image_size": 10**6}),
        ("preprocessor_config.json", {"size": {"height": 10**6, "width": 10**6}}),
    ],
)
def test_a_judge_that_asks_for_more_than_its_weights_can_be_is_refused_at_once(
    saved: Path, file: str, values: dict[str, Any]
) -> None:
    edit(saved / file, **values)
    with pytest.raises(ModelError, match=rf"the judge .* cannot be what .*{file} says"):
        open_dino(saved)


def test_a_weight_that_is_no_number_is_found_before_anything_is_measured(saved: Path) -> None:
    file = saved / "model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"the judge .* no numbers \(NaN or infinite\): .*model.safetensors"):
        open_dino(saved)


def test_a_clip_without_its_tokenizer(judge_folders: Path, tmp_path: Path) -> None:
    folder = copytree(judge_folders / "clip", tmp_path / "clip")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        Clip.open(find(str(folder), None, "clip"))


def test_a_clip_with_a_damaged_tokenizer(judge_folders: Path, tmp_path: Path) -> None:
    folder = copytree(judge_folders / "clip", tmp_path / "clip")
    file = folder / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"the tokenizer of the judge clip#.* could not be opened: "):
        Clip.open(find(str(folder), None, "clip"))
