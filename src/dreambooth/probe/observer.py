"""The observer that measures: draws a few pictures, scores them, keeps the best weights, and says what it saw."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import final

from dreambooth.adapters import Adapter
from dreambooth.errors import RunError
from dreambooth.generation.in_run import live_samples, probe_samples
from dreambooth.generation.prompts import CLASS_PROMPT, Prompt
from dreambooth.models.base import DiffusionModel
from dreambooth.probe.measuring import Reference, measure, real_row
from dreambooth.probe.rule import Shares, best_step, may_stop, mean_shares, shares
from dreambooth.probe.verdict import write_verdict
from dreambooth.run import Run, checkpoint
from dreambooth.run.checkpoint import Checkpoint
from dreambooth.run.choice import in_use, weights_of
from dreambooth.run.companions import each
from dreambooth.run.kept import of_step
from dreambooth.run.records import JUDGES, SCORES, JudgeNames, Probed
from dreambooth.run.timing import timed
from dreambooth.support.files import require_space
from dreambooth.support.progress import log


@final
class Probe:
    """Measures a run from the untuned model to the last step, and recommends a step of it.

    Whatever it decides it reads from scores.jsonl, so that a resumed run decides as an uninterrupted one. best/ holds
    the weights of the best step so far, whole and verified; those of other steps are not kept.

    others: probes of the further subjects, which measure the same steps; one step is recommended for all.
    """

    def __init__(self, run: Run, reference: Reference, others: Sequence["Probe"] = ()) -> None:
        self.run, self.reference, self.others = run, reference, others
        self.config = run.config
        self.best = run.best

    def before(self, untuned: DiffusionModel) -> None:
        """Measure what every later probe is compared with, unless it is known: the photos, and the untuned model.

        Raises RunError where the probes so far are of other judges: numbers of different judges do not compare.
        """
        self._require_same_judges()
        self.run.forget_after(self.config.training.max_train_steps)  # drops a line that a crash cut short
        known = {probed.step for probed in SCORES.read(self.run.root)}
        if "real" not in known:
            SCORES.append(self.run.root, real_row(self.reference.photos))
        if 0 not in known:
            SCORES.append(self.run.root, self.look(0, untuned))
        for other in self.others:
            other.before(untuned)

    def of_stage(self, its: Run) -> "Probe":
        """The probe of one stage of the model: its scores, samples, best/ and verdict are in the folder of the stage.

        its: what `Run.stage` returns.  Every stage is measured against the photos and the untuned model as a whole.
        """
        if its == self.run:
            return self
        known = {probed.step for probed in SCORES.read(its.root)}
        for probed in SCORES.read(self.run.root):
            if probed.step in ("real", 0) and probed.step not in known:
                SCORES.append(its.root, probed)
        return Probe(
            its, self.reference, [other.of_stage(run) for other, run in zip(self.others, each(its)[1:], strict=True)]
        )

    def watching(self, adapter: Adapter) -> Callable[[int, DiffusionModel], bool]:
        """The observer of a fine-tuning of `adapter`.

        Where best/ does not hold the weights that scores.jsonl says are the best so far, it deletes the checkpoints
        after that step, so that they are trained again. Raises DiskError where the best weights would find no room.
        """
        self._rewind_to_lost_best()
        size = sum(tensor.nbytes for tensor in adapter.state().values())
        copies = 2 if checkpoint.newest_step(self.best) is None else 1  # a new one is written before the old one goes
        require_space(self.best, copies * size, "keeping the best step's weights")

        def observe(step: int, model: DiffusionModel) -> bool:
            for its in (self, *self.others):
                if step not in shares(SCORES.read(its.run.root)):
                    SCORES.append(its.run.root, its.look(step, model))
            found = {at: its for at, its in self._found().items() if at <= step}
            self._keep(step, found, adapter)
            settings = self.config.probe
            return settings.early_stopping and may_stop(found, settings.early_stopping_patience)

        return observe

    def conclude(self, adapter: Adapter) -> int:
        """Put the weights of the recommended step, or of the one that a person chose, into the model, and write
        recommendation.json and diagnosis.json.

        Returns that step. Call it after the fine-tuning that `watching` observed.
        """
        step = in_use(self.run)
        assert step is not None, "the last probe keeps its weights where no other has"
        if step != max(self._found()):
            adapter.load(weights_of(self.run, step))
        for its in (self, *self.others):
            write_verdict(its.run, step, its.reference.judges.names)
        return step

    def _found(self) -> dict[int, Shares]:
        """The shares at every step that is measured, of several subjects the means."""
        measured = [shares(SCORES.read(its.run.root)) for its in (self, *self.others)]
        steps = [step for step in measured[0] if all(step in its for its in measured)]
        return {step: mean_shares([its[step] for its in measured]) for step in steps}

    def _require_same_judges(self) -> None:
        mine = self.reference.judges.names
        began = asdict(self.run.began_with(JUDGES, JudgeNames(**mine)))
        changes = [f"  - {judge}: {name}, was {began[judge]}" for judge, name in mine.items() if began[judge] != name]
        if changes:
            listed = "\n".join(changes)
            raise RunError(
                f"{self.run.root} was measured by other judges, and numbers of different judges do not compare:\n"
                f"{listed}\nTo resume it, put back the weights they had; to measure again from this step on, delete "
                "judges.json, scores.jsonl and best/ in it; to start over, choose another --output-dir."
            )

    def look(self, step: int, model: DiffusionModel) -> Probed:
        """Draw and score the model at `step`.

        At step 0 it is the untuned one, and is asked for the class noun: a new name means nothing to it.
        """
        began, settings = time.monotonic(), self.config.probe
        prompts = self.config.world.probe_prompts
        asked = [Prompt("class", prompt.template) for prompt in prompts] if step == 0 else prompts
        alone = [prompt for prompt in asked if prompt.template == CLASS_PROMPT.template]
        stage = f"step-{step:06d}"
        elsewhere = [prompt for prompt in asked if prompt not in alone]
        of_class = probe_samples(self.run, model, stage, [CLASS_PROMPT], settings.probe_class_images)
        samples = probe_samples(self.run, model, stage, alone, settings.probe_class_images)
        samples += probe_samples(self.run, model, stage, elsewhere, settings.probe_images_per_prompt)
        probed = measure(step, self.reference, samples, of_class)
        return replace(probed, seconds=round(time.monotonic() - began, 3))

    def _keep(self, step: int, found: Mapping[int, Shares], adapter: Adapter) -> None:
        """Write the weights of `step` to best/ where RULE prefers it to the step that is there."""
        kept = checkpoint.newest_step(self.best)
        if kept is not None and kept > step:  # of steps that a crash took back: they will be trained again
            shutil.rmtree(self.best)
            kept = None
        if step != kept and step == best_step({at: its for at, its in found.items() if at in (kept, step)}):
            state = Checkpoint(step=step, settings="", tensors={"weights": adapter.state()})
            checkpoint.write(self.best, state, keep=1)

    def _rewind_to_lost_best(self) -> None:
        """Delete best/ and all checkpoints after the best step where the weights of that step are lost or damaged."""
        done, kept = checkpoint.newest_step(self.run.checkpoints) or 0, checkpoint.newest_step(self.best)
        found = {step: its for step, its in self._found().items() if step <= done}
        if kept is not None and kept > done:  # of steps that will be trained again
            return
        if not found:
            shutil.rmtree(self.best, ignore_errors=True)
            return
        step = best_step(found)
        try:
            if kept == step and checkpoint.read(of_step(self.best, step)):
                return
            why = f"{self.best} does not hold the weights of step {step}, the best one so far."
        except RunError as error:
            why = str(error)
        log.warning("%s The training goes back to make them again.", why)
        shutil.rmtree(self.best, ignore_errors=True)
        checkpoint.forget_after(self.run.checkpoints, step)


def observing(run: Run, adapter: Adapter, probe: Probe | None) -> Callable[[int, DiffusionModel], bool | None]:
    """What watches the fine-tuning: the probe, or without one live samples of the first prompt and the class prompt."""
    if probe is None:
        return lambda step, model: live_samples(run, step, model)
    watching = probe.watching(adapter)

    def measure(step: int, model: DiffusionModel) -> bool:
        with timed(run, "probe"):
            return watching(step, model)

    return measure
