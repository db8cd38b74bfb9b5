"""Section 3.3: class images x_pr = x^(z_t1, c_pr), drawn by the frozen model, in the paper with the ancestral sampler.

Beside each picture lies the latent that the sampler ended on, where the model has latents: that is x_pr, and training
takes it as it is. To encode the picture again would lose what the autoencoder loses, and draw around it besides.

They depend on the model, the class and the sampler, not on the subject: all subjects of a class share one library
folder, whose name is a hash of what its images were drawn with. An image's file name holds its index and a hash of its
content, so a stray or damaged file is never taken for one, and any number of processes may fill the folder at once.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from dreambooth.config import Prior, Training
from dreambooth.data import latents
from dreambooth.errors import DiskError, ModelError
from dreambooth.generation.drawing import Drawn, draw_in_place, is_blank
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.run import Run
from dreambooth.run.class_images import ClassImage, ClassImages, DrawnWith
from dreambooth.run.files import JsonFile
from dreambooth.run.places import found, written
from dreambooth.run.records import CLASS_IMAGES
from dreambooth.subject import Subject
from dreambooth.support.cache import default_library
from dreambooth.support.files import atomic_write, key_of, require_space, sha256, sweep
from dreambooth.support.model_index import LATER_STAGE
from dreambooth.support.progress import log, track

FIRST_SEED = 1_000_000
"""Image i is drawn with seed FIRST_SEED + i in every library; the seeds of samples are small numbers."""

MANIFEST = JsonFile("manifest.json", DrawnWith)
"""What a folder of the library says of itself."""

ABANDONED = 3600.0
"""Seconds after which a half-written image is a killed process's; another may be writing a younger one just now."""

_NAME = re.compile(r"(\d{6})-([0-9a-f]{16})\.png")


def class_prior(
    model: DiffusionModel,
    subject: Subject,
    settings: Prior,
    run: Run,
    root: Path | None = None,
    seen: int | None = None,
) -> tuple[Path, ...]:
    """The files of `num_class_images` class images, drawing those the library lacks; none where none is needed.

    What `drawn_images` says, for a run: writes its prior.json.
    """
    if not settings.draws_class_images:
        return ()
    record = drawn_images(model, subject, settings, root, seen)
    CLASS_IMAGES.write(run.root, replace(record, folder=written(record.folder, run.root)))
    return tuple(record.folder / image.name for image in record.files)


