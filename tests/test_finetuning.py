"""The step against diffusers' own parts; a run that stops anywhere and goes on equals one that did not stop."""

import copy
import json
import os
import resource
import shutil
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor

from dreambooth import finetuning
from dreambooth.config import Config
from dreambooth.config.machine import check_machine
from dreambooth.data.dataset import LatentDataset
from dreambooth.errors import ConfigError, DiskError, Interrupted, RunError, TrainingError
from dreambooth.finetuning import Observer, finetune, loop, training_step
from dreambooth.models.base import Conditioning, DiffusionModel, Stage
from dreambooth.run import Run, checkpoint
from dreambooth.subject import Subject
from dreambooth.support.optimizer import Optimizer
from dreambooth.support.rng import generator, normal
from dreambooth.support.signals import sigterm_as_ctrl_c, stop_signal
from tiny import attached, tiny_model

SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")
SETTINGS: dict[str, Any] = {
    "max_train_steps": 10,
    "learning_rate": 1e-3,
    "gradient_accumulation_steps": 2,
    "checkpointing_steps": 1,
    "checkpoints_total_limit": 10**9,  # all stay, and room is asked only for those to come
    "validation_steps": 3,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 2,
    "snr_gamma": 5.0,
    "use_ema": False,  # where a test does not ask for the average, the weights are the trained ones
}


def photos(count: int = 3, class_images: int = 4) -> LatentDataset:
    """Random latents of three photos and four class images."""
    rows = count + class_images
    names = (*(f"dog-{n}.jpg" for n in range(count)), *(f"class-{n}.png" for n in range(class_images)))
    return LatentDataset(
        mean=normal((rows, 4, 8, 8), "photos"),
        std=torch.full((rows, 4, 8, 8), 0.1),
        prompts=(*["a sks dog"] * count, *["a dog"] * class_images),
        is_prior=torch.arange(rows) >= count,
        names=names,
    )


def train(
    root: Path,
    *observers: Observer,
    dataset: LatentDataset | None = None,
    on_request: Observer | None = None,
    **settings: object,
) -> tuple[DiffusionModel, list[dict[str, float]]]:
    """A run in `root` on a fresh tiny model; the model, and the lines of losses.jsonl without the time they took."""
    root.mkdir(exist_ok=True)
    config, model = Config.build({**SETTINGS, **settings}), tiny_model(size=16)
    adapter = attached(model, SUBJECT, config)
    rows = photos() if dataset is None else dataset
    finetune(model, model.stages[0], adapter, rows, config, Run(root), observers, on_request=on_request)
    return model, losses(root)


def losses(root: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in Run(root).losses.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def bits(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()}


def weights(model: DiffusionModel) -> dict[str, bytes]:
    parts = model.stages[0].parts
    return bits({f"{part}.{name}": t for part in parts for name, t in parts[part].state_dict().items()})


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_step_equals_one_written_with_diffusers_parts(prediction_type: str) -> None:
    model = tiny_model(prediction_type, size=16)
    attached(model, SUBJECT, Config())
    pipeline: Any = copy.deepcopy(model.pipeline)
    batch = photos().batch(seed=0, number=4, subject_rows=1, prior_rows=2)
    (stage,) = model.stages
    loss, _ = training_step(stage, stage.process, batch, stage.condition(batch.prompts), 0.7, 0, 4)
    loss.backward()

    noise = normal(batch.mean.shape, "noise", 0, 4)
    x0 = batch.mean + batch.std * normal(batch.mean.shape, "latent", 0, 4)
    t = torch.stack([torch.randint(1000, (), generator=generator("t", 0, 4, row)) for row in range(3)])
    embeds = pipeline.encode_prompt(list(batch.prompts), "cpu", 1, False)[0]
    pred = pipeline.unet(pipeline.scheduler.add_noise(x0, noise, t), t, embeds).sample
    targets = {"epsilon": noise, "v_prediction": pipeline.scheduler.get_velocity(x0, noise, t), "sample": x0}
    error = torch.nn.functional.mse_loss(pred, targets[prediction_type], reduction="none")
    expected = error[~batch.is_prior].mean() + 0.7 * error[batch.is_prior].mean()
    expected.backward()

    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for part in ("unet", "text_encoder"):
        theirs = dict(getattr(pipeline, part).named_parameters())
        for name, parameter in getattr(model.pipeline, part).named_parameters():
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-6)


