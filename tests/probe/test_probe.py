"""Measuring while it trains: the rule, the weights it keeps, the early stop, and a run that resumes from anywhere."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dreambooth import models, recipe
from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.errors import ModelError, RunError
from dreambooth.evaluation import Photos
from dreambooth.evaluation.masks import Look
from dreambooth.evaluation.scores import Seen
from dreambooth.generation.samples import read_samples
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.probe import checks, diagnose, shares
from dreambooth.probe.measuring import real_row
from dreambooth.probe.rule import Shares, best_step, may_stop, reason
from dreambooth.run import Run, checkpoint
from dreambooth.run.contents import CONTENTS
from dreambooth.run.extend import extend
from dreambooth.run.records import (
    DIAGNOSIS,
    JUDGES,
    RECOMMENDATION,
    SCORES,
    TIMINGS,
    Check,
    Probed,
    PromptScores,
    Scores,
    Step,
    Variety,
)
from dreambooth.subject import Subject
from small_judges import clip_parts, dino_parts, save
from tiny import tiny_pipeline

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, dpmsolver++
REAL = Probed(step="real", dino=0.8, nearest_photo=0.85)
DOG = Subject(photos=(), class_noun="dog", identifier="sks")
PROMPTS = ("a {}", "a {} in the snow", "a {} in the jungle")


def probed(step: Step, clip_t: float = 0.3, masked: float = 0.8, nearest: float = 0.7, **scores: float) -> Probed:
    """A probe whose prompts all score the same."""
    each = {"clip_t": clip_t, "masked_dino": masked, "nearest_photo": nearest}
    prompts = {prompt: PromptScores(**each, elsewhere=None if prompt == "a {}" else 0.1) for prompt in PROMPTS}
    return replace(Probed(step=step, prompts=prompts), **(each | scores))  # type: ignore[arg-type]


def merit(probes: list[Probed]) -> dict[int, float]:
    """The rule's number of every trained step."""
    return {step: its.merit for step, its in shares(probes).items()}


UNTUNED = probed(0, masked=0.2, nearest=0.3, dino=0.2, pres=0.2)


def varied(step: Step, subject: float | None, of_class: float | None, div: float = 1.0, pictures: int = 8) -> Probed:
    """A probe that has learned the subject, by the effective scenes of its pictures in no place."""
    scenes = {"subject": subject, "class": of_class}
    return replace(
        UNTUNED if step == 0 else probed(step, dino=0.8, pres=0.2),
        variety={of: Variety(div=div, scenes=its, pictures=pictures) for of, its in scenes.items()},
    )


def test_variety_is_half_of_the_merit() -> None:
    before = varied(0, 5.0, 5.0)
    half_way = replace(probed(20, dino=0.5, pres=0.2), variety=before.variety)
    assert merit([REAL, before, varied(10, 1.0, 3.0), half_way]) == {10: pytest.approx(0.7), 20: pytest.approx(0.5)}
    assert merit([REAL, before, varied(10, 9.0, 5.0)]) == {10: 1.0}


def test_without_scenes_variety_is_that_of_div() -> None:
    assert merit([REAL, varied(0, None, None, 0.8), varied(10, None, None, 0.4)]) == {10: pytest.approx(0.75)}


def test_varieties_of_different_numbers_of_pictures_do_not_compare() -> None:
    assert merit([REAL, varied(0, 5.0, 5.0), varied(10, 1.0, 1.0, pictures=4)]) == {10: 1.0}


def test_variety_within_a_standard_error_of_the_untuned_models_counts_as_kept() -> None:
    """Of eight samples the scenes are uncertain: what may be chance must not outweigh likeness that is learned."""

    def unsure(probe: Probed, error: float) -> Probed:
        return replace(probe, variety={of: replace(its, errors={"scenes": error}) for of, its in probe.variety.items()})

    before, few, lost = (unsure(varied(step, kept, kept), 0.12) for step, kept in ((0, 6.0), (10, 5.2), (20, 2.0)))
    assert merit([REAL, before, few]) == {10: 1.0}
    assert merit([REAL, before, lost]) == {20: pytest.approx((1 + 2 / 6 * (1 + 0.12 * 2**0.5)) / 2)}
    older = replace(before, variety={of: replace(its, errors={}) for of, its in before.variety.items()})
    assert merit([REAL, older, few]) == {10: pytest.approx((1 + 5.2 / 6) / 2)}  # a run begun when none were measured
    assert lost.kept(before)["class_scenes"] == pytest.approx(2 / 6)  # what is told to the user is what was measured
    early = replace(few, step=5, dino=0.77, variety=before.variety)
    assert best_step(shares([REAL, before, early, few])) == 10
    assert best_step(shares([REAL, *(unsure(its, 0.0) for its in (before, early, few))])) == 5