def drawn_images(
    model: DiffusionModel, subject: Subject, settings: Prior, root: Path | None = None, seen: int | None = None
) -> ClassImages:
    """The class images of any subject of a class, drawing those the library lacks.

    model: as it was pre-trained; call this before any weight moves. seen: how many rows of the class a training will
    see; of images that it never sees none is drawn [default: all are]. root: the folder of all class images, [default:
    $DREAMBOOTH_CACHE, $XDG_CACHE_HOME/dreambooth or ~/.cache/dreambooth, and in it class-images]. A call
    that was stopped resumes with the first missing image. Raises DiskError, and ModelError where the model draws
    nothing.
    """
    library = ClassImageLibrary.of(model, subject, settings, root or default_library())
    count, size = images_needed(settings, seen), library.drawn_with.batch_size
    whole = -(-count // size) * size  # the last batch is drawn whole and kept, for a next run
    kept = library.intact(whole)
    if any(index not in kept for index in range(count)):
        missing = [index for index in range(whole) if index not in kept]
        library.prepare(len(missing))
        images = _drawn(model, library, whole, missing)
        for index in track(missing, f'class images "{library.drawn_with.prompt}"', len(kept), size):
            drawn = next(images)
            kept[index] = library.add(index, Image.fromarray(drawn.image), drawn.x0)
    return library.record(model.name, [kept[index] for index in range(count)])


def class_images_of(run: Run) -> tuple[Path, ...]:
    """The files that `class_prior` left to a run, as prior.json has them; none where none is needed."""
    if not run.config.prior.draws_class_images:
        return ()
    record = CLASS_IMAGES.read(run.root)
    return tuple(found(record.folder, run.root) / image.name for image in record.files)


def seen_in(training: Training, subjects: int = 1) -> int:
    """How many rows of the class a training sees, of each of its subjects, which take turns; of a cascade, its longest
    stage."""
    own = {"base": training.max_train_steps, LATER_STAGE: training.super_resolution_steps or 0}
    steps = max(own.get(name) or training.max_train_steps for name in training.stages or own)
    batches = steps * training.gradient_accumulation_steps
    return -(-batches // subjects) * training.train_batch_size


def images_needed(settings: Prior, seen: int | None) -> int:
    """How many class images are drawn for a training that sees so many rows of the class."""
    return settings.num_class_images if seen is None else max(1, min(settings.num_class_images, seen))


def lacking(model: DiffusionModel, subject: Subject, settings: Prior, seen: int, root: Path | None = None) -> int:
    """How many class images `class_prior` would draw, by the names of those that are there."""
    if not settings.draws_class_images:
        return 0
    library = ClassImageLibrary.of(model, subject, settings, root or default_library())
    count, size = images_needed(settings, seen), library.drawn_with.batch_size
    whole = -(-count // size) * size
    names = (_NAME.fullmatch(file.name) for file in library.folder.glob("*.png"))
    there = {int(name[1]) for name in names if name}
    return 0 if there >= set(range(count)) else whole - len(there & set(range(whole)))


def _drawn(model: DiffusionModel, library: "ClassImageLibrary", whole: int, missing: Sequence[int]) -> Iterator[Drawn]:
    """The missing images of `whole`, in order; raises ModelError at the first that shows nothing."""
    prompt, size = library.drawn_with.prompt, library.drawn_with.batch_size
    prompts, seeds = [prompt] * whole, [FIRST_SEED + index for index in range(whole)]
    for drawn in draw_in_place(model, prompts, seeds, library.sampling, size, set(missing)):
        if is_blank(drawn.image):
            raise ModelError(
                f'{model.name} draws "{prompt}" as one colour throughout, so it has no class to keep, and nothing was '
                "saved. Check the prediction_type of its scheduler and its dtype, or choose another base model."
            )
        yield drawn


@dataclass(frozen=True, kw_only=True)
class ClassImageLibrary:
    """The images of one model, class prompt, sampler and size of batch; root: the folder of all libraries."""

    root: Path
    sampling: Sampling
    drawn_with: DrawnWith

    @classmethod
    def of(cls, model: DiffusionModel, subject: Subject, settings: Prior, root: Path) -> "ClassImageLibrary":
        """That of the model as it is now."""
        sampling = Sampling(
            sampler=settings.class_sampler,
            num_inference_steps=settings.class_num_inference_steps,
            guidance_scale=settings.class_guidance_scale,
        )
        drawn_with = DrawnWith(
            fingerprint=model.fingerprint(),
            prompt=subject.class_prompt,
            **asdict(sampling),
            batch_size=min(settings.sample_batch_size, settings.num_class_images),
            size=model.resolution,
            first_seed=FIRST_SEED,
        )
        return cls(root=root, sampling=sampling, drawn_with=drawn_with)

    @property
    def key(self) -> str:
        """A hash of all that the images depend on."""
        return key_of(asdict(self.drawn_with), 12)

    @property
    def folder(self) -> Path:
        """Where its images are."""
        return self.root / self.key

    def intact(self, count: int) -> dict[int, ClassImage]:
        """The whole and unaltered images below `count`, by index; altered ones are removed, to be drawn again."""
        found: dict[int, ClassImage] = {}
        for file in sorted(self.folder.glob("*.png")):
            name = _NAME.fullmatch(file.name)
            if name is None or int(name[1]) >= count:
                continue
            index, digest = int(name[1]), sha256(file)
            if digest[:16] == name[2] and latents.are_whole(file):
                found.setdefault(index, ClassImage(name=file.name, seed=FIRST_SEED + index, sha256=digest))
            else:
                log.warning("%s is not as it was drawn: it is drawn again", file)
                latents.beside(file).unlink(missing_ok=True)
                file.unlink(missing_ok=True)
        return found

    def prepare(self, missing: int) -> None:
        """Make the folder and say in it what it holds; raises DiskError where there is no room or no right to write."""
        advice = "choose another place for class images with the environment variable DREAMBOOTH_CACHE"
        room = missing * self.drawn_with.size**2 * 3
        require_space(self.folder, room, f"generating {missing} class images", advice)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"{self.folder} cannot be made ({error.strerror}): {advice}.") from error
        if not os.access(self.folder, os.W_OK):
            raise DiskError(f"{self.folder} is not yours to write to: {advice}.")
        sweep(self.folder, ABANDONED)
        MANIFEST.write(self.folder, self.drawn_with)

    def add(self, index: int, image: Image.Image, x0: Tensor | None = None) -> ClassImage:
        """Write one image, whole or not at all; x0: the latent (C, h, w) that it was decoded from."""
        seed, text = FIRST_SEED + index, PngInfo()
        text.add_text("prompt", self.drawn_with.prompt)
        text.add_text("seed", str(seed))
        png = io.BytesIO()
        image.save(png, format="PNG", pnginfo=text)
        digest = hashlib.sha256(png.getvalue()).hexdigest()
        name = f"{index:06d}-{digest[:16]}.png"
        if x0 is not None:  # first: where the picture is, its latent is
            latents.write(self.folder / name, x0)
        with atomic_write(self.folder / name) as aside:
            aside.write_bytes(png.getvalue())
        return ClassImage(name=name, seed=seed, sha256=digest)

    def record(self, model_name: str, images: Sequence[ClassImage]) -> ClassImages:
        """What a run keeps about its class images."""
        return ClassImages(
            **asdict(self.drawn_with),
            key=self.key,
            model=model_name,
            count=len(images),
            folder=self.folder.absolute(),
            files=tuple(images),
        )