def test_every_row_has_its_own_time_and_noise() -> None:
    (stage,) = tiny_model(size=16).stages
    dataset = photos()
    few = dataset.batch(seed=0, number=0, subject_rows=1, prior_rows=0)
    alone, error = training_step(stage, stage.process, few, stage.condition(few.prompts), 1.0, 0, 0, 0)
    assert alone == error[0]
    twice = copy.copy(few)
    object.__setattr__(twice, "mean", few.mean.repeat(2, 1, 1, 1))
    object.__setattr__(twice, "std", few.std.repeat(2, 1, 1, 1))
    object.__setattr__(twice, "is_prior", few.is_prior.repeat(2))
    object.__setattr__(twice, "rows", few.rows * 2)
    _, both = training_step(stage, stage.process, twice, stage.condition(few.prompts * 2), 1.0, 0, 0, 0)
    torch.testing.assert_close(both[0], error[0])
    assert abs(both[0] - both[1]) > 1e-4


@pytest.mark.parametrize(("use_ema", "l2_to_base"), [(False, 0.0), (True, 0.0), (False, 0.1)])
def test_a_resumed_run_equals_an_uninterrupted_one_at_every_step(
    tmp_path: Path, use_ema: bool, l2_to_base: float
) -> None:
    whole = tmp_path / "whole"
    settings: dict[str, Any] = {"use_ema": use_ema, "l2_to_base": l2_to_base}
    model, lines = train(whole, **settings)
    last = checkpoint.read(Run(whole).checkpoints / "checkpoint-10")
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert ("ema" in last.tensors) == use_ema
    for step in range(1, 10):
        part = tmp_path / f"from-{step}"
        shutil.copytree(Run(whole).checkpoints / f"checkpoint-{step}", Run(part).checkpoints / f"checkpoint-{step}")
        shutil.copy(Run(whole).losses, Run(part).losses)  # as if the run had been killed long after its last checkpoint
        resumed, its_lines = train(part, checkpointing_steps=100, **settings)
        assert weights(resumed) == weights(model)
        assert its_lines == lines
        mine = checkpoint.read(Run(part).checkpoints / "checkpoint-10")
        assert {name: bits(tensors) for name, tensors in mine.tensors.items()} == {
            name: bits(tensors) for name, tensors in last.tensors.items()
        }


