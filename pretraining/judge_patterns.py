"""Eyes for stripes and spots: a convolutional net learns to see them, and the CLIP judge's vision tower learns from it.

The tower is a LeViT (https://arxiv.org/abs/2104.01136), a transformer behind four convolutions: one on patches of 16
pixels learns such textures many times more slowly (docs/log.md). Both nets are told where in a picture a pattern shows
and which it is; the tower is taught what the convolutional net sees as well, cell by cell. That one starts from the
classifier's convolutions, and the tower's first three from its.

    python -m pretraining.judge_patterns --learner teacher
    python -m pretraining.judge_patterns
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LevitConfig, LevitModel

from dreambooth.toybox.world import PATTERNS
from pretraining import classifier, judge_renders, patterned, renders
from pretraining.learning import begun, learn, learning_arguments
from pretraining.sizes import Size
from pretraining.state import Trained, log, prepare

CELLS = 64
"""Squares of 16 pixels, the tower's, in a picture."""
CONVOLUTIONS = 6
"""Of the classifier's seven, those that leave a cell each a column of its own."""
OF_A_CELL, OF_ALL = 144, 192
"""The teacher's channels of a cell, and its features of the whole picture."""
FIRST, LAST = 192, 256
"""The tower's channels of a cell behind its convolutions, and of its last state."""
PLAIN = PATTERNS.index("plain")
SHOWS = 4
"""How much more a cell counts that is all pattern than one that shows none: most of a picture shows none."""
LEVIT = {
    "patch_size": 16,
    "hidden_sizes": [FIRST, 192, LAST],
    "num_attention_heads": [4, 4, 6],
    "depths": [2, 2, 2],
    "key_dim": [16, 16, 16],
    "mlp_ratio": [2, 2, 2],
    "attention_ratio": [2, 2, 2],
    "drop_path_rate": 0,
}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """pictures: (B, 3, H, W) in [0, 1].  shown: (B, CELLS) how much of each cell shows its pattern.  pattern: (B,)."""

    pictures: Tensor
    shown: Tensor
    pattern: Tensor

    def to(self, device: str) -> "Batch":
        """The same on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


class Heads(nn.Module):
    """Linear readings: which pattern there is in each cell, and in the whole picture."""

    def __init__(self, cells: int, whole: int) -> None:
        super().__init__()
        self.cells, self.whole = nn.Linear(cells, len(PATTERNS)), nn.Linear(whole, len(PATTERNS))

    def loss(self, cells: Tensor, whole: Tensor, batch: Batch) -> Tensor:
        """Both cross-entropies, the cells' twice. cells: (B, CELLS, C).  whole: (B, D)."""
        bare = F.one_hot(torch.full_like(batch.pattern, PLAIN), len(PATTERNS))[:, None]
        own = F.one_hot(batch.pattern, len(PATTERNS))[:, None]
        shown = batch.shown[..., None]
        wanted = (1 - shown) * bare + shown * own
        counts = 1 + SHOWS * batch.shown
        by_cell = -(wanted * self.cells(cells).float().log_softmax(-1)).sum(-1)
        in_cells: Tensor = (counts * by_cell).sum() / counts.sum()
        return 2 * in_cells + F.cross_entropy(self.whole(whole).float(), batch.pattern)


class Teacher(nn.Module):
    """The classifier's convolutions, which go on to learn patterns alone."""

    def __init__(self) -> None:
        super().__init__()
        body = classifier.load().body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        near = 3 * CONVOLUTIONS  # each with its norm and its rectifier
        self.near, self.far, self.heads = body[:near], body[near:], Heads(OF_A_CELL, OF_ALL)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Cells (B, CELLS, OF_A_CELL) and features (B, OF_ALL) of pictures (B, 3, H, W) in [0, 1]."""
        near = self.near((pictures * 2 - 1).contiguous(memory_format=torch.channels_last))
        return near.flatten(2).mT, self.far(near)

    def loss(self, batch: Batch) -> Tensor:
        """That of its own readings."""
        cells, whole = self(batch.pictures)
        return self.heads.loss(cells, whole, batch)

    def read(self, pictures: Tensor) -> Tensor:
        """Logits (B, patterns)."""
        logits: Tensor = self.heads.whole(self(pictures)[1])
        return logits


def tower_config(size: Size) -> LevitConfig:
    """The tower's shape; in a VisionTextDualEncoderModel it has to say how wide its last state is."""
    return LevitConfig(image_size=size.resolution, **LEVIT, hidden_size=LAST)