def test_merit_is_the_product_of_its_shares() -> None:
    found = merit([REAL, UNTUNED, probed(10, clip_t=0.24, dino=0.5, pres=0.5), probed(20, dino=0.8, pres=0.2)])
    assert found == {10: pytest.approx(0.5 * 0.8 * 0.5), 20: 1.0}


def test_nothing_is_gained_above_the_photos_the_untuned_model_or_its_drift() -> None:
    beyond = probed(10, clip_t=0.5, dino=0.95, pres=0.0)
    assert merit([REAL, UNTUNED, beyond]) == {10: 1.0}
    assert merit([REAL, UNTUNED, probed(10, clip_t=-0.1, dino=0.8, pres=0.2)]) == {10: 0.0}


def test_a_likeness_that_the_untuned_model_has_counts_for_nothing() -> None:
    assert merit([REAL, UNTUNED, probed(10, dino=0.2, pres=0.2), probed(20, dino=0.1, pres=0.2)]) == {10: 0.0, 20: 0.0}


def test_a_single_photo_has_no_row_of_its_own() -> None:
    alone = Probed(step="real")
    assert merit([alone, UNTUNED, probed(10, dino=0.6, pres=0.2)]) == {10: pytest.approx(0.5)}
    assert diagnose({"real": alone, 0: UNTUNED, 10: probed(10, dino=0.9, pres=0.3, nearest=0.99)}, 10) == []
    (drifted,) = diagnose({"real": alone, 0: UNTUNED, 10: probed(10, dino=0.9, pres=0.9, nearest=0.99)}, 10)
    assert drifted.metric == "pres" and drifted.value == pytest.approx(0.7 / 0.8)


def test_photos_no_more_similar_than_any_of_their_class_are_no_ceiling() -> None:
    two_sides = Probed(step="real", dino=0.25)
    assert merit([two_sides, UNTUNED, probed(10, dino=0.6, pres=0.2)]) == {10: pytest.approx(0.5)}
    assert diagnose({"real": two_sides, 0: UNTUNED, 10: probed(10, dino=0.3, pres=0.25)}, 10) == []


def test_a_run_stops_where_the_subject_is_learned_and_the_class_kept_or_nothing_gets_better() -> None:
    learning, drifted, learned = Shares(0.5, 1.0, 0.8), Shares(1.0, 1.0, 0.3), Shares(0.95, 0.9, 0.92)
    assert not may_stop({1: learning, 2: drifted}, patience=2)
    assert may_stop({1: learning, 2: learned}, patience=2)
    assert may_stop({1: learning, 2: drifted, 3: learning}, patience=2)
    assert not may_stop({1: learning, 2: drifted, 3: Shares(0.6, 1.0, 0.8)}, patience=1)


def test_the_reason_says_what_the_last_step_has_instead() -> None:
    probes: dict[Step, Probed] = {
        "real": REAL,
        0: UNTUNED,
        10: probed(10, dino=0.74, pres=0.2),
        20: probed(20, clip_t=0.15, dino=0.95, pres=0.17),
    }
    sentence = reason(10, probes, DOG)
    assert sentence.startswith(
        "step 10: the subject has gone 90% of the way from the untuned model to its photos (DINO)"
    )
    assert "CLIP-T is 100% of the untuned model's" in sentence
    assert '"a dog" has come no nearer to the subject, 0% of the way' in sentence
    last = sentence.partition("; the last step, 20: ")[2]
    assert "gone 125% of the way" in last and "CLIP-T is 50%" in last
    assert '"a dog" has come no nearer to the subject, -5% of the way' in last
    assert "the last step" not in reason(20, probes, DOG)
    drifted = probes | {20: probed(20, dino=0.8, pres=0.5)}
    assert '"a dog" has gone 50% of the way to the subject (PRES)' in reason(20, drifted, DOG)