def test_two_runs_are_equal_and_another_seed_differs(tmp_path: Path) -> None:
    runs = [train(tmp_path / str(n), max_train_steps=2, seed=seed) for n, seed in enumerate((0, 0, 1))]
    assert weights(runs[0][0]) == weights(runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert weights(runs[0][0]) != weights(runs[2][0])


def test_training_learns(tmp_path: Path) -> None:
    _, lines = train(tmp_path / "run", max_train_steps=30, checkpointing_steps=30, lr_scheduler="constant")
    assert sum(line["loss"] for line in lines[-10:]) < 0.95 * sum(line["loss"] for line in lines[:10])


def test_weights_pulled_back_to_the_base_stay_nearer_to_it(tmp_path: Path) -> None:
    moved, base = [], tiny_model(size=16).stages[0].parts["denoiser"].state_dict()
    for pull in (0.0, 1.0):
        model, _ = train(tmp_path / str(pull), l2_to_base=pull, with_prior_preservation=False)
        now = model.stages[0].parts["denoiser"].state_dict()
        moved.append(sum(float((now[name] - base[name]).square().sum()) for name in base))
    assert 0 < moved[1] < 0.7 * moved[0]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    model, lines = train(tmp_path / "run", max_train_steps=3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    again, its_lines = train(tmp_path / "run", max_train_steps=3)
    assert weights(again) == weights(model)
    assert its_lines == lines
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_saves_and_goes_on(
    tmp_path: Path, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:  # these tests are run under nohup
        request.addfinalizer(partial(signal.signal, number, signal.SIG_IGN))
        signal.signal(number, signal.SIG_DFL)

    def stop(step: int, model: DiffusionModel) -> None:
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    rare: dict[str, Any] = {"checkpointing_steps": 100, "max_train_steps": 5}
    with pytest.raises(Interrupted, match=rf"{number.name} after step 3 of 5.*same command"):
        train(tmp_path / "run", stop, **rare)
    assert signal.getsignal(number) is before
    assert [path.name for path in Run(tmp_path / "run").checkpoints.iterdir()] == ["checkpoint-3"]
    model, lines = train(tmp_path / "run", **rare)
    whole, its_lines = train(tmp_path / "whole", **rare)
    assert weights(model) == weights(whole)
    assert lines == its_lines


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    reached = []

    def stop(step: int, model: DiffusionModel) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)  # in this thread and now, where os.kill may make one of two
            signal.getsignal(signal.SIGINT)  # a place where Python runs the handler
        reached.append(step)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", stop)
    assert not reached


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with sigterm_as_ctrl_c(), stop_signal() as stopped:
            signal.raise_signal(signal.SIGHUP)
            assert not stopped and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_that_nobody_looked_at_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), stop_signal() as stopped:
        signal.raise_signal(signal.SIGTERM)
        assert stopped == ["SIGTERM"]


def test_a_damaged_newest_checkpoint_costs_steps_but_changes_nothing(tmp_path: Path) -> None:
    model, lines = train(tmp_path / "run", max_train_steps=4)
    file = Run(tmp_path / "run").checkpoints / "checkpoint-4" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    again, its_lines = train(tmp_path / "run", max_train_steps=4)
    assert weights(again) == weights(model)
    assert its_lines == lines


def test_other_photos_or_settings_do_not_go_on(tmp_path: Path) -> None:
    train(tmp_path / "run", max_train_steps=1)
    with pytest.raises(RunError, match="other settings, other photos"):
        train(tmp_path / "run", max_train_steps=1, dataset=photos(count=2))


def unseen_at_first(dataset: LatentDataset) -> int:
    """The one of three photos that the first step does not see."""
    (unseen,) = {0, 1, 2} - {row for number in range(2) for row in dataset.batch(0, number, 1, 0).rows}
    return unseen


def test_a_loss_that_is_not_finite_never_reaches_the_weights(tmp_path: Path) -> None:
    dataset = photos()
    bad = unseen_at_first(dataset)
    good, _ = train(tmp_path / "good", max_train_steps=1, lr_scheduler="constant")
    dataset.mean[bad, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match=rf"the loss is nan at step 2, on dog-{bad}.jpg"):
        train(tmp_path / "run", dataset=dataset, lr_scheduler="constant")
    kept = checkpoint.read(Run(tmp_path / "run").checkpoints / "checkpoint-1")
    assert bits(kept.tensors["weights"]).items() <= weights(good).items()


def test_the_last_good_step_is_saved_before_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    dataset = photos()
    bad = unseen_at_first(dataset)
    good, _ = train(tmp_path / "good", max_train_steps=1, lr_scheduler="constant")
    dataset.mean[bad, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"step 2.*the step before is saved"):
        train(tmp_path / "run", dataset=dataset, lr_scheduler="constant", checkpointing_steps=100)
    kept = checkpoint.read(Run(tmp_path / "run").checkpoints / "checkpoint-1")
    assert bits(kept.tensors["weights"]).items() <= weights(good).items()


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path: Path) -> None:
    config, model = Config.build(SETTINGS), tiny_model(size=16)
    adapter = attached(model, SUBJECT, config)
    before = weights(model)
    adapter.parameter_groups()[0]["params"][0].register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(TrainingError, match=r"gradient's norm is \w+ at step 1, on dog-"):
        finetune(model, model.stages[0], adapter, photos(), config, Run(tmp_path))
    assert weights(model) == before


@pytest.mark.parametrize(("steps", "at"), [(1, 1), (3, 3), (3, 2)])
@pytest.mark.parametrize("use_ema", [False, True])
def test_weights_that_the_last_update_broke_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, at: int, use_ema: bool
) -> None:
    """No later loss tells of the last update; of an earlier one the next loss does, and blames the photos."""
    average, taken = Optimizer.average, []

    def broken(self: Any, averages: Any, tensors: Mapping[str, Tensor], decay: float) -> None:
        taken.append(0)
        average(self, averages, tensors, decay)
        if len(taken) == at:
            (averages or tensors)["denoiser.conv_out.bias"][0] = float("nan")

    monkeypatch.setattr(Optimizer, "average", broken)
    kept = "nothing is saved" if at == 1 else f"step {at - 1} is the last that is saved"
    with pytest.raises(TrainingError, match=rf"denoiser.conv_out.bias is not finite after step {at}: {kept}"):
        train(tmp_path / "run", max_train_steps=steps, use_ema=use_ema)
    assert checkpoint.newest_step(Run(tmp_path / "run").checkpoints) == (at - 1 or None)


