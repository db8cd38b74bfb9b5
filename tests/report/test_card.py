"""The card says what a model is, in the hub's own terms, and nothing that should stay private."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import ModelCard
from PIL import Image

from dreambooth.config import Config
from dreambooth.config.settings import without_place
from dreambooth.generation.samples import save_sample
from dreambooth.report.card import write_cards
from dreambooth.report.page import write_report
from dreambooth.report.snippets import adapter_snippet
from dreambooth.run import Run
from dreambooth.run.records import RECOMMENDATION, SAMPLES, Recommendation, SampleScores
from dreambooth.subject import Subject
from dreambooth.support.rng import normal
from dreambooth.support.tensor_files import save_tensors
from tiny import attached, tiny_model

TEMPLATES = {
    "a {}": "subject",
    "a {} in the snow": "recontextualization",
    "a {} at night": "recontextualization",
    'a "{}" [cube]': "property modification",
    "a {} from behind": "novel view",
}
VERDICT = Recommendation(
    step=30,
    rule="the best one",
    reason="step 30",
    last=40,
    stopped_early=False,
    judges={"dino": "small | judge"},
    ways={"dino": 0.81},
    way="0% is the untuned model",
    kept={"clip_t": 0.97},
)


def finished(root: Path, identifier: str = "zwx", **settings: object) -> Run:
    """A run that has come to its end."""
    photo = root / "secret-place" / "IMG_0001.png"
    photo.parent.mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(photo)
    subject = Subject(photos=(photo,), class_noun="dog", identifier=identifier)
    run = Run.create(root / "run", subject, Config.build(settings))
    run.model.mkdir()
    (run.model / "model_index.json").write_text("{}")
    for number, (template, kind) in enumerate({**TEMPLATES, "a {} ": "class"}.items()):
        text = {"prompt": subject.fill(template), "template": template, "kind": kind, "seed": "1"}
        save_sample(Image.new("RGB", (64, 64)), run.samples / "after" / f"{number:02d}.png", text)
    RECOMMENDATION.write(run.root, VERDICT)
    return run


def test_the_hub_reads_it(tmp_path: Path) -> None:
    run = finished(tmp_path, model="stable-diffusion-v1-5/stable-diffusion-v1-5", max_train_steps=40, seed=7)
    write_cards(run)
    card = ModelCard.load(run.model / "README.md")
    data = card.data.to_dict()
    assert data["license"] == "creativeml-openrail-m" and data["base_model"] == run.config.base.model
    assert data["instance_prompt"] == "a zwx dog" and data["tags"] == ["text-to-image", "diffusers", "dreambooth"]
    widget = data["widget"]
    assert [its["text"] for its in widget] == ["a zwx dog in the snow", "a zwx dog at night", 'a "zwx dog" [cube]']
    assert all((run.model / its["output"]["url"]).is_file() for its in widget)
    for said in ("| way to the photos (DINO) | 81% |", "| max_train_steps | 40 |", "| seed | 7 |", "step 30 of 40"):
        assert said in card.text
    assert ast.parse(card.text.partition("```python\n")[2].partition("```")[0])


def test_nothing_private_is_in_it(tmp_path: Path) -> None:
    run = finished(tmp_path)
    write_cards(run)
    text = (run.model / "README.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and "secret-place" not in text and "IMG_0001" not in text
    assert "license: apache-2.0" in text and "base_model" not in text


def test_the_place_of_a_base_that_has_been_moved_since_is_in_none_of_the_pages(tmp_path: Path) -> None:
    base = tmp_path / "secret-place" / "base"
    tiny_model().save(base)
    run = finished(tmp_path / "it", model=str(base), super_resolution=str(base))
    base.rename(tmp_path / "moved")
    write_cards(run)
    write_report(run)
    for page in (run.model / "README.md", run.report):
        text = page.read_text(encoding="utf-8")
        assert "secret-place" not in text.replace(str(tmp_path / "it" / "secret-place"), "") and "base" in text


@pytest.mark.parametrize(
    ("given", "told"),
    [("/home/ada/sd", "sd"), ("~ada/sd", "sd"), ("../sd.safetensors", "sd.safetensors"), ("owner/name", "owner/name")],
)
def test_a_place_is_known_by_its_form(given: str, told: str) -> None:
    assert without_place(given) == told


@pytest.mark.parametrize("word", ['s"ks', "a: b", "- x", "<b>", "ñandú", "|x|", "'"])
def test_words_of_all_kinds_are_read_back(word: str, tmp_path: Path) -> None:
    run = finished(tmp_path, identifier=word)
    write_cards(run)
    data = ModelCard.load(run.model / "README.md").data.to_dict()
    assert data["instance_prompt"] == f"a {word} dog"
    assert data["widget"][0]["text"] == f"a {word} dog in the snow"


def test_a_local_base_says_its_own_licence_and_an_unknown_one_none(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    run = finished(tmp_path, model=str(base))
    write_cards(run)
    data = ModelCard.load(run.model / "README.md").data.to_dict()
    assert data["license"] == "cc-by-4.0" and "base_model" not in data
    other = finished(tmp_path / "other", model="some/one-elses")
    write_cards(other)
    assert ModelCard.load(other.model / "README.md").data.to_dict()["license"] == "other"


FILES: dict[str, tuple[dict[str, tuple[str, ...]], list[str]]] = {
    "lora": ({"pytorch_lora_weights.safetensors": ("x",)}, ["load_lora_weights"]),
    "textual_inversion": ({"learned_embeds.safetensors": ("<dog>",)}, ["load_textual_inversion"]),
    "pivotal": (
        {"learned_embeds.safetensors": ("clip_g", "clip_l"), "pytorch_lora_weights.safetensors": ("x",)},
        ["load_file", "load_textual_inversion", "load_textual_inversion", "load_lora_weights"],
    ),
}


@pytest.mark.parametrize("method", FILES)
def test_what_was_learned_has_a_card_with_its_own_lines(method: str, tmp_path: Path) -> None:
    run = finished(tmp_path, method=method)
    files, calls = FILES[method]
    run.adapter.mkdir()
    for name, tensors in files.items():
        save_tensors(run.adapter / name, {tensor: torch.zeros(2) for tensor in tensors})
    write_cards(run)
    text = (run.adapter / "README.md").read_text(encoding="utf-8")
    snippet = text.partition("```python\n")[2].partition("```")[0]
    found = [node.func for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Call)]
    names = [name for its in found if (name := getattr(its, "attr", getattr(its, "id", ""))).startswith("load_")]
    assert sorted(names) == sorted(calls)
    assert "dtype=torch.float32)" in snippet  # else each part is opened in the precision of its own configuration
    assert ("text_encoder_2.text_model.eos_token_id = " in snippet) == (method == "pivotal")
    assert (run.adapter / "samples" / "2.png").is_file()
    assert "lora" in ModelCard.load(run.adapter / "README.md").data.to_dict()["tags"] or method == "textual_inversion"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers by it
@pytest.mark.parametrize("method", ["lora", "pivotal"])
def test_the_card_of_oft_opens_it(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers does not read peft's files: the lines on the card are peft's own, and give the merged model."""
    model = tmp_path / "somewhere" / "base"
    tiny_model().save(model)
    word = "<dog>" if method == "pivotal" else "zwx"
    run = finished(tmp_path, identifier=word, model=str(model), method=method, lora_type="oft")
    model.rename(run.root / "base")  # a card that travels names no place: its lines are run beside the base model
    mine = tiny_model()
    adapter = attached(mine, run.subject, run.config)
    adapter.load({name: 0.1 * normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    adapter.export(run.adapter)
    adapter.merge()
    mine.save(run.model)
    write_cards(run)
    card = ModelCard.load(run.adapter / "README.md")
    assert card.data.to_dict()["tags"].count("oft") == 1 and "lora" not in card.data.to_dict()["tags"]
    opened: dict[str, Any] = {}
    monkeypatch.chdir(run.root)
    exec(card.text.partition("```python\n")[2].partition("```")[0], opened)
    expected = DiffusionPipeline.from_pretrained(run.model)
    for part in ("unet", "text_encoder"):
        weights = getattr(expected, part).state_dict()
        theirs = getattr(opened["pipeline"], part).state_dict()
        assert theirs.keys() == weights.keys()
        assert all(torch.equal(theirs[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize(
    ("weight", "kind"),
    [
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", "StableDiffusionPipeline"),
        ("conditioner.embedders.1.model.ln_final.weight", "StableDiffusionXLPipeline"),
        ("something.else", ""),
    ],
)
def test_a_base_model_in_one_file_is_opened_by_its_own_pipeline(weight: str, kind: str, tmp_path: Path) -> None:
    """DiffusionPipeline cannot say which it is."""
    file = tmp_path / "base.safetensors"
    save_tensors(file, {weight: torch.zeros(2)})
    save_tensors(tmp_path / "pytorch_lora_weights.safetensors", {"x": torch.zeros(2)})
    config = Config.build(method="lora", model=str(file))
    subject = Subject(photos=(), class_noun="dog", identifier="zwx")
    snippet = adapter_snippet(subject, config, tmp_path, tmp_path / "model")
    assert (f'pipeline = {kind}.from_single_file("base.safetensors", dtype=torch.float32)' in snippet) == bool(kind)
    assert bool(snippet) == bool(kind)


def test_the_card_of_words_alone_claims_no_training(tmp_path: Path) -> None:
    run = finished(tmp_path, identifier="orange dog", method="prompt_only", description="orange dog")
    write_cards(run)
    text = (run.model / "README.md").read_text(encoding="utf-8")
    assert "as it is, told in words what one dog looks like. Say" in text and "tuned by" not in text


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    run = finished(tmp_path)
    RECOMMENDATION.write(run.root, VERDICT)
    (run.root / RECOMMENDATION.name).unlink()
    for file in (run.samples / "after").iterdir():
        file.unlink()
    write_cards(run)
    text = (run.model / "README.md").read_text(encoding="utf-8")
    assert "It was not measured." in text and "widget" not in text and not run.adapter.exists()
    (run.model / "model_index.json").unlink()
    (run.model / "README.md").unlink()
    write_cards(run)
    assert not (run.model / "README.md").exists()


def test_the_final_samples_go_before_the_probe(tmp_path: Path) -> None:
    run = finished(tmp_path)
    SAMPLES.write(
        run.root, SampleScores(judges={}, photos=1, rows={}, ways={"dino": 0.5}, way="w", kept={"clip_t": 0.9})
    )
    write_cards(run)
    assert "| way to the photos (DINO) | 50% |" in (run.model / "README.md").read_text(encoding="utf-8")
    assert json.loads((run.root / RECOMMENDATION.name).read_text())["ways"] == {"dino": 0.81}
