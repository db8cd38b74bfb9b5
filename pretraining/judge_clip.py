"""The embedded CLIP: pictures and captions in one space, https://arxiv.org/abs/2103.00020, on the toybox.

Beside the captions of the other pictures in a batch, each picture has hard negatives of its own: its true caption with
one thing changed (a cat for the dog, blue for red, the beach for the snow). Neither tower starts from nothing: the text
tower is the embedded model's text encoder, which knows the attributes already, and the vision tower is the embedded
DINO, which sees markings; and beside the contrast, every attribute is read off each picture's embedding, so that what
few captions differ in (the pattern) is learned too.
"""

import argparse
import math
import random
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer, CLIPVisionConfig, ViTModel

from dreambooth.support.files import atomic_write
from dreambooth.toybox import world
from dreambooth.toybox.colours import COLOURS
from pretraining import classifier, judge_dino, judge_renders, renders, text_encoder
from pretraining.sizes import Size
from pretraining.state import Trained, arguments, log, prepare

PACKAGED = Path(__file__).parent.parent / "src" / "dreambooth" / "toybox" / "judges" / "clip"
HARD = 2
"""Captions with one thing changed, a picture."""
UNSAID = ("", "plain", "matte")
"""Values that no caption puts into words."""


def build(size: Size, tokenizer: CLIPTokenizer) -> CLIPModel:
    """A fresh CLIP of this size, with the text tower of the embedded model's shape."""
    vision = CLIPVisionConfig(
        image_size=size.resolution,
        **judge_renders.VISION,
        hidden_act="gelu",  # as the ViT that it starts from
        projection_dim=size.text_width,
    )
    text = text_encoder.build(size, tokenizer).config
    return CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=size.text_width)
    )


def image_embeddings(model: CLIPModel, images: Tensor) -> Tensor:
    """Unit vectors (N, D) of images (N, 3, H, W) in [0, 1]."""
    features: Tensor = model.get_image_features(judge_renders.normalised(images)).pooler_output
    return F.normalize(features, dim=-1)


