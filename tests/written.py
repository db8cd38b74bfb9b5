"""Records as a run would have written them."""

from pathlib import Path

from dreambooth.run.class_images import ClassImage, ClassImages


def class_images(folder: Path, *names: str) -> ClassImages:
    """What a library of the toybox says of these files."""
    return ClassImages(
        fingerprint="0f",
        prompt="a dog",
        sampler="ddpm",
        num_inference_steps=2,
        guidance_scale=7.5,
        batch_size=4,
        size=64,
        first_seed=0,
        key="k",
        model="toybox",
        count=len(names),
        folder=folder,
        files=tuple(ClassImage(name=name, seed=at, sha256="0f") for at, name in enumerate(names)),
    )
