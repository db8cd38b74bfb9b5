"""Every setting with its type, so that an editor completes and checks `Config.build(max_train_steps=400)`.

sections.py says what they mean; tests/config/test_settings.py that these are all of them, of the same types.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict

from dreambooth.config.cards import CardSize
from dreambooth.config.families import FamilyName
from dreambooth.config.methods import MethodName
from dreambooth.config.noise_levels import NoiseLevelsName
from dreambooth.config.presets import PresetName
from dreambooth.config.samplers import Sampler
from dreambooth.config.worlds import WorldName


class Settings(TypedDict, total=False):
    """The settings by name, section after section."""

    seed: int
    memory: CardSize | None
    preset: PresetName | None
    # base
    model: str
    revision: str | None
    variant: str | None
    dtype: Literal["float32", "bfloat16"]
    base_bits: Literal["8", "4"] | None
    group_offload: bool
    world: WorldName | None
    family: FamilyName | None
    prediction_type: Literal["epsilon", "v_prediction"] | None
    super_resolution: str | None
    noise_level: int | None
    super_resolution_guidance_scale: float | None
    super_resolution_inference_steps: int | None
    # method
    method: MethodName
    rank: int
    lora_alpha: float | None
    lora_type: Literal["lora", "dora", "oft"]
    lora_target_modules: Sequence[str]
    embedding_lr: float | None
    num_vectors: int
    initializer_token: str | None
    description: str | None
    # naming
    identifier: str | None
    identifier_tokens: int
    super_resolution_identifier: bool
    # data
    resolution: int | None
    crop: Literal["subject", "center", "random"]
    masked_loss: bool
    unmasked_weight: float
    # prior
    with_prior_preservation: bool
    prior_target: Literal["class_images", "base"]
    dco_beta: float | None
    num_class_images: int
    prior_loss_weight: float
    class_sampler: Sampler
    class_num_inference_steps: int
    class_guidance_scale: float
    sample_batch_size: int
    # training
    max_train_steps: int
    learning_rate: float
    stages: Sequence[str]
    super_resolution_steps: int | None
    super_resolution_lr: float | None
    text_encoder_lr: float | None
    train_text_encoder: bool
    train_batch_size: int
    gradient_accumulation_steps: int
    lr_scheduler: Literal["constant", "linear", "cosine"]
    lr_warmup_steps: int
    adam_beta1: float
    adam_beta2: float
    adam_weight_decay: float
    adam_epsilon: float
    use_8bit_adam: bool
    l2_to_base: float
    max_grad_norm: float
    noise_levels: NoiseLevelsName | None
    snr_gamma: float | None
    use_ema: bool
    ema_decay: float
    mixed_precision: Literal["no", "fp16", "bf16"]
    cuda_graphs: bool
    gradient_checkpointing: bool
    checkpointing_steps: int
    checkpoints_total_limit: int
    validation_steps: int
    # probe
    probe: bool
    probe_images_per_prompt: int
    probe_class_images: int
    probe_num_inference_steps: int
    early_stopping: bool
    early_stopping_patience: int
    # generation
    prompts: Sequence[str]
    num_images_per_prompt: int
    sampler: Sampler
    num_inference_steps: int
    guidance_scale: float
    # evaluation
    dino_model: str | None
    dino_revision: str | None
    clip_model: str | None
    clip_revision: str | None
    perceptual_model: str | None
    perceptual_revision: str | None
    # tracking
    report_to: Literal["tensorboard", "wandb", "trackio"] | None