def text_embeddings(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Unit vectors (N, D) of texts."""
    ids = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").input_ids
    features: Tensor = model.get_text_features(ids.to(model.device)).pooler_output
    return F.normalize(features, dim=-1)


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


def contrastive_loss(model: CLIPModel, tokenizer: CLIPTokenizer, seen: Tensor, texts: list[list[str]]) -> Tensor:
    """CLIP's symmetric loss, plus that of each picture telling its true caption from its own hard negatives.

    seen: (B, D) the pictures' embeddings.  texts: B rows, the true caption first.
    """
    places = {text: place for place, text in enumerate(dict.fromkeys(text for row in texts for text in row))}
    padded = [[places[text] for text in row] + [-1] * (1 + HARD - len(row)) for row in texts]
    own = torch.tensor(padded, device=seen.device)  # (B, 1 + HARD)
    embedded = text_embeddings(model, tokenizer, list(places))
    alike = model.logit_scale.exp() * seen @ embedded.T  # (B, texts)
    among_own = alike.gather(1, own.clamp(min=0)).masked_fill(own < 0, -math.inf)
    among_others = alike[:, own[:, 0]]  # (B, B)
    labels = torch.arange(len(seen), device=seen.device)
    symmetric = (F.cross_entropy(among_others, labels) + F.cross_entropy(among_others.T, labels)) / 2
    return symmetric + F.cross_entropy(among_own, torch.zeros_like(labels))


CLIPS_NAMES = {
    "embeddings.cls_token": "embeddings.class_embedding",
    "embeddings.position_embeddings": "embeddings.position_embedding.weight",
    "embeddings.patch_embeddings.projection": "embeddings.patch_embedding",
    "layers.": "encoder.layers.",
    "layernorm_before": "layer_norm1",
    "layernorm_after": "layer_norm2",
    "layernorm.": "post_layernorm.",
    "attention.o_proj": "attention.out_proj",
    "attention.": "self_attn.",
}
"""What a ViT calls its layers, and what CLIP's vision tower does."""


def see_as(vision: nn.Module, dino: ViTModel) -> None:
    """Give CLIP's vision tower the weights of a ViT of its shape; only the norm after the embeddings is CLIP's own.

    What the ViT's patches have as a bias goes into their positions, for CLIP's have none.
    """
    theirs = {name: tensor.detach().clone() for name, tensor in dino.named_parameters()}
    theirs["embeddings.position_embeddings"][:, 1:] += theirs.pop("embeddings.patch_embeddings.projection.bias")
    own = dict(vision.named_parameters())
    with torch.no_grad():
        for name, tensor in theirs.items():
            for vits, clips in CLIPS_NAMES.items():
                name = name.replace(vits, clips)
            own[name].copy_(tensor.view_as(own[name]))


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


def start(options: argparse.Namespace, size: Size, tokenizer: CLIPTokenizer) -> CLIPModel:
    """A CLIP whose towers are the embedded model's text encoder and the packaged DINO."""
    model = build(size, tokenizer)
    encoder = text_encoder.build(size, tokenizer)
    parts = {"text_encoder": encoder, "reader": text_encoder.Reader(size.text_width)}
    Trained(parts, 1e-3, decay=0.5).load(options.state / "text_encoder.safetensors", weights_only=True)
    model.text_model.load_state_dict(encoder.state_dict())
    see_as(model.vision_model, judge_dino.packaged())
    return model.to(options.device)


def pack(model: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the folder that the package ships: fp16 weights, tokenizer, preprocessing."""
    side = model.config.vision_config.image_size
    with atomic_write(folder) as aside:
        model.half().save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        CLIPImageProcessorPil(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=judge_renders.MEAN,
            image_std=judge_renders.STD,
        ).save_pretrained(aside)


Batch = tuple[Tensor, list[list[str]], dict[str, Tensor]]
"""Pictures (B, 3, H, W) uint8, the wordings of each, and the index of each attribute (B,)."""


class Batches(Dataset[Batch]):
    """What a step sees, by its number; each shard is gone through in an order of its own."""

    def __init__(self, state: Path, rows: int) -> None:
        self.state, self.rows = state, rows
        self.shards = renders.shards(state)
        self.load = lru_cache(maxsize=1)(renders.load)

    def __getitem__(self, step: int) -> Batch:
        turn, part = divmod(step, renders.SHARD // self.rows)
        images, truths = self.load(self.state, self.shards[turn % len(self.shards)])
        order = torch.randperm(renders.SHARD, generator=torch.Generator().manual_seed(turn))
        places = order[part * self.rows : (part + 1) * self.rows]
        some = [truths[place] for place in places.tolist()]
        return images[places], wordings(some, step), classifier.labels_of(some)


def judging_arguments() -> argparse.Namespace:
    """The flags of this module."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="decay to the end in so long, if that is less")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="processes that word captions ahead")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--muon-rate", type=float, default=5e-3)
    parser.add_argument("--out", type=Path, default=PACKAGED)
    return parser.parse_args()


def main() -> None:
    """Train, or go on; then write the folder that the package ships."""
    options = judging_arguments()
    size = prepare(options)
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(options.state / "tokenizer", local_files_only=True)
    model = start(options, size, tokenizer)
    reader = Reader(size.text_width).to(options.device)
    trained = Trained({"clip": model, "reader": reader}, options.learning_rate, 0.95, 0.05, options.muon_rate)
    path = options.state / "judge_clip.safetensors"
    if path.exists():
        trained.load(path)
    steps = range(trained.step, options.steps)
    batches = DataLoader(
        Batches(options.state, options.batch), batch_size=None, sampler=steps, num_workers=options.workers
    )
    started = time.time()
    for step, (images, texts, labels) in zip(steps, batches, strict=True):
        gone = max(step / options.steps, (time.time() - started) / 60 / options.minutes)
        if gone >= 1:
            break
        pictures = judge_renders.worn(images.to(options.device).float() / 255, torch.Generator().manual_seed(step))
        seen = image_embeddings(model, pictures)
        reading = reader.loss(seen, {name: values.to(options.device) for name, values in labels.items()})
        loss = contrastive_loss(model, tokenizer, seen, texts) + reading
        trained.update(loss, judge_renders.share_at(step, gone))
        if trained.step % 20 == 0:
            log(options.state, f"judge_clip: step {trained.step} loss {loss.item():.3f} reading {reading.item():.3f}")
        if trained.step % 500 == 0:
            trained.save(path)
    trained.save(path)
    trained.use_average()
    pack(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
