"""Every setting, once: the command line's flags, the TOML file and the reference page are derived from here.

Names are the field's (diffusers' where it has one). Defaults are the paper's, for a Stable Diffusion checkpoint; what
another world of models or a method needs differently is a preset (presets.py).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth.config.families import FamilyName
from dreambooth.config.methods import MethodName
from dreambooth.config.noise_levels import NoiseLevelsName
from dreambooth.config.samplers import Sampler
from dreambooth.config.worlds import EMBEDDED, WorldName

MOST = 1e9
"""No number of a training is larger: beyond it float32 soon ends, and a list of so many things fills any machine."""
MANY = 100_000
"""Nothing is drawn, or taken together, more often than this."""


class Section(BaseModel):
    """A group of settings: frozen, and a name it does not know is an error; so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Base(Section):
    """The text-to-image model to personalise."""

    model: str = Field(
        EMBEDDED,
        description="base model: toybox or toybox-cascade (embedded), a diffusers folder, a .safetensors file, or a "
        "hub id owner/name",
    )
    revision: str | None = Field(
        None, description="hub revision: a commit, tag or branch; the resolved commit is recorded"
    )
    variant: str | None = Field(None, description="weights variant of the checkpoint, such as fp16")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="what the model is opened in; bfloat16 takes half the memory. Weights that train are float32 from "
        "there on",
    )
    base_bits: Literal["8", "4"] | None = Field(
        None,
        description="lora, pivotal: hold the linear layers of the frozen weights in 8 or 4 bits, with the extra [bnb]; "
        "none: as dtype says",
    )
    group_offload: bool = Field(
        False,
        description="lora: keep the frozen blocks of a transformer in the CPU's memory, and copy each to the GPU when "
        "it computes; for models that a card cannot hold, with gradient_checkpointing",
    )
    world: WorldName | None = Field(
        None,
        description="whose prompts, judges and preset go with it: photographs or toybox; none: as its folder says, "
        "else toybox for the embedded models and photographs for any other",
    )
    family: FamilyName | None = Field(
        None,
        description="the model's family, whose settings suit it; none: as its folder or its hub id says, else one for "
        "which the paper's own do",
    )
    prediction_type: Literal["epsilon", "v_prediction"] | None = Field(
        None,
        description="epsilon or v_prediction: what the denoiser predicts, noise or velocity, whatever the model says; "
        "none: what the model declares; epsilon for a .safetensors file that declares nothing",
    )
    super_resolution: str | None = Field(
        None,
        description="cascades: the model that enlarges what the base model draws, a folder or hub id; none: the one in "
        "the base model's folder",
    )
    noise_level: int | None = Field(
        None,
        ge=0,
        lt=1000,
        description="cascades: noise on the small picture that super-resolution reads, tuned and drawn at; none: as "
        "its folder says, else 0, next to none",
    )
    super_resolution_guidance_scale: float | None = Field(
        None, ge=1, le=1000, description="cascades: guidance of super-resolution; none: as its folder says, else 4"
    )
    super_resolution_inference_steps: int | None = Field(
        None, ge=1, le=1000, description="cascades: its sampler steps; none: as its folder says, else the base's"
    )


