"""Which samples stand for a run, why its step was taken, and the picture to share."""

import random
from dataclasses import replace
from pathlib import Path

from PIL import Image

from dreambooth.generation.samples import Sample, save_sample
from dreambooth.generation.sheet import save_below
from dreambooth.report.best import best, why
from dreambooth.report.share import LIMIT, share_picture
from dreambooth.run.measured import Measured
from dreambooth.run.records import Probed, PromptScores, Recommendation, SampleScores
from dreambooth.subject import Subject

SNOW, MOON, RED, ALONE = "a {} in the snow", "a {} on the moon", "a red {}", "a {}"


def sample(template: str, seed: int, kind: str = "recontextualization", folder: Path = Path()) -> Sample:
    path = folder / f"{template}-{seed}.png"
    return Sample(path=path, prompt=template.replace("{}", "sks dog"), template=template, kind=kind, seed=seed)


def measured(**dino: float) -> Measured:
    prompts = {template: PromptScores(dino=dino[name]) for name, template in NAMES.items() if name in dino}
    scores = SampleScores(
        judges={}, photos=3, rows={"tuned": Probed(step="tuned", prompts=prompts)}, places=(SNOW, MOON)
    )
    return Measured(
        probes={}, real=Probed(step="real"), recommendation=None, diagnosis=None, samples=scores, world_fit=None
    )


NAMES = {"snow": SNOW, "moon": MOON, "red": RED, "alone": ALONE}
ALL = [
    *(sample(ALONE, seed, "subject") for seed in (1, 2)),
    *(sample(template, seed) for template in (RED, SNOW, MOON) for seed in (1, 2)),
    sample(ALONE, 1, "class"),
]


def test_places_go_first_the_likest_at_their_head_and_the_subject_alone_last() -> None:
    found = best(ALL, measured(snow=0.5, moon=0.7, red=0.9, alone=0.95), 9)
    assert [(its.template, its.seed) for its in found] == [
        *((MOON, 1), (SNOW, 2), (RED, 1), (ALONE, 2)),  # one of each prompt, of turning seeds
        *((MOON, 2), (SNOW, 1), (RED, 2), (ALONE, 1)),
    ]
    assert best([], measured()) == [] and all(its.kind != "class" for its in found)


def test_the_sentence_has_no_metric_and_no_share_above_a_whole() -> None:
    verdict = Recommendation(
        step=300,
        rule="",
        reason="",
        last=400,
        stopped_early=False,
        judges={},
        ways={"dino": 1.2},
        way="",
        kept={"clip_t": 0.92, "subject_scenes": 1.3, "class_scenes": 1.1},
    )
    assert why(verdict) == (
        "Step 300 is the best one: it has gone 100% of the way to the photos, follows the words 92% as well as before "
        "and keeps 100% of the variety."
    )
    scored = measured().samples
    assert scored is not None
    finished = replace(scored, ways={"dino": 0.76}, kept={"clip_t": 1.02, "class_scenes": 0.71})
    assert why(verdict, samples=finished) == (
        "Step 300 is the best one: it has gone 76% of the way to the photos, follows the words 100% as well as before "
        "and keeps 71% of the variety."
    )
    assert why(replace(verdict, ways={"dino": None}, kept={}), by_hand=True) == (
        "Step 300 is the one that was chosen by hand: nothing was better."
    )


def noise(side: int, seed: int) -> Image.Image:
    return Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(3 * side * side))


def test_the_picture_to_share_is_small_and_has_photos_above_samples(tmp_path: Path) -> None:
    photos = []
    for number in range(3):
        noise(600, number).save(tmp_path / f"{number}.png")
        photos.append(tmp_path / f"{number}.png")
    subject = Subject(photos=(*photos, tmp_path / "moved.jpg"), class_noun="dog" * 30, identifier="sks")
    drawn = [sample(SNOW, seed, folder=tmp_path) for seed in range(4)]
    for its in drawn:
        save_sample(noise(512, its.seed), its.path, {})
    target = tmp_path / "share.jpg"
    share_picture(target, subject, drawn)
    assert 50_000 < target.stat().st_size <= LIMIT  # of noise, which no photo is
    with Image.open(target) as image:
        assert image.width >= 480 and image.height > image.width and not image.getexif()
    share_picture(tmp_path / "none.jpg", subject, [])
    assert not (tmp_path / "none.jpg").exists()


def test_a_sheet_is_made_smaller_until_it_fits(tmp_path: Path) -> None:
    target = tmp_path / "sheet.jpg"
    save_below(noise(500, 1), target, 40_000)
    assert target.stat().st_size <= 40_000
    with Image.open(target) as image:
        assert image.format == "JPEG" and image.width < 500