def test_weights_that_an_update_broke_are_not_saved_as_the_step_before_a_bad_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, averages: Any, tensors: Mapping[str, Tensor], decay: float) -> None:
        tensors["denoiser.conv_out.bias"][0] = float("nan")

    monkeypatch.setattr(Optimizer, "average", broken)
    with pytest.raises(TrainingError, match=r"denoiser\.conv_out\.bias is not finite after step 1: nothing is saved"):
        train(tmp_path / "run", max_train_steps=3, checkpointing_steps=100)


def test_a_step_reads_nothing_from_the_device() -> None:
    """On torch's "meta", where tensors have no values: whatever a GPU would be waited for fails there."""
    model = tiny_model(size=16)
    attached(model, SUBJECT, Config())
    model.to(torch.device("meta"))
    batch = photos().batch(seed=0, number=4, subject_rows=2, prior_rows=2)
    (stage,) = model.stages
    process = stage.process.with_snr_gamma(5.0)
    loss, error = training_step(stage, process, batch, stage.condition(batch.prompts), 0.7, 0, 4)
    loss.backward()
    assert loss.device.type == "meta" and error.shape == (4,)


def test_losses_in_blocks_are_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"checkpointing_steps": 3, "validation_steps": 5, "use_ema": True}
    model, lines = train(tmp_path / "each", **settings)
    monkeypatch.setitem(finetuning.UNREAD, "cpu", 4)
    written = {}

    def look(step: int, model: DiffusionModel) -> None:
        written[step] = len(losses(tmp_path / "blocks"))

    in_blocks, its_lines = train(tmp_path / "blocks", look, **settings)
    assert its_lines == lines
    assert weights(in_blocks) == weights(model)
    assert written == {5: 5, 10: 10}


