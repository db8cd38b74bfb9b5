"""The jobs of a fleet: the class images of a class, and a subject that needs them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth import models, recipe
from dreambooth.config import Config
from dreambooth.errors import Interrupted, RunError
from dreambooth.executors import Job
from dreambooth.fleet.manifest import Member
from dreambooth.fleet.outcome import outcome_of
from dreambooth.fleet.photos import at_hand
from dreambooth.fleet.stored import is_in, upload
from dreambooth.fleet.strips import strip_of
from dreambooth.prior import drawn_images, images_needed, seen_in
from dreambooth.run import Run, contents
from dreambooth.run.lock import locked
from dreambooth.run.status import BY_FILE, read_status
from dreambooth.subject import Subject
from dreambooth.support.device import device
from dreambooth.support.files import key_of
from dreambooth.support.progress import shown_in
from dreambooth.support.storage import Storage

PATIENCE = 300.0
"""Seconds to wait for a process of a fleet that was killed, and is about to end, or to finish this very subject."""


@dataclass(frozen=True, kw_only=True)
class ClassOf:
    """What subjects share class images by, as far as it is known before the model is open, and the most they need.

    config: of the subject that needs most.
    """

    class_noun: str
    config: Config
    count: int

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f'class images "a {self.class_noun}"'


def class_key(member: Member) -> str | None:
    """Equal for subjects that share class images; None for one that needs none."""
    config, prior = member.config, member.config.prior
    if not prior.draws_class_images:
        return None
    sampling = [prior.class_sampler, prior.class_num_inference_steps, prior.class_guidance_scale]
    batch = min(prior.sample_batch_size, prior.num_class_images)
    base = config.base.model_dump(mode="json")
    return key_of([base, config.data.resolution, member.subject.class_noun, sampling, batch], 6)


def classes_of(members: Iterable[Member]) -> dict[str, ClassOf]:
    """The classes that subjects need, by `class_key`, in the order of their first subjects."""
    found: dict[str, ClassOf] = {}
    for member in members:
        if key := class_key(member):
            config = member.config
            count = images_needed(config.prior, seen_in(config.training))
            if key not in found or count > found[key].count:
                found[key] = ClassOf(class_noun=member.subject.class_noun, config=config, count=count)
    return found


def class_job(key: str, its: ClassOf, logs: Path) -> Job:
    """Draws what the library of a class lacks."""
    return Job(key=f"class-{key}", label=its.label, work=draw_class_images, given=(its, logs / f"class-{key}.txt"))


def subject_job(member: Member, out: Path, logs: Path, storage: Storage | None) -> Job:
    """Carries out a subject in its run folder, and uploads what it made."""
    given = (member, out / member.folder, logs / f"{member.folder}.txt", storage)
    return Job(key=member.folder, label=member.name, work=learn, given=given)


def draw_class_images(its: ClassOf, said: Path) -> None:
    """The job of a class."""
    said.parent.mkdir(parents=True, exist_ok=True)  # on a machine that shares no disk
    with shown_in(said):
        model = models.load(its.config.base, its.config.data.resolution)
        model.to(device())
        subject = Subject(photos=(), class_noun=its.class_noun)
        drawn_images(model, subject, its.config.prior, seen=its.count)


def learn(member: Member, root: Path, said: Path, storage: Storage | None) -> None:
    """The job of a subject; nothing where another process has finished it meanwhile.

    A file "stop" in its run folder fails it alone.
    """
    said.parent.mkdir(parents=True, exist_ok=True)
    with shown_in(said):
        if storage is None:
            if not is_finished(Run(root)):
                _carry_out(member, root)
        elif not is_in(storage, member.folder):
            member = at_hand(member, root.parent, storage)
            if not (is_finished(Run(root)) and Run(root).is_personalised):  # no damaged model is uploaded
                _carry_out(member, root)
            with locked(root / contents.LOCK, PATIENCE):
                outcome = outcome_of(member, root.parent, finished=True, problem=None)
                upload(Run(root), outcome, strip_of(Run(root), outcome, member.subject.photos[0]), storage)


def _carry_out(member: Member, root: Path) -> None:
    try:
        recipe.dreambooth(member.subject, member.config, root, patience=PATIENCE)
    except (Interrupted, KeyboardInterrupt) as stop:
        if f"stopped by {BY_FILE}" not in str(stop):
            raise
        raise RunError(str(stop)) from stop  # it was this subject that somebody stopped


def is_finished(run: Run) -> bool:
    """Whether nothing is left to do, by what is there: to hash the weights of thousands would take hours."""
    status = read_status(run.root)
    made: Sequence[Path] = (run.model, run.samples / "after", run.report)
    return status is not None and status.is_whole and all(path.exists() for path in made)