class Method(Section):
    """What learns the subject: the model's weights, small additions to them, a new word, or nothing."""

    method: MethodName = Field(
        "dreambooth",
        description="all weights; lora: low-rank additions to them; textual_inversion: a new word only; pivotal: a new "
        "word and lora; prompt_only: nothing, the subject is described in words",
    )
    rank: int = Field(
        4, ge=1, le=4096, description="lora, pivotal: rank of the additions; with lora_type oft, the size of its blocks"
    )
    lora_alpha: float | None = Field(
        None,
        gt=0,
        le=MOST,
        description="lora, pivotal: the additions are scaled by alpha / rank; none: the rank, so by 1",
    )
    lora_type: Literal["lora", "dora", "oft"] = Field("lora", description="lora, pivotal: kind of the additions")
    lora_target_modules: tuple[str, ...] = Field(
        (),
        description="lora, pivotal: ends of the names of the layers added to; none: those of the family's usual LoRA, "
        "in most the attention's projections",
    )
    embedding_lr: float | None = Field(
        None,
        gt=0,
        le=MOST,
        description="textual_inversion, pivotal: learning rate of the new word; none: learning_rate",
    )
    num_vectors: int = Field(
        1, ge=1, le=32, description="textual_inversion, pivotal: tokens that the new word stands for"
    )
    initializer_token: str | None = Field(
        None,
        description="textual_inversion, pivotal: words that the new word starts from; none: the class noun, of pivotal "
        "a rare token",
    )
    description: str | None = Field(
        None, description='prompt_only: the subject in words, without an article: "yellow dog with blue ears"'
    )


class Naming(Section):
    """Section 3.2: the identifier."""

    identifier: str | None = Field(
        None,
        description="your own identifier; none: a rare token is chosen from the tokenizer; where a word is learned, it "
        "is <class-noun>",
    )
    identifier_tokens: int = Field(1, ge=1, le=3, description="length of the chosen identifier in tokens")
    super_resolution_identifier: bool = Field(
        True, description="cascades: tell super-resolution the subject's name; off: its class alone"
    )


class Data(Section):
    """How photos become training images."""

    resolution: int | None = Field(
        None, ge=16, le=4096, description="side of the training images in pixels; none: the model's own"
    )
    crop: Literal["subject", "center", "random"] = Field(
        "subject",
        description="square cut from a photo: where the detail is, the centre, or random among cuts that show it",
    )
    masked_loss: bool = Field(
        False,
        description="count the subject more than its background: by NAME.mask.png beside a photo, its transparency, or "
        "a mask that the DINO judge finds",
    )
    unmasked_weight: float = Field(
        0.1, ge=0, le=1, description="masked_loss: how much a place counts beside the subject"
    )


class Prior(Section):
    """Section 3.3: class images, drawn by the frozen model."""

    with_prior_preservation: bool = Field(True, description="keep the class with the prior preservation loss (Eq. 2)")
    prior_target: Literal["class_images", "base"] = Field(
        "class_images",
        description="what the second term of Eq. 2 is held to; base (lora), which is not the paper's: what the model "
        "without its LoRA makes of the noisy photos by the class prompt, so that no class image is drawn",
    )
    dco_beta: float | None = Field(
        None,
        gt=0,
        le=MOST,
        description="lora, with_prior_preservation off: ask only that photos are denoised better than by the model "
        "without its LoRA, and no more once they are (Direct Consistency Optimization); its authors take 1000",
    )
    num_class_images: int = Field(
        1000, ge=1, le=MANY, description="class images to draw, once per base model and class"
    )
    prior_loss_weight: float = Field(1.0, ge=0, le=MOST, description="lambda of Eq. 2")
    class_sampler: Sampler = Field("ddpm", description="sampler of class images; ddpm is the paper's ancestral one")
    class_num_inference_steps: int = Field(100, ge=1, le=1000, description="sampler steps of a class image")
    class_guidance_scale: float = Field(7.5, ge=1, le=1000, description="guidance of class images")
    sample_batch_size: int = Field(4, ge=1, le=4096, description="images drawn at a time")

    @property
    def draws_class_images(self) -> bool:
        """Whether the second term needs class images."""
        return self.with_prior_preservation and self.prior_target == "class_images"

    @property
    def needs_twins(self) -> bool:
        """Whether the second term is held to the base model's own predictions, on twins of the photos."""
        return self.with_prior_preservation and self.prior_target == "base"

    @property
    def needs_base(self) -> bool:
        """Whether a step asks the base model what it predicts."""
        return self.needs_twins or self.dco_beta is not None


