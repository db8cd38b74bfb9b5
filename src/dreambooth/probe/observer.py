"""The observer that measures: draws a few pictures, scores them, keeps the best weights, and says what it saw."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import final

from dreambooth.adapters import Adapter
from dreambooth.errors import RunError
from dreambooth.evaluation import WAY, Judges, ways
from dreambooth.generation.prompts import CLASS_PROMPT, Prompt, probe_prompts
from dreambooth.generation.samples import Sample
from dreambooth.models.base import DiffusionModel
from dreambooth.probe.diagnosis import checks, diagnose
from dreambooth.probe.lines import Probed, read_probes
from dreambooth.probe.measuring import Reference, measure, real_row
from dreambooth.probe.rule import RULE, Shares, best_step, may_stop, reason, shares
from dreambooth.run import Run, checkpoint
from dreambooth.run.checkpoint import Checkpoint
from dreambooth.support.files import require_space, write_json
from dreambooth.support.progress import log

Draw = Callable[[DiffusionModel, str, Sequence[Prompt], int], list[Sample]]
"""Draws every prompt from so many seeds, to samples/<stage>: (model, stage, prompts, seeds)."""


@final
class Probe:
    """Measures a run from the untuned model to the last step, and recommends a step of it.

    Whatever it decides it reads from scores.jsonl, so that a resumed run decides as an uninterrupted one. best/ holds
    the weights of the best step so far, whole and verified; those of other steps are not kept.
    """

    def __init__(self, run: Run, judges: Judges, draw: Draw) -> None:
        self.run, self.judges, self.draw = run, judges, draw
        self.config = run.config
        self.reference = Reference.of(judges, run.subject, self.config.base.model)
        self.best = run.root / "best"

    def before(self, untuned: DiffusionModel) -> None:
        """Measure what every later probe is compared with, unless it is known: the photos, and the untuned model.

        Raises RunError where the probes so far are of other judges: numbers of different judges do not compare.
        """
        self._require_same_judges()
        self.run.forget_after(self.config.training.max_train_steps)  # drops a line that a crash cut short
        known = {probed.step for probed in read_probes(self.run)}
        if "real" not in known:
            self._write(Probed(step="real", scores=real_row(self.reference.photos)))
        if 0 not in known:
            self._write(self._measure(0, untuned))

    def watching(self, adapter: Adapter) -> Callable[[int, DiffusionModel], bool]:
        """The observer of a fine-tuning of `adapter`; raises DiskError where the best weights would find no room."""
        self._mend()
        size = sum(tensor.nbytes for tensor in adapter.state().values())
        copies = 2 if checkpoint.newest_step(self.best) is None else 1  # a new one is written before the old one goes
        require_space(self.best, copies * size, "keeping the best step's weights")

        def observe(step: int, model: DiffusionModel) -> bool:
            if step not in shares(read_probes(self.run)):
                self._write(self._measure(step, model))
            found = {at: its for at, its in shares(read_probes(self.run)).items() if at <= step}
            self._keep(step, found, adapter)
            settings = self.config.probe
            return settings.early_stopping and may_stop(found, settings.early_stopping_patience)

        return observe

    def conclude(self, adapter: Adapter) -> int:
        """Put the recommended step's weights into the model and write recommendation.json and diagnosis.json.

        Returns that step. Call it after the fine-tuning that `watching` observed.
        """
        probes = {probed.step: probed for probed in read_probes(self.run)}
        found, step = shares(list(probes.values())), checkpoint.newest_step(self.best)
        last = max(found)
        assert step is not None, "the last probe keeps its weights where no other has"
        if step != last:
            adapter.load(checkpoint.read(self.best / f"checkpoint-{step}").tensors["weights"])
        why = reason(step, probes, self.run.subject)
        told = {
            "step": step,
            "rule": RULE,
            "scores": {k: v for k, v in asdict(probes[step].scores).items() if v is not None},
            "ways": ways(probes[step].scores, probes[0].scores, probes["real"].scores),
            "way": WAY,
            "kept": probes[step].kept(probes[0]),
            "last": last,
            "stopped_early": last < self.config.training.max_train_steps,
            "reason": why,
            "judges": self.judges.names,
        }
        write_json(self.run.root / "recommendation.json", told)
        findings, checked = diagnose(probes, step), checks(probes[step], probes[0], probes["real"])
        diagnosis = {"findings": findings, "checked": checked}
        told = {name: [check.record for check in those] for name, those in diagnosis.items()}
        write_json(self.run.root / "diagnosis.json", told)
        log.info("recommended: %s", why)
        log.info("(%s)", WAY)
        for finding in findings:
            log.warning("%s: %s %s", finding.failure, finding.says, finding.change)
        return step

    def _require_same_judges(self) -> None:
        mine = self.judges.names
        began = self.run.began_with("judges.json", mine)
        changes = [f"  - {judge}: {name}, was {began[judge]}" for judge, name in mine.items() if began[judge] != name]
        if changes:
            listed = "\n".join(changes)
            raise RunError(
                f"{self.run.root} was measured by other judges so far, and their numbers do not compare:\n{listed}\n"
                "To go on with it, put back the weights they had; to measure anew from where it stands, delete "
                "judges.json, scores.jsonl and best/ in it; to start anew, choose another --output-dir."
            )

    def _measure(self, step: int, model: DiffusionModel) -> Probed:
        """Draw and score; step 0 asks the untuned model for the class noun, as a new name means nothing to it."""
        began, settings = time.monotonic(), self.config.probe
        prompts = probe_prompts(self.config.base.model)
        asked = [Prompt("class", prompt.template) for prompt in prompts] if step == 0 else prompts
        alone = [prompt for prompt in asked if prompt.template == CLASS_PROMPT.template]
        stage = f"step-{step:06d}"
        of_class = self.draw(model, stage, [CLASS_PROMPT], settings.probe_class_images)
        samples = self.draw(model, stage, alone, settings.probe_class_images)
        samples += self.draw(
            model, stage, [prompt for prompt in asked if prompt not in alone], settings.probe_images_per_prompt
        )
        probed = measure(step, self.reference, samples, of_class)
        return replace(probed, seconds=time.monotonic() - began)

    def _keep(self, step: int, found: Mapping[int, Shares], adapter: Adapter) -> None:
        kept = checkpoint.newest_step(self.best)
        if kept is not None and kept > step:  # of steps that a crash took back: they will be trained again
            shutil.rmtree(self.best)
            kept = None
        if kept is None or found[step].merit > found[kept].merit:
            state = Checkpoint(step=step, settings="", tensors={"weights": adapter.state()})
            checkpoint.write(self.best, state, keep=1)

    def _mend(self) -> None:
        """Where best/ is damaged, or not the best of scores.jsonl, have the training go back to before that step."""
        done, kept = checkpoint.newest_step(self.run.checkpoints) or 0, checkpoint.newest_step(self.best)
        found = {step: its for step, its in shares(read_probes(self.run)).items() if step <= done}
        if kept is not None and kept > done:  # of steps that will be trained again
            return
        if not found:
            shutil.rmtree(self.best, ignore_errors=True)
            return
        step = best_step(found)
        try:
            if kept == step and checkpoint.read(self.best / f"checkpoint-{step}"):
                return
            why = f"{self.best} does not hold the weights of step {step}, the best one so far."
        except RunError as error:
            why = str(error)
        log.warning("%s The training goes back to make them again.", why)
        shutil.rmtree(self.best, ignore_errors=True)
        checkpoint.forget_after(self.run.checkpoints, step)

    def _write(self, probed: Probed) -> None:
        with self.run.scores.open("a", encoding="utf-8") as file:
            file.write(probed.line)