def test_the_reason_says_what_is_left_of_the_variety() -> None:
    scenes: dict[Step, Probed] = {"real": REAL, 0: varied(0, 5.0, 5.0), 10: varied(10, 1.0, 4.0)}
    assert 'untuned model\'s scenes "a sks dog" keeps 20% and "a dog" keeps 80%' in reason(10, scenes, DOG)
    unread: dict[Step, Probed] = {"real": REAL, 0: varied(0, None, None), 10: varied(10, None, None, 0.5)}
    assert 'model\'s variety (DIV) "a sks dog" keeps 50% and "a dog" keeps 50%' in reason(10, unread, DOG)


def test_the_reason_says_where_progress_cannot_be_told() -> None:
    known = probed(0, masked=0.2, nearest=0.3, dino=0.72, pres=0.72)
    sentence = reason(10, {"real": REAL, 0: known, 10: probed(10, dino=0.78, pres=0.75)}, DOG)
    assert "cannot be told (DINO of the untuned model's pictures and the photos is 0.72, of the photos" in sentence
    assert "of the way" not in sentence


@pytest.mark.parametrize(
    ("broken", "failure", "metric"),
    [
        (probed(10, clip_t=0.15, dino=0.7, pres=0.25), "context not synthesised", "clip_t"),
        (probed(10, nearest=0.95, dino=0.9, pres=0.25), "overfitting to the photos", "nearest_photo"),
        (probed(10, dino=0.7, pres=0.7), "overfitting to the photos", "pres"),
    ],
)
def test_each_failure_has_its_number(broken: Probed, failure: str, metric: str) -> None:
    (finding,) = diagnose({"real": REAL, 0: UNTUNED, 10: broken}, 10)
    assert (finding.failure, finding.metric) == (failure, metric)
    assert finding.change
    assert finding.metric == "nearest_photo" or f"{finding.value:.0%}" in finding.says
    assert finding.metric != "nearest_photo" or "(DINO 0.95) than the photos are to each other (0.85)" in finding.says


@pytest.mark.parametrize(
    ("scenes", "metric", "said"),
    [
        ((1.0, 5.0), "subject_scenes", "Asked for the subject without a place, the model shows 20% of the variety"),
        ((5.0, 2.0), "class_scenes", "Asked for the class without a place, the model shows 40% of the variety"),
    ],
)
def test_a_run_whose_pictures_are_all_on_one_scene_has_lost_its_variety(
    scenes: tuple[float, float], metric: str, said: str
) -> None:
    probes: dict[Step, Probed] = {"real": REAL, 0: varied(0, 5.0, 5.0), 10: varied(10, *scenes)}
    (finding,) = diagnose(probes, 10)
    assert (finding.failure, finding.metric) == ("variety lost", metric)
    assert finding.says.startswith(said) and "in 8 samples, untuned 5.0 effective scenes" in finding.says


def test_similar_samples_have_lost_their_variety_where_no_scenes_are_known() -> None:
    found = diagnose({"real": REAL, 0: varied(0, None, None), 10: varied(10, None, None, 0.3)}, 10)
    assert [finding.metric for finding in found] == ["subject_div", "class_div"]
    both = diagnose({"real": REAL, 0: varied(0, 5.0, 5.0), 10: varied(10, 1.0, 5.0, 0.3)}, 10)
    assert [finding.metric for finding in both] == ["subject_scenes", "class_div"]  # one for each thing to change
    assert diagnose({"real": REAL, 0: varied(0, None, None), 10: varied(10, None, None, 0.6)}, 10) == []


def test_what_is_not_learned_is_flagged() -> None:
    (finding,) = diagnose({"real": REAL, 0: UNTUNED, 10: probed(10, dino=0.44, pres=0.2)}, 10)
    assert finding.failure == "subject not learned" and "gone 40% of the way" in finding.says


def test_every_number_that_was_looked_at_is_listed_with_its_limit() -> None:
    looked_at = checks(varied(10, 1.0, 5.0), varied(0, 5.0, 5.0), REAL)
    within = {check.metric: check.within for check in looked_at}
    assert within == {
        **{"dino": True, "clip_t": True, "nearest_photo": True, "pres": True},
        **{"subject_scenes": False, "subject_div": True, "class_scenes": True, "class_div": True},
    }


def entangled(real: Probed, usual: float = 0.8, **snow: float | None) -> list[Check]:
    """What is found where every prompt has `usual` DINO, masked and not, and the snow has other numbers."""
    each = probed(10).prompts.items()
    prompts = {prompt: replace(its, median_dino=usual, masked_dino=usual) for prompt, its in each}
    prompts["a {} in the snow"] = replace(prompts["a {} in the snow"], **snow)
    step = replace(probed(10, dino=0.7, pres=0.25), prompts=prompts)
    return diagnose({"real": real, 0: replace(UNTUNED, median_dino=0.2), 10: step}, 10)