class Training(Section):
    """The fine-tuning."""

    max_train_steps: int = Field(1000, ge=0, le=10**9, description="optimizer steps")
    learning_rate: float = Field(5e-6, gt=0, le=MOST, description="learning rate of the denoiser")
    stages: tuple[str, ...] = Field(
        (), description="cascades: the stages to fine-tune, base or super_resolution; none: all of them"
    )
    super_resolution_steps: int | None = Field(
        None, ge=1, le=10**9, description="cascades: optimizer steps of super-resolution; none: max_train_steps"
    )
    super_resolution_lr: float | None = Field(
        None, gt=0, le=MOST, description="cascades: learning rate of super-resolution; none: learning_rate"
    )
    text_encoder_lr: float | None = Field(
        None, gt=0, le=MOST, description="learning rate of the text encoder; none: the denoiser's"
    )
    train_text_encoder: bool = Field(True, description="train the text encoder too")
    train_batch_size: int = Field(
        1, ge=1, le=4096, description="photos per batch; with the prior, as many class images again"
    )
    gradient_accumulation_steps: int = Field(1, ge=1, le=MANY, description="batches per optimizer step")
    lr_scheduler: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="learning rate after the warm-up"
    )
    lr_warmup_steps: int = Field(0, ge=0, le=10**9, description="steps of linear warm-up")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta 1")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW beta 2")
    adam_weight_decay: float = Field(1e-2, ge=0, le=MOST, description="AdamW weight decay")
    adam_epsilon: float = Field(1e-8, gt=0, le=MOST, description="AdamW epsilon")
    use_8bit_adam: bool = Field(
        False, description="keep AdamW's moments in 8 bits, a quarter of their memory; needs the extra [bnb]"
    )
    l2_to_base: float = Field(
        0.0,
        ge=0,
        le=MOST,
        description="dreambooth: pull the weights back to the base model's, by the gradient of so many times the "
        "squared distance between both; with or without class images, and not included in the reported loss",
    )
    max_grad_norm: float = Field(1.0, gt=0, le=MOST, description="clip the gradient to this norm")
    noise_levels: NoiseLevelsName | None = Field(
        None,
        description="how a rectified flow draws its noise levels, as some tool of the field does; none: logit_normal, "
        "shifted as the model is when it draws",
    )
    snr_gamma: float | None = Field(
        None, gt=0, le=MOST, description="Min-SNR clamp for both terms of Eq. 2; none: unweighted"
    )
    use_ema: bool = Field(False, description="keep and save the running average of the weights")
    ema_decay: float = Field(0.995, gt=0, lt=1, description="decay of the average, a step")
    mixed_precision: Literal["no", "fp16", "bf16"] = Field("no", description="arithmetic of the forward pass, on a GPU")
    cuda_graphs: bool = Field(
        False,
        description="record and replay the passes of what trains (experimental): faster with small batches; GPUs alone",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, slower")
    checkpointing_steps: int = Field(250, ge=1, le=10**9, description="steps between checkpoints")
    checkpoints_total_limit: int = Field(2, ge=1, le=10**9, description="checkpoints to keep")
    validation_steps: int = Field(250, ge=1, le=10**9, description="steps between probes, or live samples without them")


class Generation(Section):
    """The pictures drawn afterwards."""

    prompts: tuple[str, ...] = Field(
        (), description="prompts with {} for the subject; none: a list of every kind in the paper"
    )
    num_images_per_prompt: int = Field(4, ge=1, le=MANY, description="seeds per prompt")
    sampler: Sampler = Field("ddim", description="sampler of the results")
    num_inference_steps: int = Field(50, ge=1, le=1000, description="sampler steps of a result")
    guidance_scale: float = Field(7.5, ge=1, le=1000, description="guidance of the results")


class Tracking(Section):
    """Other programs that show a training while it runs."""

    report_to: Literal["tensorboard", "wandb", "trackio"] | None = Field(
        None,
        description="also write losses, scores and samples to tensorboard, wandb or trackio, which must be installed",
    )
