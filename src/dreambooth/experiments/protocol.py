"""Section 4 as data: how many subjects, seeds, prompts and pictures make each table, in small and in full.

The small protocol is made for two CPU cores and the toybox, with one training seed; rows of another table are not
trained again:

    table 1   8 subjects: dreambooth, textual inversion, and two rows untrained   32 cells
    table 3   4 subjects: with the prior (table 1's), without                      4 cells
    table 4   the same 4: correct (table 1's), wrong, none                         8 cells
    table 5   2 subjects: 1, 2, 3, 4 (table 1's) and 5 photos                      8 cells

They took 18 minutes, two cells at a time (docs/results.md). The full protocol is the paper's, 30 subjects x 25 prompts
x 4 images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dreambooth.config import MethodName

TABLES = ("table1", "table3", "table4", "table5")
"""Table 2 asks people, and Table 6 is an error in the paper: its rows repeat Table 5's."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of the subjects and of the training seeds a table takes, the first ones."""

    subjects: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """An experiment's numbers.

    methods: the trained or described rows of table 1.  photos: how many a subject trains on, None for all.
    toys: seeds of the subjects where no photos are given.  seeds: of the training.  shares: per table, of what nobody
    gives.  whole_lists: every prompt that a world has for experiments, or a part of each kind.
    """

    methods: tuple[MethodName, ...]
    toys: tuple[int, ...]
    seeds: tuple[int, ...]
    shares: Mapping[str, Share]
    photos: int | None
    photo_counts: tuple[int, ...]
    whole_lists: bool
    images_per_prompt: int
    class_pictures: int


SMALL = Protocol(
    methods=("dreambooth", "textual_inversion", "prompt_only"),
    toys=tuple(range(11, 19)),
    seeds=(0,),
    shares={
        "table1": Share(subjects=8, seeds=1),
        "table3": Share(subjects=4, seeds=1),
        "table4": Share(subjects=4, seeds=1),
        "table5": Share(subjects=2, seeds=1),
    },
    photos=4,
    photo_counts=(1, 2, 3, 4, 5),
    whole_lists=False,
    images_per_prompt=2,
    class_pictures=8,
)
"""Made for `experiment all` on two cores within the hour."""

FULL = Protocol(
    methods=("dreambooth", "lora", "textual_inversion", "pivotal", "prompt_only"),
    toys=tuple(range(11, 41)),
    seeds=(0, 1, 2),
    shares={
        "table1": Share(subjects=30, seeds=1),
        "table3": Share(subjects=15, seeds=3),
        "table4": Share(subjects=5, seeds=3),
        "table5": Share(subjects=2, seeds=1),
    },
    photos=None,
    photo_counts=(1, 2, 3, 4, 5),
    whole_lists=True,
    images_per_prompt=4,
    class_pictures=64,
)
"""The paper's: 30 subjects, 25 prompts, 4 images; 15, 5 and 2 subjects for tables 3, 4 and 5."""


CHOICES = {
    "subjects": "Every number is the mean over the pictures of a run, then over the seeds of a subject, then over "
    "subjects; n counts subjects.",
    "photos": "Pictures are compared with all photos of their subject, also with those that were not trained on: all "
    "rows have one reference.",
    "checkpoint": "Every method is measured after the last step of its preset; no probe chooses a checkpoint for it.",
    "untuned": 'The base model, prompted with the class noun alone ("a dog in the snow"): the floor of DINO and PRES, '
    "and the prompt fidelity that there is to keep.",
    "cascade": "It draws at its own resolution, which may be another; the photos are the same, and the untuned row is "
    "the base model's.",
    "prompt only": "The base model, prompted with a description of the subject; for toys it is written from their true "
    "parameters.",
    "class pictures": "Those of PRES are drawn from seeds that no class image of the training has.",
    "class noun": "Wrong: another class, drawn at random for each subject and seed, in the captions of the photos, in "
    'the class images and in the prompts. None: captions and prompts say "a [identifier]"; the class images stay. '
    "Either way CLIP-T is scored with the correct noun.",
    "number of photos": "The first ones of each subject, in the order of their file names.",
}
"""What the paper leaves open about its tables, a sentence or two each; printed with every result."""
