"""What the embedded CLIP's vision tower starts from, and what it is taught by."""

import argparse
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from dreambooth.toybox import world
from pretraining import judge_clip, judge_patterns, judge_renders, patterned, renders
from pretraining.judge_patterns import CELLS, Batch, Batches, Heads, Lesson, Teacher
from pretraining.learning import begun, learn
from pretraining.sizes import SIZES
from pretraining.state import Trained

SIZE = SIZES["embedded"]


def toys(count: int, pattern: str) -> list[renders.Truth]:
    rng = random.Random(0)
    truths = [renders.Truth.sample(rng) for _ in range(count)]
    return [replace(truth, toy=replace(truth.toy, pattern=pattern)) for truth in truths]


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """Those of a training on one shard, whose pictures tell in red where their patterns show."""
    shown = torch.zeros(renders.SHARD, 32, 32, dtype=torch.uint8)
    shown[:, 4:20, 8:16] = 255
    images = torch.zeros(renders.SHARD, 3, 128, 128, dtype=torch.uint8)
    images[:, 0] = F.interpolate(shown[:, None].float(), (128, 128))[:, 0].to(torch.uint8)
    found = argparse.Namespace(
        state=tmp_path, device="cpu", batch=4, steps=4, minutes=1e9, learning_rate=1e-3, muon_rate=1e-2, bf16=False
    )
    found.part = "0/1"
    drawn = {"images": images, "shown": shown}
    renders.render_missing(found, range(1), lambda _: drawn, patterned.truths_of, patterned.FOLDER)
    return found


def test_processes_share_the_shards_and_leave_what_is_there(options: argparse.Namespace) -> None:
    drawn: list[renders.Truth] = []

    def draw(truths: list[renders.Truth]) -> dict[str, torch.Tensor]:
        drawn.extend(truths)
        return {"images": torch.zeros(len(truths), 3, 1, 1, dtype=torch.uint8)}

    options.part = "0/2"
    renders.render_missing(options, range(4), draw, patterned.truths_of, patterned.FOLDER)
    assert patterned.shards(options.state) == [0, 2]
    assert drawn == patterned.truths_of(2) == renders.load_truths(options.state, 2, patterned.FOLDER)  # 0 was there
    options.part = "1/2"
    renders.render_missing(options, range(4), draw, patterned.truths_of, patterned.FOLDER)
    assert patterned.shards(options.state) == [0, 1, 2, 3]


def test_a_pattern_shows_where_a_picture_changes_without_it() -> None:
    plain = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    other = plain.clone()
    other[0, 1, :4, :4] = patterned.DIFFERS + 1
    other[0, 2, :4, 4:] = patterned.DIFFERS
    other[0, 0, 4:6, 4:] = 255
    assert patterned.where(other, plain).tolist() == [[[255, 0], [0, 128]]]


def test_most_toys_of_a_shard_have_a_pattern_and_it_shows_on_them_alone() -> None:
    patterns = [truth.toy.pattern for truth in patterned.truths_of(0)]
    assert 0.08 < patterns.count("plain") / len(patterns) < 0.22
    plain, striped = (renders.draw(toys(3, pattern), 64) for pattern in ("plain", "striped"))
    shares = patterned.where(striped, plain).float().flatten(1).mean(1) / 255
    assert shares.min() > 0.01 and shares.max() < 0.4


def test_cells_go_with_their_pictures_through_crop_and_mirror(options: argparse.Namespace) -> None:
    batches = Batches(options, "here")
    batch = batches.worn(0, *batches.rows_of(0))
    red = F.adaptive_avg_pool2d(batch.pictures[:, 0], 8).flatten(1)
    assert batch.shown.std(1).min() > 0.1
    torch.testing.assert_close(batch.shown, red, atol=0.1, rtol=0)  # the picture is softened as well


