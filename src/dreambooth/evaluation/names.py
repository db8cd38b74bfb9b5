"""What people call each number that the judges give."""

from collections.abc import Mapping

METRIC_NAMES: Mapping[str, str] = {
    "dino": "DINO",
    "median_dino": "median DINO",
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
    "pres": "PRES",
    "div": "DIV",
    "masked_dino": "masked DINO",
    "nearest_photo": "nearest photo",
    "subject_scenes": "scenes, subject",
    "subject_div": "DIV, subject",
    "class_scenes": "scenes, class",
    "class_div": "DIV, class",
}
"""By the names that scores.jsonl and samples.json have; those of one prompt's samples begin with whose they are."""
