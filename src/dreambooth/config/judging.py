"""The settings of who measures: apart from the others, as `dreambooth evaluate` has these alone."""

from pydantic import Field

from dreambooth.config.sections import Section


class Evaluation(Section):
    """Section 4.2: who measures the pictures."""

    dino_model: str | None = Field(
        None, description="judge of DINO: a folder or hub id; none: embedded for the toybox, else facebook/dino-vits16"
    )
    dino_revision: str | None = Field(
        None,
        description="its hub revision; none: the one that is pinned here, of facebook/dino-vits16 the hub's own "
        "conversion to safetensors",
    )
    clip_model: str | None = Field(
        None,
        description="judge of CLIP-I and CLIP-T: a folder or hub id; none: embedded for the toybox, "
        "else openai/clip-vit-base-patch32",
    )
    clip_revision: str | None = Field(None, description="its hub revision; none: the one that is pinned here")
    perceptual_model: str | None = Field(
        None,
        description="LPIPS weights for DIV: a folder or hub id; none: a distance on the features of the DINO judge",
    )
    perceptual_revision: str | None = Field(None, description="its hub revision; none: the latest")
