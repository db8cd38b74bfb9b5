"""Photos and class images as rows, encoded once, and the batch that each training step sees.

Crops are chosen before training and no row changes afterwards, so the image encoder runs once a row. Which rows a
step sees is a function of (seed, step): an interrupted run resumes as if it had not been.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dreambooth import config
from dreambooth.data import latents
from dreambooth.data.batch import Batch
from dreambooth.data.masks import holds_subject, open_mask
from dreambooth.data.pictures import DETAIL_SIDE, crop_square, open_image, size_of, square_scores, upright_size
from dreambooth.errors import PhotoError
from dreambooth.subject import Subject
from dreambooth.support import rng
from dreambooth.support.progress import log, track

BANK, KEPT_DETAIL = 8, 0.8
"""Random crops: up to so many of a photo, each with at least this share of the best one's detail."""

ENCODED_TOGETHER = 4
"""Images decoded and encoded at a time: memory does not grow with the number of photos."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One square training image and its caption.

    path: the file.  offset: where along its long side the square lies, in [0, 1].  prompt: "a sks dog" or "a dog".
    mask: the file that says where the subject is; None where every place counts the same.
    """

    path: Path
    offset: float
    prompt: str
    is_prior: bool
    mask: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All M rows a run may see; a photo with several crops has several.

    resolution: side of the squares in pixels.  unmasked_weight: how much a place counts beside the subject, in [0, 1].
    """

    rows: tuple[Example, ...]
    resolution: int
    unmasked_weight: float = 1.0

    def image(self, row: int, side: int | None = None) -> Tensor:
        """(3, H, W) in [-1, 1]; side: of the square [default: the resolution]."""
        example, side = self.rows[row], side or self.resolution
        image = open_image(example.path, at_least=2 * side)
        return to_tensor(crop_square(image, example.offset, side))

    def x0(self, row: int) -> Tensor | None:
        """The latent (C, h, w) that a class image was decoded from; None where it is not there, or of another side."""
        example = self.rows[row]
        if not example.is_prior or set(size_of(example.path)) != {self.resolution}:
            return None
        return latents.read(example.path)

    def weight(self, row: int, shape: Sequence[int]) -> Tensor:
        """(1, h, w), how much each place of a latent of `shape` (..., h, w) counts: the mask moves with its photo."""
        example = self.rows[row]
        if example.mask is None:
            return torch.ones(1, *shape[-2:])
        square = crop_square(open_mask(example.mask), example.offset, self.resolution)
        share = F.adaptive_avg_pool2d(torch.from_numpy(np.array(square))[None] / 255, (shape[-2], shape[-1]))
        return self.unmasked_weight + (1 - self.unmasked_weight) * share

    def framing(self, row: int) -> tuple[int, ...]:
        """Height and width of the picture, top and left of its square, height and width of that: see `Batch`."""
        example = self.rows[row]
        width, height = upright_size(example.path)
        scale = self.resolution / min(width, height)
        top, left = (round(example.offset * (length * scale - self.resolution)) for length in (height, width))
        return height, width, top, left, self.resolution, self.resolution


def to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) in [-1, 1] from an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def examples(
    subject: Subject,
    class_images: Sequence[Path],
    data: config.Data,
    resolution: int,
    seed: int,
    masks: Mapping[Path, Path] | None = None,
) -> Examples:
    """The rows of a subject's photos, captioned with its name, and of the class images, captioned with the class.

    resolution: the model's; `data.resolution` goes before it.  masks: by photo, the file that says where the subject
    is; of a photo without one every place counts the same. Raises PhotoError for a picture that cannot be used.
    """
    side, masks = data.resolution or resolution, masks or {}
    rows = []
    for number, photo in enumerate(subject.photos):
        mask = masks.get(photo)
        smallest, offsets = _crop_offsets(photo, mask, data.crop, seed, number)
        if smallest < side:
            log.warning("%s: its short side is %d pixels, training needs %d: it will look soft", photo, smallest, side)
        rows += [Example(path=photo, offset=at, prompt=subject.prompt, is_prior=False, mask=mask) for at in offsets]
    rows += [Example(path=path, offset=0.5, prompt=subject.class_prompt, is_prior=True) for path in class_images]
    return Examples(rows=tuple(rows), resolution=side, unmasked_weight=data.unmasked_weight)


def _crop_offsets(
    photo: Path, mask: Path | None, crop: Literal["subject", "center", "random"], seed: int, number: int
) -> tuple[int, tuple[float, ...]]:
    """The photo's short side in pixels, and where its squares lie: one, or a bank of them where crop is "random"."""
    width, height = size_of(photo)
    if crop == "center" or width == height:
        if mask and not holds_subject(crop_square(open_mask(mask), 0.5, min(width, height))):
            empty = "is transparent" if mask == photo else f"holds nothing of its mask {mask.name}"
            raise PhotoError([f"{photo}: its centre {empty}: give --crop subject"])
        return min(width, height), (0.5,)
    # where the subject is known, its outline is the detail that counts
    scores = square_scores(open_mask(mask).convert("RGB") if mask else open_image(photo, at_least=DETAIL_SIDE))
    last = max(len(scores) - 1, 1)
    if crop == "subject":
        return min(width, height), (int(scores.argmax()) / last,)
    keeping = np.flatnonzero(scores >= KEPT_DETAIL * scores.max())
    drawn = rng.permutation(len(keeping), seed, "crop", number)[:BANK]
    return min(width, height), tuple(int(keeping[at]) / last for at in sorted(drawn))


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentDataset:
    """Every row's latent distribution, on the CPU.

    mean, std: (M, C, h, w) float32, std perhaps (M, 1, 1, 1).  prompts: M captions.  is_prior: (M,) bool.
    names: M file names; rows with the same name are crops of one photo.  framing, low_res, weight: (M, 6), (M, 3, h, w)
    and (M, 1, h, w), see `Batch`; None where they are not known.
    twin: the class prompt under which a batch has its photos once more, in place of class images; None: it has those.
    """

    mean: Tensor
    std: Tensor
    prompts: tuple[str, ...]
    is_prior: Tensor
    names: tuple[str, ...]
    framing: Tensor | None = None
    low_res: Tensor | None = None
    weight: Tensor | None = None
    twin: str | None = None

    @property
    def captions(self) -> tuple[str, ...]:
        """Every prompt that a batch may have."""
        return tuple(dict.fromkeys([*self.prompts, *([] if self.twin is None else [self.twin])]))

    def batch(self, seed: int, number: int, subject_rows: int, prior_rows: int) -> Batch:
        """What the run's batch `number` sees: `subject_rows` of the subject, `prior_rows` of the class.

        Both go through all their photos before they repeat one, each in an order of its own that is new every epoch;
        of a photo with several crops one is drawn. Raises ValueError where rows are asked for and there are none.
        """
        place = (seed, number)
        rows = self._draw(False, subject_rows, place)
        rows += self._draw(True, prior_rows, place) if self.twin is None else []
        batch = Batch(
            mean=self.mean[rows],
            std=self.std[rows],
            prompts=tuple(self.prompts[row] for row in rows),
            is_prior=self.is_prior[rows],
            rows=tuple(rows),
            framing=None if self.framing is None else self.framing[rows],
            low_res=None if self.low_res is None else self.low_res[rows],
            weight=None if self.weight is None else self.weight[rows],
        )
        return batch if self.twin is None else batch.with_twins(self.twin, prior_rows)

    def _draw(self, is_prior: bool, count: int, place: tuple[int, int]) -> list[int]:
        photos = self._photos[is_prior]
        if count and not photos:
            raise ValueError(f"asked for {count} rows with is_prior={is_prior}, but there are none")
        seed, number = place
        purpose = "class order" if is_prior else "subject order"
        drawn = []
        for row in range(count):
            epoch, at = divmod(number * count + row, len(photos))
            # class images are random already: the first time in the order that they are drawn in, so that a short
            # training needs the first of them alone
            order = rng.permutation(len(photos), seed, purpose, epoch) if epoch or not is_prior else range(len(photos))
            crops = photos[order[at]]
            drawn.append(crops[rng.permutation(len(crops), *place, "crop", row)[0]])
        return drawn

    @cached_property
    def _photos(self) -> dict[bool, list[list[int]]]:
        """The rows of each photo, of the subject (False) and of the class (True)."""
        found: dict[bool, dict[str, list[int]]] = {False: {}, True: {}}
        for row, (name, is_prior) in enumerate(zip(self.names, self.is_prior.tolist(), strict=True)):
            found[is_prior].setdefault(name, []).append(row)
        return {is_prior: list(photos.values()) for is_prior, photos in found.items()}