def build_tower(size: Size) -> LevitModel:
    """A fresh tower."""
    return LevitModel(tower_config(size)).to(memory_format=torch.channels_last)


class Lesson(nn.Module):
    """What a tower learns from a teacher that has learned, and from the same labels."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.heads = Heads(FIRST, LAST)
        self.map, self.features = nn.Linear(FIRST, OF_A_CELL), nn.Linear(LAST, OF_ALL)
        for name, channels in (("map", OF_A_CELL), ("features", OF_ALL)):
            self.register_buffer(f"mean_of_{name}", torch.zeros(channels))
            self.register_buffer(f"spread_of_{name}", torch.ones(channels))
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: it is no part of what trains

    @torch.no_grad()
    def scale_by(self, pictures: Tensor) -> None:
        """Note how the teacher's channels vary over pictures (N, 3, H, W); those that hardly do are not blown up."""
        for name, values in zip(("map", "features"), self._teacher[0](pictures), strict=True):
            rows = values.float().flatten(0, -2)
            spread = rows.std(0)
            self.get_buffer(f"mean_of_{name}").copy_(rows.mean(0))
            self.get_buffer(f"spread_of_{name}").copy_(spread.clamp(min=max(float(spread.median()), 1e-3)))

    def seen(self, tower: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The tower's cells (B, CELLS, FIRST) and its last state (B, LAST), of pictures (B, 3, H, W) in [0, 1]."""
        pictures = judge_renders.normalised(pictures).contiguous(memory_format=torch.channels_last)
        states = tower(pictures, output_hidden_states=True)
        return states.hidden_states[0], states.pooler_output

    def loss(self, cells: Tensor, whole: Tensor, batch: Batch) -> Tensor:
        """Of the labels, and of telling from the tower's states what the teacher sees."""
        with torch.no_grad():
            theirs = self._teacher[0](batch.pictures)
        loss = self.heads.loss(cells, whole, batch)
        told = {"map": self.map(cells), "features": self.features(whole)}
        for (name, mine), other in zip(told.items(), theirs, strict=True):
            wanted = (other.float() - self.get_buffer(f"mean_of_{name}")) / self.get_buffer(f"spread_of_{name}")
            loss = loss + 2 * F.smooth_l1_loss(mine.float(), wanted)  # near its middle, twice is the squared error
        return loss

    def see_as_teacher(self, tower: LevitModel) -> None:
        """Give the tower's first three convolutions the teacher's, which take pictures scaled otherwise."""
        convolutions = list(self._teacher[0].near)
        device = convolutions[0].weight.device
        mean, std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (judge_renders.MEAN, judge_renders.STD)
        )
        with torch.no_grad():
            for place in range(3):
                layer = getattr(tower.patch_embeddings, f"embedding_layer_{place + 1}")
                weight, norm = convolutions[3 * place].weight.clone(), convolutions[3 * place + 1]
                layer.batch_norm.load_state_dict(norm.state_dict())
                if place == 0:  # 2 x - 1 is 2 std times the normalised x, plus 2 mean - 1
                    layer.batch_norm.running_mean -= (weight * (2 * mean - 1)).sum((1, 2, 3))
                    weight = weight * 2 * std
                layer.convolution.weight.copy_(weight)


_loaded = lru_cache(maxsize=48)(patterned.load)  # 60 MB each; every worker of a loader has its own


