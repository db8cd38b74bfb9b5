"""What a run has still to do, counted: pictures by stage, probes and steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from dreambooth.config import Config
from dreambooth.generation.prompts import CLASS_PROMPT, chosen_prompts
from dreambooth.run import Run, checkpoint
from dreambooth.run.records import SAMPLES, SCORES
from dreambooth.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Work:
    """class_images: to be drawn.  samples: likewise, by stage.  probes: how many, the untuned model's included.

    probed: pictures that one probe draws.  live: samples while it trains, where nothing is measured.  steps: optimizer
    steps to come, by the stage of the model that trains.  scored: pictures that the judges see at the end.
    """

    class_images: int
    samples: Mapping[str, int]
    probes: int
    probed: int
    live: int
    steps: Mapping[str, int]
    scored: int

    @property
    def trains(self) -> bool:
        """Whether any step is to come."""
        return any(self.steps.values())

    @classmethod
    def of(
        cls, config: Config, subject: Subject, run: Run, class_images: int, stages: Sequence[str] = ("base",)
    ) -> Self:
        """That of a run, begun or not. class_images: those that its library lacks.  stages: of the model, that train.

        Each stage trains steps of its own, and is probed at its own.
        """
        probe, every = config.probe, config.training.validation_steps
        measured = probe.probe and config.training.max_train_steps > 0
        steps, shown = dict[str, int](), list[int]()
        for name in stages:
            whole = config.of_stage(name).training.max_train_steps
            steps[name] = whole - (done := _done(run, name, whole))
            # probes, or live samples, at every so many steps and the last one
            shown.append(-(-whole // every) - done // every if done < whole else 0)
        prompts = dict.fromkeys(chosen_prompts(config.world, subject.class_noun, config.generation.prompts))
        each = config.generation.num_images_per_prompt
        untuned = {prompt.template for prompt in prompts} - {CLASS_PROMPT.template} if measured else set()
        wanted = {"before": each * len(prompts), "untuned": each * len(untuned), "after": each * len(prompts)}
        probed = len({int(row.step) for row in SCORES.read(run.root) if isinstance(row.step, int)})
        places = len([prompt for prompt in config.world.probe_prompts if prompt.template != CLASS_PROMPT.template])
        return cls(
            class_images=class_images,
            samples={f"samples {name}": max(0, count - _there(run, name)) for name, count in wanted.items()},
            probes=(sum(shown) + (not probed)) if measured else 0,
            probed=2 * probe.probe_class_images + places * probe.probe_images_per_prompt,
            live=0 if measured else 2 * min(2, each) * sum(max(0, count - 1) for count in shown),
            steps=steps,
            scored=sum(wanted.values()) if measured and not (run.root / SAMPLES.name).exists() else 0,
        )

    def and_of(self, other: Self) -> Self:
        """With the pictures of another subject that the same model learns in the same steps."""
        samples = {stage: count + other.samples[stage] for stage, count in self.samples.items()}
        return replace(
            self,
            class_images=self.class_images + other.class_images,
            samples=samples,
            probes=self.probes + other.probes,
            scored=self.scored + other.scored,
        )


def _done(run: Run, stage: str, whole: int) -> int:
    """Steps of a stage that are done and kept; those of several subjects are the run's."""
    if not whole or run.model.is_dir():
        return whole
    return checkpoint.newest_step((run.whole or run).stage(stage).checkpoints) or 0


def _there(run: Run, stage: str) -> int:
    return len(list((run.samples / stage).glob("*.png")))