def test_a_run_killed_in_a_block_loses_no_line_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare: dict[str, Any] = {"checkpointing_steps": 4, "validation_steps": 100}
    whole, lines = train(tmp_path / "whole", **rare)
    monkeypatch.setitem(finetuning.UNREAD, "cpu", 100)
    dataset, batch, drawn = photos(), LatentDataset.batch, []

    def killed(self: LatentDataset, *place: int) -> Any:
        drawn.append(place)
        if len(drawn) > 13:  # in the seventh step of two batches each
            raise KeyboardInterrupt
        return batch(self, *place)

    with monkeypatch.context() as patch:
        patch.setattr(LatentDataset, "batch", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", dataset=dataset, **rare)
    assert losses(tmp_path / "run") == lines[:4]
    model, its_lines = train(tmp_path / "run", dataset=dataset, **rare)
    assert its_lines == lines
    assert weights(model) == weights(whole)


class Scaling(Accelerator):  # type: ignore[misc]
    """As with --mixed-precision fp16, which is for GPUs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)


@pytest.mark.parametrize(("use_ema", "scaled"), [(False, False), (True, False), (False, True)])
def test_a_bad_loss_found_later_in_a_block_has_changed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_ema: bool, scaled: bool
) -> None:
    if scaled:
        monkeypatch.setattr(loop, "Accelerator", Scaling)
    dataset = photos()
    bad = unseen_at_first(dataset)
    settings: dict[str, Any] = {"lr_scheduler": "constant", "checkpointing_steps": 100, "use_ema": use_ema}
    train(tmp_path / "good", **{**settings, "max_train_steps": 1})
    monkeypatch.setitem(finetuning.UNREAD, "cpu", 6)
    dataset.mean[bad, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match=rf"the loss is nan at step 2, on dog-{bad}.jpg.*the step before is saved"):
        train(tmp_path / "run", dataset=dataset, **settings)
    assert [line["step"] for line in losses(tmp_path / "run")] == [1]
    good, kept = (checkpoint.read(Run(tmp_path / run).checkpoints / "checkpoint-1") for run in ("good", "run"))
    assert good.tensors.keys() == kept.tensors.keys()
    assert all(bits(good.tensors[part]) == bits(kept.tensors[part]) for part in good.tensors)
    assert good.scaler == kept.scaler


def test_a_prompt_of_several_rows_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    (stage,) = tiny_model(size=16).stages
    condition = type(stage).condition

    def ask(self: Stage, prompts: list[str]) -> Conditioning:
        asked.append(prompts)
        return condition(self, prompts)

    monkeypatch.setattr(type(stage), "condition", ask)
    _, lines = train(tmp_path / "run", max_train_steps=1, train_batch_size=3, gradient_accumulation_steps=1)
    assert asked == [["a sks dog", "a dog"]]
    batch = photos().batch(0, 0, 3, 3)
    loss, _ = training_step(stage, stage.process.with_snr_gamma(5.0), batch, condition(stage, batch.prompts), 1.0, 0, 0)
    assert lines[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    def fill(step: int, model: DiffusionModel) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(DiskError, match="too large for this disk, or for a limit"):
            train(tmp_path / "run", fill, max_train_steps=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    model, _ = train(tmp_path / "run", max_train_steps=4)
    assert weights(model) == weights(train(tmp_path / "whole", max_train_steps=4)[0])


def test_observers_see_the_average_and_training_goes_on_from_the_weights(tmp_path: Path) -> None:
    seen: dict[int, dict[str, bytes]] = {}

    def look(step: int, model: DiffusionModel) -> None:
        torch.manual_seed(step)  # what an observer draws is its own business
        seen[step] = weights(model)

    model, _ = train(tmp_path / "run", look, use_ema=True, ema_decay=0.9, max_train_steps=4)
    assert list(seen) == [3, 4]
    assert weights(model) == seen[4]
    kept = [checkpoint.read(Run(tmp_path / "run").checkpoints / f"checkpoint-{step}") for step in range(1, 5)]
    name = "denoiser.conv_in.weight"
    average = tiny_model(size=16).pipeline.unet.conv_in.weight.detach().clone()
    for state in kept:
        average = 0.9 * average + 0.1 * state.tensors["weights"][name]
        torch.testing.assert_close(state.tensors["ema"][name], average)
    assert weights(model)[name] == kept[-1].tensors["ema"][name].numpy().tobytes()


def test_the_mean_over_micro_batches_is_what_is_logged(tmp_path: Path) -> None:
    _, lines = train(tmp_path / "run", max_train_steps=1, snr_gamma=None)
    (stage,), dataset = tiny_model(size=16).stages, photos()
    expected = []
    for number in range(2):
        batch = dataset.batch(0, number, 1, 1)
        expected.append(training_step(stage, stage.process, batch, stage.condition(batch.prompts), 1.0, 0, number)[0])
    assert lines[0]["loss"] == pytest.approx(sum(expected).item() / 2, rel=1e-5)  # type: ignore[union-attr]
    assert lines[0]["subject"] + lines[0]["prior"] == pytest.approx(lines[0]["loss"], rel=1e-5)


def test_a_frozen_text_encoder_is_asked_once_and_stays(tmp_path: Path) -> None:
    model, lines = train(tmp_path / "frozen", max_train_steps=2, train_text_encoder=False)
    _, full_lines = train(tmp_path / "full", max_train_steps=2)
    assert lines[0]["loss"] == pytest.approx(full_lines[0]["loss"], rel=1e-5)
    assert lines[1]["loss"] != full_lines[1]["loss"]
    fresh = weights(tiny_model(size=16))
    changed = {name.split(".")[0] for name, value in weights(model).items() if value != fresh[name]}
    assert changed == {"denoiser"}


def test_without_the_prior_only_the_subject_is_seen(tmp_path: Path) -> None:
    _, lines = train(tmp_path / "run", max_train_steps=1, with_prior_preservation=False)
    assert "prior" not in lines[0]
    assert lines[0]["subject"] == pytest.approx(lines[0]["loss"])


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path) -> None:
    _, plain = train(tmp_path / "plain", max_train_steps=2)
    _, recomputed = train(tmp_path / "recomputed", max_train_steps=2, gradient_checkpointing=True)
    for mine, theirs in zip(plain, recomputed, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


def test_the_text_encoder_may_have_its_own_rate(tmp_path: Path) -> None:
    model, _ = train(tmp_path / "run", max_train_steps=1, text_encoder_lr=1e-12)
    fresh = tiny_model(size=16).pipeline.text_encoder.state_dict()
    for name, tensor in model.stages[0].parts["text_encoder"].state_dict().items():
        torch.testing.assert_close(tensor, fresh[name], rtol=0, atol=1e-9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_mixed_precision_without_a_gpu_is_refused_early() -> None:
    with pytest.raises(ConfigError, match="mixed_precision: 'fp16' needs a GPU"):
        check_machine(Config.build({"mixed_precision": "fp16"}))


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2"):
        check_machine(Config.build({}))