def test_each_picture_is_seen_once_a_turn_and_each_training_has_an_order_of_its_own(
    options: argparse.Namespace,
) -> None:
    ours, theirs = Batches(options, "ours"), Batches(options, "theirs")
    turn = [ours.rows_of(step)[1] for step in range(renders.SHARD // options.batch)]
    assert torch.cat(turn).sort().values.tolist() == list(range(renders.SHARD))
    assert not torch.equal(turn[0], theirs.rows_of(0)[1])


def test_the_tower_begins_with_what_the_teachers_first_convolutions_see() -> None:
    torch.manual_seed(0)
    teacher = Teacher()
    lesson, tower = Lesson(teacher), judge_patterns.build_tower(SIZE).eval()
    lesson.see_as_teacher(tower)
    pictures = torch.rand(2, 3, 128, 128)
    seen = tower.patch_embeddings.embedding_layer_1(judge_renders.normalised(pictures))
    expected = teacher.near[:2](pictures * 2 - 1)
    torch.testing.assert_close(seen[..., 1:, 1:], expected[..., 1:, 1:], atol=1e-4, rtol=1e-4)  # but for the padding
    rectified = teacher.near[2](expected)
    torch.testing.assert_close(tower.patch_embeddings.embedding_layer_2(rectified), teacher.near[3:5](rectified))
    later = teacher.near[3:6](rectified)
    torch.testing.assert_close(tower.patch_embeddings.embedding_layer_3(later), teacher.near[6:8](later))


def test_a_stopped_lesson_goes_on_to_the_bit_and_leaves_the_teacher_as_it_is(options: argparse.Namespace) -> None:
    teacher = Teacher()
    before = {name: values.clone() for name, values in teacher.state_dict().items()}

    def trained(path: Path, steps: int) -> Trained:
        torch.manual_seed(0)
        lesson, tower = Lesson(teacher), judge_patterns.build_tower(SIZE)
        batches = Batches(options, "lesson")
        lesson.scale_by(batches.worn(0, batches.rows_of(0)[0], torch.arange(64)).pictures)
        training = begun(options, {"tower": tower, "lesson": lesson}, path)
        some = [batches.worn(step, *batches.rows_of(step)) for step in range(training.step, steps)]

        def loss_of(batch: Batch, _: float) -> torch.Tensor:
            return lesson.loss(*lesson.seen(tower, batch.pictures), batch)

        learn(options, training, path, some, loss_of)
        return training

    whole = trained(options.state / "whole.safetensors", 4)
    trained(options.state / "parts.safetensors", 2)
    parts = trained(options.state / "parts.safetensors", 4)
    assert parts.step == whole.step == 4
    for name, values in {**whole.average, **whole.buffers}.items():
        assert torch.equal(values, {**parts.average, **parts.buffers}[name]), name
    assert all(torch.equal(values, before[name]) for name, values in teacher.state_dict().items())


def test_cells_that_are_read_right_cost_nothing_and_wrong_ones_by_what_they_show() -> None:
    heads = Heads(3, 3)
    for head in (heads.cells, heads.whole):
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    striped = torch.tensor([world.PATTERNS.index("striped")])
    shown = torch.zeros(1, CELLS)
    shown[0, 0] = 1
    batch = Batch(pictures=torch.zeros(1, 3, 8, 8), shown=shown, pattern=striped)
    right = 50 * F.one_hot((shown == 1).long() * striped, 3).float()
    assert heads.loss(right, 50 * F.one_hot(striped, 3).float(), batch).item() < 1e-6
    wrong = right.clone()
    wrong[0, 0] = torch.tensor([50.0, 0, 0])
    missed = heads.loss(wrong, 50 * F.one_hot(striped, 3).float(), batch)
    torch.testing.assert_close(missed, torch.tensor(2 * 50 * 5 / (CELLS + 4)))  # a full cell counts five times


def test_the_judge_hears_at_first_as_the_packaged_one_and_opens_as_it_was_written(options: argparse.Namespace) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(judge_clip.PACKAGED, local_files_only=True)
    lesson, older = Lesson(Teacher()), judge_clip.opened()
    parts: dict[str, nn.Module] = {"tower": judge_patterns.build_tower(SIZE), "lesson": lesson}
    Trained(parts, 1e-3, decay=0.5).save(options.state / "judge_patterns.safetensors")
    model = judge_clip.start(options, SIZE, tokenizer, older, lesson).eval()
    texts = ["a striped dog", "a spotted dog in the snow"]
    heard = judge_clip.text_embeddings(model, tokenizer, texts)
    torch.testing.assert_close(heard, judge_clip.text_embeddings(older, tokenizer, texts))
    pictures = renders.draw(toys(3, "striped"), 128).float() / 255
    seen = judge_clip.image_embeddings(model, pictures)
    judge_clip.pack(model, tokenizer, options.state / "clip")
    again = judge_clip.opened(options.state / "clip")
    torch.testing.assert_close(judge_clip.image_embeddings(again, pictures), seen, atol=2e-3, rtol=0)  # it is in fp16
