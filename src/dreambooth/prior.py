"""Section 3.3: class images x_pr = x^(z_t1, c_pr), drawn by the frozen model with the ancestral sampler.

They depend on the model, the class and the sampler, not on the subject: all subjects of a class share one library
folder, whose name is a hash of what its images were drawn with. An image's file name holds its index and a hash of its
content, so a stray or damaged file is never taken for one, and any number of processes may fill the folder at once.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dreambooth.config import Config
from dreambooth.errors import DiskError, ModelError
from dreambooth.generation.drawing import draw_in_place, is_blank
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.run import Run
from dreambooth.subject import Subject
from dreambooth.support.files import require_space, sha256, write_json, written_aside
from dreambooth.support.progress import log, track

FIRST_SEED = 1_000_000
"""Image i is drawn with seed FIRST_SEED + i in every library; the seeds of samples are small numbers."""

_NAME = re.compile(r"(\d{6})-([0-9a-f]{16})\.png")


def class_prior(
    model: DiffusionModel, subject: Subject, config: Config, run: Run, library: Path | None = None
) -> tuple[Path, ...]:
    """The files of `num_class_images` class images, drawing those the library lacks; none without prior preservation.

    model: as it was pre-trained; call this before any weight moves. library: the folder of all class images,
    [default: $DREAMBOOTH_CACHE, $XDG_CACHE_HOME/dreambooth or ~/.cache/dreambooth, and in it class-images]. A call
    that was stopped goes on with the first image that is lacking. Writes prior.json of the run. Raises DiskError, and
    ModelError where the model draws nothing.
    """
    if not config.prior.with_prior_preservation:
        return ()
    shelf = _Shelf.of(model, subject, config, library or default_library())
    count = config.prior.num_class_images
    whole = -(-count // shelf.batch_size) * shelf.batch_size  # the last batch is drawn whole and kept, for a next run
    kept = shelf.intact(whole)
    if any(index not in kept for index in range(count)):
        missing = [index for index in range(whole) if index not in kept]
        shelf.prepare(len(missing))
        images = _drawn(model, shelf, whole, missing)
        for index in track(missing, f'class images "{shelf.prompt}"', done=len(kept)):
            kept[index] = shelf.add(index, next(images))
    files = tuple(kept[index] for index in range(count))
    write_json(run.root / "prior.json", shelf.record(model.name, files))
    return files


def default_library() -> Path:
    """Where class images are kept between runs."""
    own, shared = os.environ.get("DREAMBOOTH_CACHE"), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(own or Path(shared) / "dreambooth").expanduser() / "class-images"
    except RuntimeError as error:  # no HOME, and a user without an entry
        raise DiskError(
            "there is no home folder to keep class images in: set the environment variable DREAMBOOTH_CACHE to a "
            "folder that you may write to."
        ) from error


def _drawn(model: DiffusionModel, shelf: "_Shelf", whole: int, missing: Sequence[int]) -> Iterator[Image.Image]:
    """The missing images of `whole`, in order; raises ModelError at the first that shows nothing."""
    prompts, seeds = [shelf.prompt] * whole, [FIRST_SEED + index for index in range(whole)]
    for _, image in draw_in_place(model, prompts, seeds, shelf.sampling, shelf.batch_size, set(missing)):
        if is_blank(image):
            raise ModelError(
                f'{model.name} draws "{shelf.prompt}" as one colour throughout, so it has no class to keep, and '
                "nothing of it was saved. Check the prediction_type of its scheduler and its dtype, "
                "or choose another base model."
            )
        yield Image.fromarray(image)


@dataclass(frozen=True, kw_only=True)
class _Shelf:
    """The library's folder for one model, class prompt, sampler and size of batch."""

    library: Path
    fingerprint: str
    prompt: str
    sampling: Sampling
    batch_size: int
    size: int

    @classmethod
    def of(cls, model: DiffusionModel, subject: Subject, config: Config, library: Path) -> "_Shelf":
        sampling = Sampling(
            sampler=config.prior.class_sampler,
            num_inference_steps=config.prior.class_num_inference_steps,
            guidance_scale=config.prior.class_guidance_scale,
        )
        return cls(
            library=library,
            fingerprint=model.fingerprint(),
            prompt=subject.class_prompt,
            sampling=sampling,
            batch_size=min(config.prior.sample_batch_size, config.prior.num_class_images),
            size=model.resolution,
        )

    @property
    def drawn_with(self) -> dict[str, Any]:
        """All that the images depend on."""
        return {
            "fingerprint": self.fingerprint,
            "prompt": self.prompt,
            **asdict(self.sampling),
            "batch_size": self.batch_size,
            "size": self.size,
            "first_seed": FIRST_SEED,
        }

    @property
    def key(self) -> str:
        return hashlib.blake2b(json.dumps(self.drawn_with, sort_keys=True).encode(), digest_size=12).hexdigest()

    @property
    def folder(self) -> Path:
        return self.library / self.key

    def intact(self, count: int) -> dict[int, Path]:
        """The whole and unaltered images below `count`, by index; altered ones are removed, to be drawn again."""
        found: dict[int, Path] = {}
        for file in sorted(self.folder.glob("*.png")):
            name = _NAME.fullmatch(file.name)
            if name is None or int(name[1]) >= count:
                continue
            if sha256(file)[:16] == name[2]:
                found.setdefault(int(name[1]), file)
            else:
                log.warning("%s is not as it was drawn: it is drawn again", file)
                file.unlink(missing_ok=True)
        return found

    def prepare(self, missing: int) -> None:
        """Make the folder and say in it what it holds; raises DiskError where there is no room or no right to write."""
        advice = "choose another place for class images with the environment variable DREAMBOOTH_CACHE"
        require_space(self.folder, missing * self.size**2 * 3, f"drawing {missing} class images ({advice})")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"{self.folder} cannot be made ({error.strerror}): {advice}.") from error
        if not os.access(self.folder, os.W_OK):
            raise DiskError(f"{self.folder} is not yours to write to: {advice}.")
        write_json(self.folder / "manifest.json", self.drawn_with)

    def add(self, index: int, image: Image.Image) -> Path:
        """Write one image, whole or not at all; returns its file."""
        text = PngInfo()
        text.add_text("prompt", self.prompt)
        text.add_text("seed", str(FIRST_SEED + index))
        png = io.BytesIO()
        image.save(png, format="PNG", pnginfo=text)
        file = self.folder / f"{index:06d}-{hashlib.sha256(png.getvalue()).hexdigest()[:16]}.png"
        with written_aside(file) as aside:
            aside.write_bytes(png.getvalue())
        return file

    def record(self, model_name: str, files: Sequence[Path]) -> dict[str, Any]:
        """What a run keeps about its class images."""
        listed = [
            {"name": file.name, "seed": FIRST_SEED + index, "sha256": sha256(file)} for index, file in enumerate(files)
        ]
        return {
            "key": self.key,
            "model": model_name,
            **self.drawn_with,
            "count": len(files),
            "folder": str(self.folder.absolute()),
            "files": listed,
        }