@torch.no_grad()
def encode_once(
    examples: Examples, posterior: Callable[[Tensor], tuple[Tensor, Tensor]], low_res: int | None = None
) -> LatentDataset:
    """Every row's latents, by the model's `posterior`: (B, 3, H, W) in [-1, 1] to mean and std (B, C, h, w).

    A class image that lies beside the latent it was decoded from is that latent and nothing around it: its std is 0.
    low_res: side in pixels at which the rows are kept beside that, as the stage before this one learns to draw them.
    """
    kept = {row: x0 for row in range(len(examples.rows)) if (x0 := examples.x0(row)) is not None}
    others = [row for row in range(len(examples.rows)) if row not in kept]
    found: dict[int, tuple[Tensor, Tensor]] = {row: (x0, torch.zeros_like(x0)) for row, x0 in kept.items()}
    starts = range(0, len(others), ENCODED_TOGETHER)
    for start in track(starts, "encoding images") if len(starts) > 5 else starts:
        rows = others[start : start + ENCODED_TOGETHER]
        mean, std = posterior(torch.stack([examples.image(row) for row in rows]))
        found |= dict(zip(rows, zip(mean.float().cpu(), std.float().cpu(), strict=True), strict=True))
    each = [found[row] for row in range(len(examples.rows))]
    masked = any(row.mask for row in examples.rows)
    weight = [examples.weight(row, mean.shape) for row, (mean, _) in enumerate(each)] if masked else []
    return LatentDataset(
        mean=torch.stack([mean for mean, _ in each]),
        std=torch.stack([std for _, std in each]),
        prompts=tuple(row.prompt for row in examples.rows),
        is_prior=torch.tensor([row.is_prior for row in examples.rows]),
        names=tuple(str(row.path) for row in examples.rows),
        framing=torch.tensor([examples.framing(row) for row in range(len(examples.rows))]),
        low_res=torch.stack([examples.image(row, low_res) for row in range(len(each))]) if low_res else None,
        weight=torch.stack(weight) if weight else None,
    )
