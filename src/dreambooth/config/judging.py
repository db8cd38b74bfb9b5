"""The settings of measuring: by whom, which `dreambooth evaluate` has alone, and what while it trains."""

from pydantic import Field

from dreambooth.config.sections import MANY, Section


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


class Probe(Section):
    """Measuring while it trains, every validation_steps: the best step's weights become the model."""

    probe: bool = Field(True, description="measure, recommend a step and save its weights; off: the last step's")
    probe_images_per_prompt: int = Field(
        2, ge=1, le=MANY, description="seeds of each of the five places that a probe draws"
    )
    probe_class_images: int = Field(
        4,
        ge=1,
        le=MANY,
        description="samples of the class, and as many of the subject, without a place: for drift and variety",
    )
    probe_num_inference_steps: int = Field(20, ge=1, le=1000, description="sampler steps of a probe")
    early_stopping: bool = Field(
        False, description="stop where the subject is learned and its class kept, or where probes no longer get better"
    )
    early_stopping_patience: int = Field(
        3, ge=1, le=10**9, description="probes in a row that may fall short of the best one"
    )
