"""The unit of an experiment: one subject learned once, from one seed, in one way. Tables are views over cells.

A cell's address is a hash of all that its pictures depend on, so that a cell which several tables need is computed
once, and whatever is finished is found again by any later command.
"""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dreambooth.config import Config, MethodName, Probe, World, idle
from dreambooth.data.masks import masks_beside
from dreambooth.errors import ConfigError
from dreambooth.experiments.protocol import Protocol
from dreambooth.experiments.subjects import NamedSubject
from dreambooth.generation.prompts import Prompt
from dreambooth.subject import Subject
from dreambooth.support.files import key_of, sha256

Noun = Literal["correct", "wrong", "none"]
"""What stands for the class noun in the training (Table 4)."""

SET_HERE = (
    *("seed", "preset", "method", "description", "prompts", "identifier", "with_prior_preservation", "dco_beta"),
    *("validation_steps", "checkpointing_steps", "checkpoints_total_limit", *Probe.model_fields),
)
"""Settings that tell an experiment's cells apart, or that a cell has no use for."""

CASCADE = "dreambooth (cascade)"
"""The row of Table 1 that is tuned on a pixel cascade."""

_OF_THE_BASE_MODEL = ("revision", "variant", "family", "prediction_type", "resolution")
_OF_THE_CASCADE = (
    *("super_resolution", "noise_level", "super_resolution_guidance_scale", "super_resolution_inference_steps"),
    *("super_resolution_identifier", "stages", "super_resolution_steps", "super_resolution_lr"),
)
"""Settings that mean one of the two, where Table 1 has a cascade beside the base model."""

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fine-tuning and its pictures.

    row: what it is in Table 1, a method's name, CASCADE or "untuned".  photos: it trains on the subject's first ones.
    class_noun: what the training uses, "" for none.
    """

    row: str
    subject: NamedSubject
    config: Config
    photos: int
    class_noun: str
    prompts: tuple[Prompt, ...]
    class_pictures: int

    @property
    def kind(self) -> str:
        """Cells of a kind take equally long: "dreambooth", "dreambooth without prior"."""
        may_have_it = "with_prior_preservation" not in idle(self.config.method.method)
        without = may_have_it and not self.config.prior.with_prior_preservation
        return f"{self.row} without prior" if without else self.row

    @property
    def label(self) -> str:
        """What a person calls it: "dreambooth dog-12, seed 0, 2 photos"."""
        noun = "" if self.class_noun == self.subject.class_noun else f", class noun {self.class_noun or 'none'}"
        photos = f"{self.photos} photo{'s' if self.photos != 1 else ''}"
        return f"{self.kind} {self.subject.name}, seed {self.config.seed}, {photos}{noun}"

    @property
    def learned(self) -> Subject:
        """The subject as the training has it."""
        photos, noun = self.subject.photos[: self.photos], self.class_noun or self.subject.class_noun
        return Subject(photos=photos, class_noun=noun, with_class_noun=bool(self.class_noun))

    @property
    def judged(self) -> Subject:
        """The subject as its pictures are scored: all photos, and the true class noun."""
        return Subject(photos=self.subject.photos, class_noun=self.subject.class_noun)

    def address(self, weights: str) -> str:
        """A hash of all that the pictures depend on; weights: the base model's fingerprint.

        Raises OSError where a photo cannot be read.
        """
        masked = self.config.data.masked_loss
        photos = self.subject.photos
        unseen = ("preset", "memory", "tracking", "evaluation", "probe")  # the first two chose some of the others
        elsewhere: Any = dict.fromkeys(unseen, True) | {"base": {"world"}}
        payload = [
            _FORMAT,
            weights,
            self.config.model_dump(mode="json", exclude=elsewhere),
            [[*map(sha256, (photo, *masks_beside([photo])))] if masked else sha256(photo) for photo in photos],
            [self.photos, self.class_noun, self.subject.class_noun, self.class_pictures],
            [asdict(prompt) for prompt in self.prompts],
        ]
        return key_of(payload, 10)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Makes the cells of an experiment from what varies between them.

    settings: flat, over the presets of every method.  world: whose words the prompts and wrong classes are.
    cascade: the base model of the row CASCADE; None: there is none.
    """

    settings: Mapping[str, Any]
    protocol: Protocol
    world: World
    cascade: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for settings that an experiment sets itself."""
        if given := [name for name in SET_HERE if name in self.settings]:
            raise ConfigError([f"{name}: an experiment sets it for each of its cells; leave it out" for name in given])

    def cell(
        self,
        subject: NamedSubject,
        seed: int,
        row: str = "dreambooth",
        *,
        photos: int | None = None,
        noun: Noun = "correct",
        prior: bool = True,
    ) -> Cell:
        """One cell; photos: by default the protocol's number, or as many as there are."""
        wanted = photos or self.protocol.photos or len(subject.photos)
        return Cell(
            row=row,
            subject=subject,
            config=self._config(subject, seed, row, prior),
            photos=min(wanted, len(subject.photos)),
            class_noun={"correct": subject.class_noun, "wrong": self._wrong(subject, seed), "none": ""}[noun],
            prompts=self.world.scored_prompts(subject.class_noun, self.protocol.whole_lists),
            class_pictures=self.protocol.class_pictures,
        )

    def _config(self, subject: NamedSubject, seed: int, row: str, prior: bool) -> Config:
        method: MethodName = {"untuned": "prompt_only", CASCADE: "dreambooth"}.get(row, row)  # type: ignore[assignment]
        words = {"untuned": subject.class_noun, "prompt_only": subject.description}.get(row)
        mine: dict[str, Any] = {"seed": seed, "method": method, "description": words, "probe": False}
        if not prior:
            mine["with_prior_preservation"] = False
        images = {"num_images_per_prompt": self.protocol.images_per_prompt}
        if row == CASCADE:
            mine["model"] = self.cascade
        config = Config.build({**images, **self._usable(method, row), **mine})
        last = max(1, config.training.max_train_steps)
        once = {"checkpointing_steps": last, "checkpoints_total_limit": 1, "validation_steps": last}
        return config.model_copy(update={"training": config.training.model_copy(update=once)})

    def _usable(self, method: MethodName, row: str) -> dict[str, Any]:
        """The given settings without those that mean nothing to `method` or `row`: one command sets them for all."""
        others = _OF_THE_BASE_MODEL if row == CASCADE else _OF_THE_CASCADE if self.cascade else ()
        return {name: value for name, value in self.settings.items() if name not in (*idle(method), *others)}

    def _wrong(self, subject: NamedSubject, seed: int) -> str:
        others = [noun for noun in self.world.classes if noun != subject.class_noun]
        return random.Random(f"wrong class/{subject.name}/{seed}").choice(others)
