"""Section 4.2 of Ruiz et al. (2023): arrays in, a number out.

Embeddings are rows of unit length, `generated` (N, D) and `real` (M, D) from the same judge, so that a cosine is a dot
product in [-1, 1]. What the paper leaves open is settled in CHOICES, which is printed with every result.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

CHOICES = {
    "average": "DINO and CLIP-I are means over all pairs of a generated picture and a photo of one subject; "
    "every subject weighs the same in a mean over subjects.",
    "real row": "The row of real images compares the photos of a subject with each other, never a photo with itself.",
    "DINO": "The embedding is the class token after the last layer norm; the paper's judge is DINO ViT-S/16.",
    "CLIP": "CLIP is ViT-B/32, as later work reads the paper, which names no variant; embeddings are projected ones.",
    "pre-processing": "Each judge sees a picture as its own preprocessor_config.json says; a photo is first cut to its "
    "square of most detail, the one that training sees by default.",
    "scored prompt": "CLIP-T reads the prompt with the class noun alone, as no judge knows the identifier.",
    "PRES": 'PRES is DINO of pictures of "a [class noun]" against the photos of the subject; lower is better.',
    "DIV": "DIV is the mean perceptual distance over all pairs of pictures of one subject and one prompt; it is LPIPS "
    "only where the judge's name says so.",
    "masked DINO": "Masked DINO is DINO of the subject alone, found without a true mask and put on plain grey, "
    "against the median photo, as one may be odd, and of photos among themselves the median one's against the others; "
    "a picture in which none is found does not count.",
    "interval": "Intervals are 95 % bootstrap intervals of the mean over subjects; of few subjects they hold the true "
    "mean less often, where values are normal: of 2 in .62 of all cases, of 4 in .85, of 8 in .91, of 16 in .92.",
}
"""One sentence for each thing that the paper leaves open, by what it is about."""


def dino(generated: Tensor, real: Tensor) -> float:
    """Subject fidelity: the mean pairwise cosine of DINO embeddings, generated x real."""
    return resemblance(generated, real).mean().item()


def clip_i(generated: Tensor, real: Tensor) -> float:
    """Subject fidelity: the mean pairwise cosine of CLIP image embeddings, generated x real."""
    return resemblance(generated, real).mean().item()


def clip_t(images: Tensor, texts: Tensor) -> float:
    """Prompt fidelity: the mean cosine of the CLIP embeddings of each image (N, D) and of its own prompt (N, D)."""
    return agreement(images, texts).mean().item()


def pres(class_images: Tensor, real: Tensor) -> float:
    """Prior preservation: DINO of random class images against *this* subject's photos (section 4.4, Table 3).

    Lower is better: "a dog" should not have become the subject.
    """
    return dino(class_images, real)


def div(distances: Tensor) -> float:
    """Diversity: the mean perceptual distance (P,) of pairs of one subject and one prompt (section 4.4, Table 3).

    Higher is better: a model that remembers only its photos draws the same picture again and again.
    """
    return distances.mean().item()


def div_error(distances: Tensor, count: int) -> float:
    """The standard error of `div` by the jackknife over the pictures (Efron 1982); inf of fewer than three.

    distances: (P,) of all pairs of `count` pictures, as itertools.combinations has them.
    """
    if count < 3:
        return math.inf
    first, second = torch.triu_indices(count, count, 1)
    own = torch.zeros(count).index_add(0, first, distances).index_add(0, second, distances)  # of each to the others
    without = (distances.sum() - own) / ((count - 1) * (count - 2) / 2)
    return ((count - 1) * without.var(correction=0)).sqrt().item()


def real_row(real: Tensor) -> float | None:
    """The ceiling, "Real Images" of Table 1: the mean pairwise cosine of different photos; None where there is one."""
    count = len(real)
    different = (real @ real.T).fill_diagonal_(0.0)
    return different.sum().item() / (count * (count - 1)) if count > 1 else None


def resemblance(generated: Tensor, real: Tensor) -> Tensor:
    """The mean cosine of each generated image with all photos, (N,)."""
    return (generated @ real.T).mean(1)


def median_resemblance(generated: Tensor, real: Tensor) -> Tensor:
    """The median cosine of each generated image with the photos, (N,): of three and more, one odd one does nothing."""
    return (generated @ real.T).quantile(0.5, dim=1)


def agreement(images: Tensor, texts: Tensor) -> Tensor:
    """The cosine of each image (N, D) with its own text (N, D), (N,)."""
    return (images * texts).sum(1)


def nearest_photo(generated: Tensor, real: Tensor) -> Tensor:
    """Copying: the cosine of each generated image with the photo that is most like it, (N,); not in the paper."""
    return (generated @ real.T).amax(1)


def among_themselves(rows: Tensor, likeness: Callable[[Tensor, Tensor], Tensor]) -> float | None:
    """The likeness of the median photo to the others, as one may be odd; None where there is one photo.

    rows: embeddings (M, D).  likeness: of some of them to others, as `median_resemblance` and `nearest_photo`.
    """
    if len(rows) < 2:
        return None
    each = [likeness(row[None], torch.cat([rows[:at], rows[at + 1 :]])) for at, row in enumerate(rows)]
    return torch.cat(each).quantile(0.5).item()


def background_invariance(whole: Tensor, alone: Tensor) -> float:
    """How little a judge depends on the background: the median cosine of pictures with their subjects on grey."""
    return agreement(whole, alone).quantile(0.5).item()
