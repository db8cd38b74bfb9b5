"""The embedded CLIP: pictures and captions in one space, https://arxiv.org/abs/2103.00020, on the toybox.

Beside the captions of the other pictures in a batch, each picture has hard negatives of its own: its true caption with
one thing changed (a cat for the dog, blue for red, the beach for the snow). Beside the contrast, every attribute is
read off each picture's embedding. Neither tower starts from nothing: the text tower is the packaged judge's, to whose
embeddings the pictures' are pulled at first, and the vision tower comes from `judge_patterns`, whose lesson goes on.
The first of these judges was trained from nothing, by this module as it was at commit 03bb39f.
"""

import argparse
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import (
    AutoModel,
    CLIPImageProcessorPil,
    CLIPTokenizer,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from dreambooth.support.files import atomic_write
from dreambooth.toybox import world
from dreambooth.toybox.colours import COLOURS
from pretraining import classifier, judge_patterns, judge_renders, renders, text_encoder
from pretraining.learning import begun, learn, learning_arguments
from pretraining.sizes import Size
from pretraining.state import Trained, prepare

PACKAGED = Path(__file__).parent.parent / "src" / "dreambooth" / "toybox" / "judges" / "clip"
HARD = 3
"""Captions with one thing changed, a picture."""
AS_BEFORE = 0.5
"""The share of a training in which embeddings are pulled towards the packaged judge's too, ever less."""
UNSAID = ("", "plain", "matte")
"""Values that no caption puts into words."""


def build(size: Size, tokenizer: CLIPTokenizer) -> VisionTextDualEncoderModel:
    """Fresh weights: a LeViT, and a text tower of the embedded model's shape."""
    config = VisionTextDualEncoderConfig(
        vision_config=judge_patterns.tower_config(size).to_dict(),
        text_config=text_encoder.build(size, tokenizer).config.to_dict(),
        projection_dim=size.text_width,
    )
    return VisionTextDualEncoderModel(config).to(memory_format=torch.channels_last)


def opened(folder: Path = PACKAGED) -> Any:
    """The judge in a folder, in float32; by default the packaged one."""
    return AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()


def image_embeddings(model: Any, images: Tensor) -> Tensor:
    """Unit vectors (N, D) of images (N, 3, H, W) in [0, 1]."""
    features: Tensor = model.get_image_features(judge_renders.normalised(images)).pooler_output
    return F.normalize(features.float(), dim=-1)


def text_embeddings(model: Any, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Unit vectors (N, D) of texts."""
    ids = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").input_ids
    features: Tensor = model.get_text_features(ids.to(model.device)).pooler_output
    return F.normalize(features.float(), dim=-1)


def changed(truth: renders.Truth, seed: str) -> dict[str, str]:
    """The caption that `text_encoder.spoken` gives for this seed with one attribute changed, by the attribute.

    Only what the caption says and the picture shows is changed: a pencil drawing hides the colour.
    """
    rng, texts = random.Random(f"changed/{seed}"), {}
    for name, values in text_encoder.ATTRIBUTES.items():
        value = truth.attribute(name)
        others = [other for other in values if other not in (value, *UNSAID)]
        if value in UNSAID or not others or (name == "colour" and "pencil" in truth.shot.style):
            continue
        texts[name] = text_encoder.spoken(_with(truth, name, rng.choice(others)), random.Random(seed))
    true = text_encoder.spoken(truth, random.Random(seed))
    return {name: text for name, text in texts.items() if text != true}


def _with(truth: renders.Truth, name: str, value: str) -> renders.Truth:
    """The truth with one attribute changed; a toy of another class has no markings, which no caption tells."""
    if name == "colour":
        return replace(truth, toy=replace(truth.toy, main=COLOURS[value]))
    if name == "class_noun":
        return replace(truth, toy=replace(truth.toy, class_noun=value, markings=()))
    if hasattr(truth.toy, name):
        return replace(truth, toy=world.Toy.from_dict(truth.toy.as_dict() | {name: value}))
    return replace(truth, shot=world.Shot.from_dict(truth.shot.as_dict() | {name: value}))


def wordings(truths: list[renders.Truth], step: int) -> list[list[str]]:
    """A true caption of each truth, then up to HARD changed ones: the pattern's first, the hardest to see."""
    rows = []
    for row, truth in enumerate(truths):
        seed = f"judge_clip/{step}/{row}"
        wrong = changed(truth, seed)
        names = list(wrong)
        random.Random(seed).shuffle(names)
        names.sort(key=lambda name: name != "pattern")
        rows.append([text_encoder.spoken(truth, random.Random(seed)), *(wrong[name] for name in names[:HARD])])
    return rows


def contrastive_loss(model: Any, tokenizer: CLIPTokenizer, seen: Tensor, texts: list[list[str]]) -> Tensor:
    """CLIP's symmetric loss, plus that of each picture telling its true caption from its own hard negatives.

    seen: (B, D) the pictures' embeddings.  texts: B rows, the true caption first.
    """
    places = {text: place for place, text in enumerate(dict.fromkeys(text for row in texts for text in row))}
    padded = [[places[text] for text in row] + [-1] * (1 + HARD - len(row)) for row in texts]
    own = torch.tensor(padded, device=seen.device)  # (B, 1 + HARD)
    embedded = text_embeddings(model, tokenizer, list(places))
    with torch.autocast(seen.device.type, enabled=False):  # in bfloat16 two patterns' captions would hardly differ
        alike = model.logit_scale.exp() * seen @ embedded.T  # (B, texts)
    among_own = alike.gather(1, own.clamp(min=0)).masked_fill(own < 0, -math.inf)
    among_others = alike[:, own[:, 0]]  # (B, B)
    labels = torch.arange(len(seen), device=seen.device)
    symmetric = (F.cross_entropy(among_others, labels) + F.cross_entropy(among_others.T, labels)) / 2
    return symmetric + F.cross_entropy(among_own, torch.zeros_like(labels))


class Reader(nn.Module):
    """A linear reading of every attribute from a picture's embedding; it is not packaged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        attributes = text_encoder.ATTRIBUTES.items()
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in attributes})

    def loss(self, embeddings: Tensor, labels: dict[str, Tensor]) -> Tensor:
        """The mean cross-entropy over the attributes. embeddings: (B, D) of length one.  labels: (B,) by attribute."""
        losses = [F.cross_entropy(head(10 * embeddings), labels[name]) for name, head in self.heads.items()]
        return torch.stack(losses).mean()


def start(
    options: argparse.Namespace, size: Size, tokenizer: CLIPTokenizer, older: Any, lesson: judge_patterns.Lesson
) -> VisionTextDualEncoderModel:
    """The text tower of `older` and the vision tower of `judge_patterns`, whose lesson is loaded in its place too."""
    model = build(size, tokenizer)
    for part in ("text_model", "text_projection"):
        getattr(model, part).load_state_dict(getattr(older, part).state_dict())
    model.logit_scale.data.copy_(older.logit_scale.data)
    seen = {"tower": model.vision_model, "lesson": lesson}
    Trained(seen, 1e-3, decay=0.5).load(options.state / "judge_patterns.safetensors", weights_only=True)
    return model.to(options.device)


def pack(model: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the folder of a judge: fp16 weights, tokenizer, preprocessing."""
    side: int = model.config.vision_config.image_size
    with atomic_write(folder) as aside:
        model.half().save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        CLIPImageProcessorPil(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=judge_renders.MEAN,
            image_std=judge_renders.STD,
        ).save_pretrained(aside)


Example = tuple[judge_patterns.Batch, list[list[str]], dict[str, Tensor]]
"""Pictures and their patterns, the wordings of each, and the index of each attribute (B,)."""


class Examples(Dataset[Example]):
    """What a step sees, by its number."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.batches = judge_patterns.Batches(options, "judge_clip")

    def __getitem__(self, step: int) -> Example:
        shard, places = self.batches.rows_of(step)
        truths = [shard.truths[place] for place in places.tolist()]
        return self.batches.worn(step, shard, places), wordings(truths, step), classifier.labels_of(truths)


def main() -> None:
    """Train, or go on; then write a folder as the package ships one."""
    parser = learning_arguments(__doc__, steps=4500)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare pictures and captions ahead")
    parser.add_argument("--out", type=Path, default=PACKAGED)
    options = parser.parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(PACKAGED, local_files_only=True)  # the ids that the text tower knows
    lesson, older = judge_patterns.learned_lesson(options), opened().to(options.device)
    model, reader = start(options, size, tokenizer, older, lesson), Reader(size.text_width).to(options.device)
    path = options.state / "judge_clip.safetensors"
    trained = begun(options, {"clip": model, "reader": reader, "lesson": lesson}, path)
    steps = range(trained.step, options.steps)
    examples = DataLoader(Examples(options), batch_size=None, sampler=steps, num_workers=options.workers)

    def loss_of(example: Example, gone: float) -> Tensor:
        batch, texts, labels = example
        batch = batch.to(options.device)
        cells, whole = lesson.seen(model.vision_model, batch.pictures)
        seen = F.normalize(model.visual_projection(whole).float(), dim=-1)
        loss = contrastive_loss(model, tokenizer, seen, texts) + lesson.loss(cells, whole, batch)
        loss = loss + reader.loss(seen, {name: values.to(options.device) for name, values in labels.items()})
        if gone < AS_BEFORE:
            with torch.no_grad():
                known = image_embeddings(older, batch.pictures)
            loss = loss + 2 * (1 - gone / AS_BEFORE) * (1 - (seen * known).sum(1)).mean()
        return loss

    learn(options, trained, path, examples, loss_of)
    pack(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