def test_entanglement_names_the_place_where_the_subject_changes() -> None:
    seeing = replace(REAL, median_dino=0.8, background_invariance=0.6)
    assert entangled(seeing) == []
    assert entangled(seeing, masked_dino=0.3) == []  # the mask took in the place: the whole is as like as ever
    assert entangled(seeing, median_dino=0.5) == []  # a place that no photo shows: the subject alone is as like as ever
    (finding,) = entangled(seeing, masked_dino=0.4, median_dino=0.3)
    assert finding.failure == "context-appearance entanglement"
    assert "in the snow" in finding.says and finding.value == pytest.approx(0.5)


def test_a_judge_blind_to_scenes_needs_no_mask() -> None:
    blind = replace(REAL, median_dino=0.8, background_invariance=0.96)
    (finding,) = entangled(blind, median_dino=0.5)
    assert finding.value == pytest.approx(0.5 / 0.8 / 0.96)
    (finding,) = entangled(blind, median_dino=-0.1, masked_dino=None)
    assert finding.value == 0
    unmasked = replace(blind, background_invariance=None)
    assert entangled(unmasked, median_dino=0.1, masked_dino=None) == []  # the place or the subject: nobody can tell


def test_what_is_not_learned_is_not_entangled() -> None:
    blind = replace(REAL, median_dino=0.8, background_invariance=0.96)
    assert entangled(blind, usual=0.1, median_dino=0.02, masked_dino=0.02) == []
    assert entangled(blind, usual=0.45, median_dino=0.1, masked_dino=0.1) == []  # of .6 to go it has gone .25


def test_photos_among_themselves_are_those_of_the_median_photo() -> None:
    usual, odd = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])

    def row(*rows: torch.Tensor) -> Scores:
        of_all = torch.stack(rows)
        found = torch.ones(len(rows), dtype=torch.bool)
        return real_row(
            Photos(seen=Seen(dino=of_all, clip=of_all, masked=of_all, found=found), look=Look(subject=usual))
        )

    several = row(usual, usual, usual, odd)
    assert several.nearest_photo == several.median_dino == several.masked_dino == several.background_invariance == 1
    assert several.dino == 0.5
    assert row(usual, odd).nearest_photo is None
    alone = row(usual)
    assert (alone.median_dino, alone.nearest_photo, alone.background_invariance) == (None, None, 1)