class Batches:
    """What a step of a training of this name sees, by its number, on the CPU."""

    def __init__(self, options: argparse.Namespace, name: str) -> None:
        self.state, self.rows, self.name = options.state, options.batch, name
        self.shards = patterned.shards(options.state)

    def rows_of(self, step: int) -> tuple[patterned.Shard, Tensor]:
        """A shard, and the places in it."""
        turn, part = divmod(step, renders.SHARD // self.rows)
        generator = renders.generator(f"{self.name}/turn/{turn}")
        shard = _loaded(self.state, self.shards[int(torch.randint(len(self.shards), (), generator=generator))])
        places = torch.randperm(renders.SHARD, generator=generator)
        return shard, places[part * self.rows : (part + 1) * self.rows]

    def worn(self, step: int, shard: patterned.Shard, places: Tensor) -> Batch:
        """These pictures, cropped, mirrored and softened, and the cells with them."""
        generator = renders.generator(f"{self.name}/step/{step}")
        pictures = shard.images[places].float() / 255
        shown = F.interpolate(shard.shown[places, None].float() / 255, pictures.shape[-2:])
        both = judge_renders.framed(torch.cat([pictures, shown], 1), generator)
        return Batch(
            pictures=judge_renders.softened(both[:, :3], generator),
            shown=F.adaptive_avg_pool2d(both[:, 3], round(CELLS**0.5)).flatten(1).clamp(0, 1),
            pattern=torch.tensor([PATTERNS.index(shard.truths[place].toy.pattern) for place in places.tolist()]),
        )

    def from_step(self, step: int) -> Iterator[Batch]:
        """All from a step on."""
        return (self.worn(at, *self.rows_of(at)) for at in count(step))


def held_out(number: int, size: Size) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) uint8 of those of `number` held-out toys that have a pattern, and which it is (N,)."""
    truths = [truth for truth in renders.truths_of(renders.CAPTIONED, number) if truth.toy.pattern != "plain"]
    pattern = torch.tensor([PATTERNS.index(truth.toy.pattern) for truth in truths])
    return renders.draw(truths, size.resolution), pattern


@torch.no_grad()
def share_right(read: Callable[[Tensor], Tensor], pictures: Tensor, pattern: Tensor) -> float:
    """Of pictures (N, 3, H, W) uint8, how many are read as the pattern (N,) rather than as the other one."""
    logits = torch.cat([read(part.float() / 255) for part in pictures.split(100)]).float()
    logits[:, PLAIN] = -torch.inf
    return float((logits.argmax(1) == pattern).float().mean())


def teacher_path(state: Path) -> Path:
    """Where the teacher's training is kept."""
    return state / "judge_patterns_teacher.safetensors"


def learned_lesson(options: argparse.Namespace) -> Lesson:
    """The lesson of the teacher that has learned."""
    teacher = Teacher().to(options.device)
    Trained({"teacher": teacher}, 1e-3, decay=0.5).load(teacher_path(options.state), weights_only=True)
    return Lesson(teacher).to(options.device)


def teach(options: argparse.Namespace) -> Callable[[Tensor], Tensor]:
    """Train the teacher; what it reads."""
    teacher, path = Teacher().to(options.device), teacher_path(options.state)
    trained = begun(options, {"teacher": teacher}, path)
    batches = Batches(options, path.stem).from_step(trained.step)
    learn(options, trained, path, batches, lambda batch, _: teacher.loss(batch.to(options.device)))
    return teacher.read


def train_tower(options: argparse.Namespace, size: Size) -> Callable[[Tensor], Tensor]:
    """Train the tower by its teacher; what it reads."""
    lesson, tower = learned_lesson(options), build_tower(size).to(options.device)
    lesson.see_as_teacher(tower)
    path = options.state / "judge_patterns.safetensors"
    batches = Batches(options, path.stem)
    some = batches.worn(0, batches.rows_of(0)[0], torch.arange(512))
    lesson.scale_by(some.pictures.to(options.device))
    trained = begun(options, {"tower": tower, "lesson": lesson}, path)

    def loss_of(batch: Batch, _: float) -> Tensor:
        batch = batch.to(options.device)
        return lesson.loss(*lesson.seen(tower, batch.pictures), batch)

    learn(options, trained, path, batches.from_step(trained.step), loss_of)
    return lambda pictures: lesson.heads.whole(lesson.seen(tower, pictures)[1])


def main() -> None:
    """Train, or go on; print what is read of held-out renders."""
    parser = learning_arguments(__doc__, steps=2200)
    parser.add_argument("--learner", choices=("teacher", "tower"), default="tower")
    options = parser.parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    read = teach(options) if options.learner == "teacher" else train_tower(options, size)
    pictures, pattern = held_out(4000, size)
    right = share_right(read, pictures.to(options.device), pattern.to(options.device))
    log(options.state, f"judge_patterns: {options.learner} reads {right:.3f} of {len(pattern)} held-out patterns")


if __name__ == "__main__":
    main()
