"""Work and arithmetic together: what each stage of a run computes, and the most that it holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dreambooth.config import Config
from dreambooth.generation.requests import sampling_of
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.models.pipelines import PIXELS_AT_ONCE
from dreambooth.plan.costs import Costs
from dreambooth.plan.work import Work
from dreambooth.support.device import device, memory

PNG = 2.0
"""Bytes of a pixel on the disk, of 3: PNG keeps about two thirds of what is drawn."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A run's needs on any machine. photos: rows that are encoded for it.  lora: the model is saved all the same."""

    config: Config
    work: Work
    costs: Costs
    model: DiffusionModel
    photos: int

    @cached_property
    def drawn(self) -> dict[str, float]:
        """FLOP to draw the pictures of each stage."""
        config, work = self.config, self.work
        usual, few = sampling_of(config.generation), config.probe.probe_num_inference_steps
        quick = Sampling(sampler="", num_inference_steps=few, guidance_scale=usual.guidance_scale)
        of_class = Sampling(
            sampler=config.prior.class_sampler,
            num_inference_steps=config.prior.class_num_inference_steps,
            guidance_scale=config.prior.class_guidance_scale,
        )
        return {
            "prior": self._pictures(work.class_images, of_class),
            **{stage: self._pictures(count, usual) for stage, count in work.samples.items()},
            "probe": self._pictures(work.probes * work.probed, quick),
            "finetune": self._pictures(work.live, usual) + self.photos * self.costs.picture,
        }

    def _pictures(self, count: int, sampling: Sampling) -> float:
        return self.costs.pictures(count, [stage.looks(sampling) for stage in self.model.stages])

    @property
    def trained(self) -> float:
        """FLOP of all steps to come."""
        return self.flop_of(self.work.steps)

    def flop_of(self, steps: Mapping[str, int]) -> float:
        """FLOP of so many steps of each stage of the model."""
        each = zip(self.model.stages, self.costs.steps, strict=True)
        whole = sum(flop * steps.get(stage.name, 0) for stage, flop in each)
        return self.config.training.gradient_accumulation_steps * whole

    def seconds(self, speed: Mapping[str, float], opened: Mapping[str, float]) -> dict[str, float]:
        """By stage. speed: seconds a unit of "draw", "step" and "judge", and where known a run's "around" its steps.
        opened: what opening things has taken."""
        seconds = {stage: flop * speed["draw"] for stage, flop in self.drawn.items() if flop}
        judged = self.work.probes * self.work.probed
        more = {
            "load": 2 * opened.get("load", 0.0),  # the personal model is opened as the base model was
            "probe": opened.get("probe", 0.0) + judged * speed["judge"],
            "finetune": self.trained * speed["step"] + speed.get("around", 0.0) * self.work.trains,
            "score": self.work.scored * speed["judge"],
        }
        return seconds | {stage: value + seconds.get(stage, 0.0) for stage, value in more.items() if value}

    @property
    def memory(self) -> int:
        """Bytes of the device's memory at most; of the CPU with all that the process holds already."""
        parts, at = self.model.weights.parts.values(), device()
        weights = sum(p.nbytes for part in parts for p in part.parameters() if p.device.type == at.type)
        return max(0, memory(at) - weights) + self.of_run

    @property
    def of_run(self) -> int:
        """Bytes of the run itself at most, on any device."""
        at_once = max(1, min(self.config.prior.sample_batch_size, PIXELS_AT_ONCE // self.model.resolution**2))
        drawing = self.costs.drawing(at_once, while_training=self.work.probes > 0)
        return max(drawing, self.costs.training if self.work.trains else 0)

    @property
    def disk(self) -> int:
        """Bytes of the run folder, and of new class images, at most: every stage keeps checkpoints of its own."""
        training, work, costs, whole = self.config.training, self.work, self.costs, 0.0
        for stage, saved, trained in zip(self.model.stages, costs.saved, costs.trained, strict=True):
            written = -(-work.steps.get(stage.name, 0) // training.checkpointing_steps)
            whole += min(training.checkpoints_total_limit + 1, written) * saved
            whole += 2 * trained if work.probes else 0
        pictures = work.class_images + sum(work.samples.values()) + work.probes * work.probed + work.live
        return round(whole + costs.written + pictures * PNG * self.model.resolution**2)
