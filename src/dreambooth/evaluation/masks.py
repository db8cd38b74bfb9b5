"""Where the subject is, without a true mask: photos of one subject share it, and do not share their scenes.

Co-segmentation with the patch features of a self-supervised transformer, after Amir et al. 2021
(https://arxiv.org/abs/2112.05814): what a photo finds again in the others is the subject, what looks like the edge of
its own picture is background. benchmarks/masks.py measures how well this works.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreambooth.evaluation.base import Pictures

GREY = (128, 128, 128)
"""What stands in place of a background."""

NEIGHBOURS = 3
"""A patch is as much like a set of patches as like the mean of so many of them: one may be there by accident."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What a subject looks like to a judge: the features (K, D) of its patches in the photos, of unit length."""

    subject: Tensor

    def evidence(self, patches: Tensor) -> Tensor:
        """How much more each patch (N, h, w, D) looks like the subject than like its picture's edge, in [-2, 2].

        (N, h, w), above 0 where the subject is. Of a scene never seen only its own edge tells what it looks like.
        """
        return _likeness(patches, self.subject) - _likeness(patches, _edge(patches))


def look_of(patches: Tensor) -> Look:
    """What the subject of M photos looks like, from `PatchEmbedder.patches` (M, h, w, D).

    Of a single photo only its edge tells the background.
    """
    others = [torch.cat([patches[:i], patches[i + 1 :]]) for i in range(len(patches))]
    shared = [
        torch.stack([_likeness(photo[None], other.flatten(0, 1))[0] for other in rest]).mean(0)
        for photo, rest in zip(patches, others, strict=True)
        if len(rest)
    ]
    evidence = (torch.stack(shared) if shared else 0) - _likeness(patches, _edge(patches))
    return Look(subject=patches[evidence > evidence.mean((1, 2), keepdim=True)])


def alone(pictures: Pictures, evidence: Tensor) -> list[Image.Image]:
    """The pictures with GREY where the evidence (N, h, w) for the subject, interpolated, is not above 0."""
    made = []
    for picture, mask in zip(pictures, masks(pictures, evidence), strict=True):
        page = Image.new("RGB", picture.size, GREY)
        page.paste(picture.convert("RGB"), mask=mask)
        made.append(page)
    return made


def masks(pictures: Pictures, evidence: Tensor) -> list[Image.Image]:
    """Of each picture's size, one bit a place: where the evidence (N, h, w), interpolated, is above 0."""
    fine = [
        Image.fromarray(found.numpy()).resize(picture.size, Image.Resampling.BILINEAR)
        for picture, found in zip(pictures, evidence, strict=True)
    ]
    return [Image.fromarray(np.asarray(each) > 0) for each in fine]


def _edge(patches: Tensor) -> Tensor:
    """The outermost patches of each picture, (N, E, D)."""
    edge = torch.ones(patches.shape[1:3], dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    return patches[:, edge]


def _likeness(patches: Tensor, features: Tensor) -> Tensor:
    """The mean cosine of each patch (N, h, w, D) with its NEIGHBOURS nearest of (K, D) or (N, K, D): (N, h, w)."""
    cosines = patches.flatten(1, 2) @ features.mT
    return cosines.topk(min(NEIGHBOURS, cosines.shape[-1]), -1).values.mean(-1).view(patches.shape[:3])
