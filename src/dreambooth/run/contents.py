"""The files and folders of a run, once: their names, what they hold, and which of them the end of a run makes.

What a record holds field by field is in records.py; the table at its end binds each file to its schema.
"""

from collections.abc import Mapping
from pathlib import Path

from dreambooth.errors import DreamBoothError
from dreambooth.run import records, status
from dreambooth.support.model_index import RUN_MODEL, RUN_SETTINGS

CONFIG, MODEL = RUN_SETTINGS, RUN_MODEL
CHECKPOINTS = "checkpoints"
BEST = "best"
MASKS = "masks"
SAMPLES = "samples"
SUBJECTS = "subjects"
ADAPTER = "adapter"
REPORT = "report.html"
CONTACT_SHEET = "contact-sheet.jpg"
SHARE = "share.jpg"
TRACKERS: Mapping[str, str] = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Folders of other programs, by what --report-to calls them."""
LOCK = ".lock"

CONTENTS: Mapping[str, str] = {
    CONFIG: "all settings, with their SHA-256",
    records.SUBJECT.name: "photos, identifier, class noun",
    records.PHOTOS.name: "the SHA-256 of each photo",
    SUBJECTS: "of a run of several subjects, a folder for each but the first: photos, name, scores, samples, report",
    records.BASE.name: "the base model and the fingerprint of its weights",
    records.WORLD_FIT.name: "how well the photos fit the base model's world, where that is written down",
    records.JUDGES.name: "the judges that measure the run",
    records.CLASS_IMAGES.name: "the class images",
    MASKS: "where the subject is in each photo, as the DINO judge found it, with --masked-loss",
    CHECKPOINTS: "what a run is resumed from: checkpoint-<step>/",
    records.LOSSES.name: "a line of losses per optimizer step",
    records.SCORES.name: "a line of scores per probe, and of the photos and the untuned model before them",
    BEST: "the weights of the best step so far, as a checkpoint",
    records.RECOMMENDATION.name: "the recommended step, and why",
    records.CHOSEN.name: "the step that a person chose in place of the rule's, where one did",
    records.DIAGNOSIS.name: "the paper's failures that the probe looked for and flagged",
    ADAPTER: "the LoRA or the learned word alone, where the method made one",
    MODEL: "the personalised model, as diffusers opens it",
    records.MODEL.name: "the SHA-256 of each file of it",
    SAMPLES: "samples, with prompt, seed and model inside each: before/, step-<n>/, untuned/, after/, own/, and of "
    "several subjects together/, with all of them in one picture",
    records.SAMPLES.name: "the scores of the final samples",
    REPORT: "all of it on one page",
    CONTACT_SHEET: "photos and samples on one sheet",
    SHARE: "the photos and a few samples, to send to a friend",
    records.PLAN.name: "what was planned: seconds by stage, and bytes of memory and disk at most",
    records.TIMINGS.name: "seconds by stage",
    status.STATUS.name: "what the run does now, how much of it is done, and how it ended",
    status.STOP: "made by anyone, to stop it: it saves, ends and removes this file",
    status.SAMPLE: "made by anyone, to see now what it draws: it draws some samples and removes this file",
    **{folder: f"what {name} shows, with --report-to {name}" for name, folder in TRACKERS.items()},
    LOCK: "the process that writes now",
}
"""Every name at the top of a run folder, in the order in which they are made, and what is in it.

A later stage of a model that has several has a folder of the stage's name, with its own losses, scores, checkpoints,
samples, best step and verdict in it.
"""

MADE_AT_THE_END = (
    *(
        records.CHOSEN.name,
        records.MODEL.name,
        MODEL,
        ADAPTER,
        records.RECOMMENDATION.name,
        records.DIAGNOSIS.name,
        records.SAMPLES.name,
    ),
    *(f"{SAMPLES}/after", f"{SAMPLES}/together", REPORT, CONTACT_SHEET, SHARE),
)
"""What a run makes after its last step, in the order to remove it: a model without its SHA-256 is not used."""


def require_pictures(folder: Path) -> None:
    """Raise DreamBoothError where there is no such folder to look for pictures in."""
    if not folder.is_dir():
        raise DreamBoothError(f"{folder} is no folder: give a run folder, or a folder that holds pictures.")
