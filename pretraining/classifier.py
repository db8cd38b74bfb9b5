"""Reads class, colour, scene and the rest off a picture; trained on renders only, so it judges samples from outside.

It also reads the toy's two colours as numbers: their distance to a subject's true ones tells whether it is that one.
Its weights lie beside this file; the package does not ship them.
"""

import random
from collections import Counter
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dreambooth.evaluation.variety import effective
from dreambooth.support.files import atomic_write
from dreambooth.toybox import world
from pretraining import renders
from pretraining.state import Trained, arguments, log, prepare
from pretraining.text_encoder import ATTRIBUTES

WEIGHTS = Path(__file__).parent / "weights" / "classifier.safetensors"


FEATURES = 192


def colours_of(toy: world.Toy) -> Tensor:
    """(6,) main and secondary colour, each value within [-1, 1]."""
    return torch.tensor([2 * value - 1 for value in (*toy.main, *toy.secondary)])


class Classifier(nn.Module):
    """A small convolutional net with a head per attribute of the world; it looks at 128 pixels a side."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 96, 144, 144, 192)
        strides = (2, 2, 2, 1, 2, 1, 2)
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(192 * 16, FEATURES), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, len(values)) for name, values in ATTRIBUTES.items()})
        self.colours = nn.Linear(FEATURES, 6)

    def features(self, images: Tensor) -> Tensor:
        """(N, FEATURES) what the heads read, for images (N, 3, H, W) in [0, 1]."""
        if images.shape[-1] != 128:
            images = F.interpolate(images, (128, 128), mode="bilinear")
        return cast(Tensor, self.body(images * 2 - 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (N, values) of each attribute, and "colours" (N, 6), for images (N, 3, H, W) in [0, 1]."""
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()} | {"colours": self.colours(features)}

    @torch.no_grad()
    def read(self, images: Tensor) -> list[dict[str, str]]:
        """What each of the images (N, 3, H, W) in [0, 1] shows, by attribute."""
        self.eval()
        logits = self(images)
        found = {name: logits[name].argmax(1).tolist() for name in ATTRIBUTES}
        return [{name: ATTRIBUTES[name][found[name][row]] for name in found} for row in range(len(images))]

    @torch.no_grad()
    def read_colours(self, images: Tensor) -> Tensor:
        """The toys' colours in images (N, 3, H, W) in [0, 1]: (N, 6), as `colours_of`."""
        self.eval()
        return cast(Tensor, self(images)["colours"])

    def colour_distance(self, images: Tensor, truth: Tensor) -> float:
        """RMS distance in [0, 2] of the colours read off images (N, 3, H, W) to the true ones, (6,) or (N, 6)."""
        return float((self.read_colours(images) - truth).square().mean().sqrt())

    def scenes(self, images: Tensor) -> float:
        """The effective number of scenes in images (N, 3, H, W), each as it is read."""
        return effective(list(Counter(found["scene"] for found in self.read(images)).values()))

    def spread(self, images: Tensor) -> float:
        """RMS spread of the colours of the toys in the images around their mean."""
        return float(self.read_colours(images).var(0).mean().sqrt())


def load() -> Classifier:
    """The classifier as it was trained."""
    model = Classifier()
    model.load_state_dict({name: tensor.clone() for name, tensor in load_file(WEIGHTS).items()})
    return model.eval()


def labels_of(truths: list[renders.Truth]) -> dict[str, Tensor]:
    """(N,) index of each attribute; -100, which the loss ignores, where a pencil drawing hides the colour."""
    labels: dict[str, Tensor] = {}
    for name, values in ATTRIBUTES.items():
        found = [values.index(truth.attribute(name)) for truth in truths]
        if name == "colour":
            found = [-100 if "pencil" in truth.shot.style else i for i, truth in zip(found, truths, strict=True)]
        labels[name] = torch.tensor(found)
    return labels


def accuracy(model: Classifier, images: Tensor, truths: list[renders.Truth]) -> dict[str, float]:
    """The share read right, by attribute, of images (N, 3, H, W) uint8."""
    model.eval()
    with torch.no_grad():
        parts = [model(part.float() / 255) for part in images.split(256)]
    right = {}
    for name, labels in labels_of(truths).items():
        guesses = torch.cat([part[name] for part in parts]).argmax(1)
        known = labels >= 0
        right[name] = float((guesses[known] == labels[known]).float().mean())
    return right


def worn(images: Tensor, rng: random.Random) -> Tensor:
    """Images in [0, 1] a little blurred and noisy, so that a sample's softness does not blind the classifier."""
    if rng.random() < 0.5:
        images = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear") * 0.6 + images * 0.4
    if rng.random() < 0.5:
        images = images.flip(-1)
    return images + 0.03 * rng.random() * torch.randn_like(images)


def main() -> None:
    """Train, and print the accuracy on renders it never saw."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    model = Classifier().to(options.device)
    trained = Trained({"classifier": model}, 2e-3, decay=0.99, muon_rate=5e-3)
    held_out = renders.truths_of(1_000_001, 2048)
    held_out_images = renders.draw(held_out, size.resolution)
    shards = renders.shards(options.state)
    images, truths = renders.load(options.state, shards[0])
    while trained.step < options.steps:
        if trained.step % 16 == 0:
            images, truths = renders.load(options.state, shards[trained.step // 16 % len(shards)])
            labels = labels_of(truths)
        rng = random.Random(trained.step)
        rows = torch.tensor([rng.randrange(len(truths)) for _ in range(options.batch)])
        model.train()
        logits = model(worn(images[rows].to(options.device).float() / 255, rng))
        losses = [F.cross_entropy(logits[name], labels[name][rows].to(options.device)) for name in ATTRIBUTES]
        colours = torch.stack([colours_of(truths[row].toy) for row in rows.tolist()])
        coloured = labels["colour"][rows] >= 0
        losses.append(4 * F.smooth_l1_loss(logits["colours"][coloured], colours[coloured].to(options.device)))
        loss = cast(Tensor, sum(losses))
        trained.update(loss, max(0.02, 1 - trained.step / options.steps))
        if trained.step % 200 == 0:
            log(options.state, f"classifier: step {trained.step} loss {loss.item():.3f}")
    right = accuracy(model, held_out_images, held_out)
    photos = [i for i, truth in enumerate(held_out) if not truth.shot.style]
    read = torch.cat([model.read_colours(part.float() / 255) for part in held_out_images[photos].split(256)])
    error = (read - torch.stack([colours_of(held_out[i].toy) for i in photos])).square()
    right["RMS of the colours, of 2"] = float(error.mean().sqrt())
    listed = ", ".join(f"{name} {value:.3f}" for name, value in right.items())
    log(options.state, f"classifier: held-out accuracy on {len(held_out)} renders: {listed}")
    with atomic_write(WEIGHTS) as aside:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, aside)


if __name__ == "__main__":
    main()
