"""Section 4.2: does the picture show the subject, and does it show what was asked?"""

from dreambooth.evaluation.base import Judges
from dreambooth.evaluation.foreign import fit_of, warned_of
from dreambooth.evaluation.judges import judges_to_come, load_judges
from dreambooth.evaluation.metrics import CHOICES
from dreambooth.evaluation.scores import Photos, measure_photos, score, score_each, scored_prompt
from dreambooth.evaluation.variety import SceneReader, variety
from dreambooth.run.ways import WAY, progress_by_metric, progress_of

__all__ = [
    "CHOICES",
    "WAY",
    "Judges",
    "Photos",
    "SceneReader",
    "fit_of",
    "judges_to_come",
    "load_judges",
    "measure_photos",
    "progress_by_metric",
    "progress_of",
    "score",
    "score_each",
    "scored_prompt",
    "variety",
    "warned_of",
]