def test_a_failure_of_the_last_step_alone_says_so() -> None:
    probes: dict[Step, Probed] = {"real": REAL, 0: UNTUNED, 10: probed(10, dino=0.7, pres=0.25)}
    (finding,) = diagnose(probes | {20: probed(20, dino=0.8, pres=0.75)}, 10)
    assert finding.metric == "pres" and finding.avoided
    assert finding.says.startswith("Only the last step, 20, shows this")
    (its,) = diagnose(probes | {20: probed(20, dino=0.8, pres=0.75)}, 20)
    assert its.metric == "pres" and not its.avoided


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    written = [REAL, UNTUNED, varied(5, 1.5, None), replace(probed(10, dino=1 / 3), seconds=1.25)]
    for row in written:
        SCORES.append(run.root, row)
    assert SCORES.read(run.root) == written
    assert "null" not in run.scores.read_text()
    run.scores.write_text(run.scores.read_text()[:-30])  # a crash while the last line was written
    run.forget_after(10)
    assert SCORES.read(run.root) == written[:3]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small model, small judges, few steps."""
    folder = tmp_path_factory.mktemp("models")
    tiny_pipeline(size=16).save_pretrained(folder / "base")
    save(folder / "dino", dino_parts())
    save(folder / "clip", clip_parts())
    return {
        "model": str(folder / "base"),
        "dino_model": str(folder / "dino"),
        "clip_model": str(folder / "clip"),
        "with_prior_preservation": False,
        "max_train_steps": 6,
        "learning_rate": 1e-2,
        "validation_steps": 2,
        "checkpointing_steps": 1,
        "checkpoints_total_limit": 20,
        "probe_images_per_prompt": 1,
        "probe_class_images": 2,
        "probe_num_inference_steps": 1,
    }


def personalised(root: Path, photos: Path, settings: dict[str, Any], **more: object) -> Run:
    """A run in `root`, new or resumed."""
    subject = Subject(photos=photos_in(photos), class_noun="dog")
    run = Run.create(root, subject, Config.build({**settings, **more}))
    recipe.personalise(run)
    return run


@pytest.fixture(scope="module")
def finished(
    settings: dict[str, Any], photos_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Run]:
    """A finished run with further settings, made once, and only to be read and copied."""

    @cache
    def made(**more: object) -> Run:
        return personalised(tmp_path_factory.mktemp("finished") / "run", photos_dir, settings, **more)

    return made


def copied(run: Run, root: Path) -> Run:
    """The same run in another folder."""
    return Run(shutil.copytree(run.root, root))


def outcome(run: Run) -> dict[str, Any]:
    """All that must not depend on interruptions: what was measured, recommended, diagnosed and saved."""
    files = [*run.model.rglob("*.safetensors"), *(run.root / "best").rglob("*.safetensors")]
    return {
        "scores": [replace(probed, seconds=0.0) for probed in SCORES.read(run.root)],
        "steps": len(run.losses.read_text().splitlines()),
        "recommendation": RECOMMENDATION.read(run.root),
        "diagnosis": DIAGNOSIS.read(run.root),
        **{str(path.relative_to(run.root)): path.read_bytes() for path in files},
    }


def interrupted(whole: Run, root: Path, step: int) -> None:
    """`whole` as if it had been killed at its very end, with no checkpoint left after `step`."""
    shutil.copytree(whole.root, root)
    left = Run(root)
    shutil.rmtree(left.model)
    (root / "recommendation.json").unlink()
    for path in left.checkpoints.iterdir():
        if int(path.name.removeprefix("checkpoint-")) > step:
            shutil.rmtree(path)


@pytest.mark.parametrize("more", [{}, {"use_ema": True}, {"early_stopping": True, "early_stopping_patience": 1}])
def test_a_resumed_run_measures_and_decides_as_an_uninterrupted_one(
    settings: dict[str, Any], photos_dir: Path, finished: Callable[..., Run], tmp_path: Path, more: dict[str, Any]
) -> None:
    whole = finished(**more)
    expected = outcome(whole)
    last = expected["recommendation"].last
    for step in {1, max(1, last - 2), last}:
        root = tmp_path / f"from-{step}"
        interrupted(whole, root, step)
        assert outcome(personalised(root, photos_dir, settings, **more)) == expected, step


def _flip(folder: Path) -> None:
    (file,) = folder.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))


HARM: dict[str, Callable[[Run], object]] = {
    "best/ is gone": lambda run: shutil.rmtree(run.root / "best"),
    "best/ is damaged": lambda run: _flip(run.root / "best"),
    "scores.jsonl is cut": lambda run: run.scores.write_text("".join(run.scores.read_text().splitlines(True)[:3])),
    "a score is damaged": lambda run: run.scores.write_text(run.scores.read_text().replace('"step": 4', '"step": 4x')),
    "timings.json is damaged": lambda run: (run.root / "timings.json").write_text('{"load": "long"}'),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("total_limit", [2, 20])
def test_what_can_be_computed_again_is_no_dead_end_and_ends_the_same(
    settings: dict[str, Any],
    photos_dir: Path,
    finished: Callable[..., Run],
    tmp_path: Path,
    harm: str,
    total_limit: int,
) -> None:
    whole = copied(finished(checkpoints_total_limit=total_limit), tmp_path / "run")
    expected = outcome(whole)
    shutil.rmtree(whole.model)
    HARM[harm](whole)
    mended = outcome(personalised(whole.root, photos_dir, settings, checkpoints_total_limit=total_limit))
    for key in ("recommendation", "steps", *(name for name in expected if name.startswith(("best/", "model/")))):
        assert mended[key] == expected[key], key


@pytest.mark.parametrize("name", [RECOMMENDATION.name, DIAGNOSIS.name])
def test_a_verdict_that_is_deleted_is_written_again_without_training(
    settings: dict[str, Any], photos_dir: Path, finished: Callable[..., Run], tmp_path: Path, name: str
) -> None:
    run = copied(finished(), tmp_path / "run")
    expected = outcome(run)
    shutil.rmtree(run.checkpoints)
    (run.root / name).unlink()
    assert outcome(personalised(run.root, photos_dir, settings)) == expected
    assert not run.checkpoints.exists()
    (run.root / name).unlink()
    shutil.rmtree(run.root / "best")  # what it follows from
    assert not (personalised(run.root, photos_dir, settings).root / name).exists()


def test_the_model_has_the_recommended_weights_and_the_run_says_why(
    settings: dict[str, Any], photos_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dreambooth"):
        run = personalised(tmp_path / "run", photos_dir, settings)
    verdict, probes = RECOMMENDATION.read(run.root), SCORES.read(run.root)
    assert [probed.step for probed in probes] == ["real", 0, 2, 4, 6]
    assert all(probed.dino is not None for probed in probes)
    assert all(probed.variety.keys() == {"subject", "class"} for probed in probes[1:])
    drawn = {(sample.template, sample.kind) for sample in read_samples(run.samples / "step-000002")}
    assert len(drawn) == 7 and len(read_samples(run.samples / "step-000002")) == 2 + 2 + 5
    assert verdict.kept == probes[-1 if verdict.step == 6 else verdict.step // 2 + 1].kept(probes[1])
    assert verdict.step == max(merit(probes), key=lambda step: merit(probes)[step])
    assert verdict.last == 6 and verdict.stopped_early is False
    assert f"recommended: {verdict.reason}" in caplog.messages
    kept = checkpoint.read(run.checkpoints / f"checkpoint-{verdict.step}").tensors["weights"]
    (unet,) = (run.model / "unet").glob("*.safetensors")
    saved = {f"denoiser.{name}": tensor for name, tensor in load_file(unet).items()}
    assert saved.items() and all(torch.equal(kept[name], tensor) for name, tensor in saved.items())
    assert [path.name for path in (run.root / "best").iterdir()] == [f"checkpoint-{verdict.step}"]
    assert {path.name for path in run.root.iterdir()} <= CONTENTS.keys()
    timings = TIMINGS.read(run.root)
    assert timings["probe"] >= sum(probed.seconds for probed in probes) > 0
    assert timings["finetune"] > 0


def test_early_stopping_leaves_a_finished_run(settings: dict[str, Any], photos_dir: Path, tmp_path: Path) -> None:
    more = {"early_stopping": True, "early_stopping_patience": 1, "max_train_steps": 40, "checkpointing_steps": 100}
    run = personalised(tmp_path / "run", photos_dir, settings, **more)
    verdict = RECOMMENDATION.read(run.root)
    assert verdict.stopped_early and verdict.step <= verdict.last < 40
    assert [path.name for path in run.checkpoints.iterdir()] == [f"checkpoint-{verdict.last}"]
    expected, written = outcome(run), [file.read_bytes() for file in (run.scores, run.losses)]
    shutil.rmtree(run.model)
    assert outcome(personalised(run.root, photos_dir, settings, **more)) == expected
    assert [file.read_bytes() for file in (run.scores, run.losses)] == written  # nothing was trained or measured again


def test_no_probe_keeps_the_last_step(settings: dict[str, Any], photos_dir: Path, tmp_path: Path) -> None:
    without = {name: value for name, value in settings.items() if name not in ("dino_model", "clip_model")}
    run = personalised(tmp_path / "run", photos_dir, without, probe=False)
    assert not run.scores.exists() and not (run.root / "best").exists()
    assert "probe" not in TIMINGS.read(run.root)
    last = checkpoint.read(run.checkpoints / "checkpoint-6").tensors["weights"]
    (unet,) = (run.model / "unet").glob("*.safetensors")
    assert all(torch.equal(last[f"denoiser.{name}"], tensor) for name, tensor in load_file(unet).items())
    assert {path.name for path in run.samples.iterdir()} == {"step-000002", "step-000004"}


@pytest.mark.parametrize("step", [2, 6])
def test_a_run_is_never_measured_by_two_judges_and_can_be_measured_again(
    settings: dict[str, Any], photos_dir: Path, tmp_path: Path, step: int
) -> None:
    judge = shutil.copytree(settings["dino_model"], tmp_path / "judge")
    own = {**settings, "dino_model": str(judge)}
    whole = personalised(tmp_path / "whole", photos_dir, own)
    interrupted(whole, tmp_path / "run", step)
    run = Run(tmp_path / "run")
    weights = judge / "model.safetensors"
    save_file({name: tensor + 0.01 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    before = run.scores.read_bytes()
    with pytest.raises(RunError, match="measured by other judges") as refused:
        personalised(run.root, photos_dir, own)
    assert "  - dino: judge#" in str(refused.value) and "  - clip" not in str(refused.value)
    assert run.scores.read_bytes() == before and not run.model.exists()
    for name in ("judges.json", "scores.jsonl"):
        (run.root / name).unlink()
    shutil.rmtree(run.root / "best")
    personalised(run.root, photos_dir, own)
    assert [probed.step for probed in SCORES.read(run.root)] == ["real", 0, *range(step, 7, 2)]
    assert RECOMMENDATION.read(run.root).judges == asdict(JUDGES.read(run.root))


def two_staged(settings: dict[str, Any]) -> StableDiffusion:
    """The small model with its one stage twice, as a cascade has several: both train the same parts in turn."""
    model = models.load(Config.build(settings).base)
    assert isinstance(model, StableDiffusion)
    later = copy.copy(model.stages[0])
    later.name = "super_resolution"
    model.stages = (model.stages[0], later)
    return model


@pytest.mark.parametrize("more", [{}, {"probe": False}], ids=["measured", "not measured"])
def test_every_stage_of_a_cascade_has_its_own_records_and_best_weights(
    settings: dict[str, Any], finished: Callable[..., Run], tmp_path: Path, more: dict[str, Any]
) -> None:
    config = Config.build({**settings, **more})
    single = finished(**more)
    run = Run.create(tmp_path / "run", single.subject, config)
    recipe.personalise(run, two_staged(settings))
    (later,) = run.later_stages
    assert later == run.stage("super_resolution") and later.subject == run.subject and later.config == config
    without = (
        "model",
        "model.json",
        "timings.json",
        "status.json",
        "plan.json",
        "config.toml",
        ".lock",
    )  # those of the run as a whole
    made = {path.name for path in single.root.iterdir()} - {*without, "subject.json", "photos.json", "base.json"}
    assert {path.name for path in later.root.iterdir()} == made - {"judges.json"}
    for path in (path for name in made for path in single.root.glob(f"{name}/**/*.safetensors")):
        assert path.read_bytes() == (run.root / path.relative_to(single.root)).read_bytes()
    if config.probe.probe:
        first, second, alone = ([replace(p, seconds=0) for p in SCORES.read(r.root)] for r in (run, later, single))
        assert first == alone and second[:2] == first[:2] and second[2:] != first[2:]
        assert RECOMMENDATION.read(run.root) == RECOMMENDATION.read(single.root)
        step = RECOMMENDATION.read(later.root).step
        kept = checkpoint.read(later.root / "best" / f"checkpoint-{step}").tensors["weights"]
    else:
        kept = checkpoint.read(later.checkpoints / "checkpoint-6").tensors["weights"]
    (unet,) = (run.model / "unet").glob("*.safetensors")
    assert all(torch.equal(kept[f"denoiser.{name}"], tensor) for name, tensor in load_file(unet).items())


def test_a_cascade_that_is_interrupted_in_its_later_stage_ends_the_same(
    settings: dict[str, Any], photos_dir: Path, tmp_path: Path
) -> None:
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    whole = Run.create(tmp_path / "whole", subject, Config.build(settings))
    recipe.personalise(whole, two_staged(settings))
    shutil.copytree(whole.root, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    later = run.stage("super_resolution")
    shutil.rmtree(run.model)
    (later.root / RECOMMENDATION.name).unlink()
    for step in (5, 6):
        shutil.rmtree(later.checkpoints / f"checkpoint-{step}")
    recipe.personalise(run, two_staged(settings))
    assert outcome(run) == outcome(whole)
    weights = [file.relative_to(later.root) for file in later.root.rglob("*.safetensors")]
    assert weights and all(
        (later.root / file).read_bytes() == (whole.root / "super_resolution" / file).read_bytes() for file in weights
    )
    (later.root / DIAGNOSIS.name).unlink()
    recipe.personalise(run)
    assert DIAGNOSIS.read(later.root) == DIAGNOSIS.read(whole.root / "super_resolution")
    extend(run, 8)
    assert not later.root.exists() and run.later_stages == []  # it began with what the first stage had made


def test_missing_judges_are_reported_before_anything_is_trained(
    settings: dict[str, Any], photos_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="--no-probe"):
        personalised(tmp_path / "run", photos_dir, settings, dino_model=str(tmp_path / "nowhere"))
    assert not Run(tmp_path / "run").losses.exists()
