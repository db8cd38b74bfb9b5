"""What the parts of a run cost by arithmetic: of its model's shapes, its method and its settings, on no device."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from dreambooth import adapters
from dreambooth.adapters import Adapter
from dreambooth.config import Config
from dreambooth.data.batch import Batch
from dreambooth.finetuning import training_step
from dreambooth.finetuning.base_prediction import BasePrediction
from dreambooth.models.base import DENOISER, Conditioning, DiffusionModel, Stage
from dreambooth.models.loading import hold
from dreambooth.plan.counting import META, Cost, as_computed, checkpointing, cost
from dreambooth.subject import Subject
from dreambooth.support.files import key_of
from dreambooth.support.optimizer import moments_size

STAND_IN = Subject(photos=(), class_noun="dog", identifier="sks")
"""Whose words cost what all words cost: a prompt is as long as the model reads."""

DECODED, DECODING = 2.0, 2.0
"""A decoder's arithmetic and memory in units of its encoder's: Stable Diffusion's takes 2.3 times the arithmetic."""

LOW = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of a model, a method and its settings; FLOP, and bytes of the device's memory.

    evaluations: FLOP of a forward pass for one picture, by stage.  picture: FLOP to encode one; decoding is taken as
    DECODED times that.  steps: FLOP of one batch forward and backward, of each stage.  weights: bytes of all weights,
    as they are while it trains.  written: those of the saved model, where none is in few bits.  kept_on_cpu: of those
    that are never on the device at once.  trained: of those that train, of each stage.  step_peak: what a batch holds
    at most, gradients included.  draw_peak: what drawing one picture holds at most.  state: bytes of the optimizer, the
    running average and the weights to be pulled back to, at most.  saved: of one checkpoint of each stage. A stage that
    is not tuned has no steps, and trains and saves nothing.
    """

    evaluations: tuple[float, ...]
    picture: float
    steps: tuple[float, ...]
    weights: int
    written: int
    kept_on_cpu: int
    trained: tuple[int, ...]
    step_peak: int
    draw_peak: int
    state: int
    saved: tuple[int, ...]

    @classmethod
    def of(cls, model: DiffusionModel, config: Config) -> Self:
        """The sums over the model's stages, of memory the largest. The model is not touched, and no weight is read."""
        if (key := _key(model, config)) not in _KNOWN:
            _KNOWN[key] = cls._counted(model, config)
        return cast(Self, _KNOWN[key])

    @classmethod
    def _counted(cls, model: DiffusionModel, config: Config) -> Self:
        low = LOW[config.training.mixed_precision]
        each = [_Stage.of(model, at, config, low) for at in range(len(model.stages))]
        average, start = config.training.use_ema, config.training.l2_to_base > 0
        return cls(
            evaluations=tuple(its.forward for its in each),
            picture=max(its.encode.flop for its in each),
            steps=tuple(its.step.flop for its in each),
            weights=max(its.weights for its in each),
            written=max(its.written for its in each),
            kept_on_cpu=max(its.kept_on_cpu for its in each),
            trained=tuple(its.trained for its in each),
            step_peak=max(its.step.peak for its in each),
            draw_peak=max(max(2 * its.forward_peak, round(DECODING * its.encode.peak)) for its in each),
            state=max(its.moments + (average + start) * its.trained for its in each),
            saved=tuple(its.moments + (1 + average) * its.trained for its in each),
        )

    def pictures(self, count: int, looks: Sequence[int]) -> float:
        """FLOP to draw so many pictures; looks: forward passes of each stage's denoiser for one."""
        seen = sum(flop * times for flop, times in zip(self.evaluations, looks, strict=True))
        return count * (seen + DECODED * self.picture)

    @property
    def training(self) -> int:
        """Bytes of the device's memory while it trains, at most."""
        return self.weights - self.kept_on_cpu + self.state + self.step_peak

    def drawing(self, batch_size: int, while_training: bool) -> int:
        """Bytes while pictures are drawn, at most; with the running average in use the trained weights are aside."""
        aside = self.state + max(self.trained) if while_training else 0
        return self.weights - self.kept_on_cpu + aside + batch_size * self.draw_peak


_KNOWN: dict[str, Costs] = {}
"""What this process has counted: torch takes a second of Python for a step on "meta"."""


def _key(model: DiffusionModel, config: Config) -> str:
    """What the costs depend on: the shapes of the weights, and some settings."""
    tensors = ((name, part.state_dict()) for name, part in model.weights.parts.items())
    shapes = [[name, inner, list(t.shape), str(t.dtype)] for name, state in tensors for inner, t in state.items()]
    training, sides = config.training, [stage.resolution for stage in model.stages]
    prior = [config.prior.with_prior_preservation, config.prior.needs_twins, config.prior.needs_base]
    settings = [config.data.resolution, prior, config.method.model_dump(mode="json")]
    held = [config.base.base_bits, config.base.group_offload]
    how = [training.train_batch_size, training.gradient_checkpointing, training.mixed_precision]
    how += [training.use_ema, training.train_text_encoder, training.use_8bit_adam, training.l2_to_base > 0]
    return key_of([shapes, sides, settings, held, how, training.stages], 16)


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """One stage's share."""

    forward: float
    forward_peak: int
    encode: Cost
    step: Cost
    weights: int
    written: int
    kept_on_cpu: int
    trained: int
    moments: int

    @classmethod
    def of(cls, model: DiffusionModel, at: int, config: Config, low: torch.dtype | None) -> Self:
        real, model = model.stages[at], without_values(model)
        hold(model, config.base)  # which may be other settings than the model was opened with
        stage = model.stages[at]
        side = config.data.resolution or stage.resolution
        images = torch.empty(1, 3, side, side, device=META)
        with torch.no_grad():
            encode = cost(lambda: as_computed(stage.posterior, None)(images), lambda: _tensors(model))
            latent, _ = stage.posterior(images)
            alone = zeros(latent, 1, 0, side, stage.low_res)
            words = _read(real, alone.prompts)
            once = cost(lambda: forward(stage, alone, words, low), lambda: _tensors(model))
        adapter = adapters.attach(model, stage, STAND_IN, config) if stage in adapters.tuned(model, config) else None
        groups = adapter.parameter_groups() if adapter else []
        trained: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
        weights = sum(tensor.nbytes for tensor in _tensors(model))
        return cls(
            forward=once.flop,
            forward_peak=once.peak,
            encode=encode,
            step=_training(real, model, stage, adapter, config, latent, side) if adapter and groups else Cost(0.0, 0),
            weights=weights,
            written=model.weights.written,
            kept_on_cpu=model.weights.kept_on_cpu,
            trained=sum(parameter.nbytes for parameter in trained),
            moments=moments_size(trained, config.training.use_8bit_adam),
        )


def without_values(model: DiffusionModel) -> DiffusionModel:
    """A copy of the model on torch's "meta" device, which takes no memory."""
    memo: dict[int, Any] = {}
    for module in model.weights.parts.values():
        for parameter in module.parameters():
            empty = torch.empty_like(parameter, device=META)
            memo[id(parameter)] = nn.Parameter(empty, requires_grad=False)
        for buffer in module.buffers():
            memo[id(buffer)] = torch.empty_like(buffer, device=META)
    return copy.deepcopy(model, memo)


def _training(
    real: Stage, model: DiffusionModel, stage: Stage, adapter: Adapter, config: Config, latent: Tensor, side: int
) -> Cost:
    """One batch forward and backward; the prompts are encoded in it where the text encoder trains."""
    training, low = config.training, LOW[config.training.mixed_precision]
    for module in adapter.modules().values():
        module.eval()
    if training.gradient_checkpointing:
        cast(Any, stage.parts[DENOISER]).enable_gradient_checkpointing(checkpointing(low))
    rows = training.train_batch_size
    batch = zeros(latent, rows, rows if config.prior.with_prior_preservation else 0, side, stage.low_res)
    words = None if adapter.trains_text else _read(real, batch.prompts)
    its = {} if words is None else {prompt: words.row(row) for row, prompt in enumerate(batch.prompts)}
    base = BasePrediction(stage, adapter, its, config.prior.dco_beta) if config.prior.needs_base else None

    def compute() -> None:
        loss = forward(stage, batch, words, low, base)
        loss.backward()

    return cost(compute, lambda: _tensors(model))


@torch.no_grad()
def _read(stage: Stage, prompts: Sequence[str]) -> Conditioning:
    """The conditioning of a real stage, without its values: large language models look at what they read as they go."""
    words = stage.condition(prompts)
    return Conditioning(
        embeds=words.embeds.to(META),
        pooled=None if words.pooled is None else words.pooled.to(META),
        mask=None if words.mask is None else words.mask.cpu(),  # how long the prompts are
        extras={name: tensor.to(META) for name, tensor in words.extras.items()},
    )


def forward(
    stage: Stage, batch: Batch, words: Any, low: torch.dtype | None, base: BasePrediction | None = None
) -> Tensor:
    """The loss of a batch; words: its conditioning, None where the prompts are to be encoded too.

    base: as the step has it.
    """

    def compute() -> Tensor:
        conditioning = stage.condition(batch.prompts) if words is None else words
        return training_step(stage, stage.process, batch, conditioning, 1.0, 0, 0, base=base)[0]

    loss: Tensor = as_computed(compute, low)()
    return loss


def zeros(latent: Tensor, subject_rows: int, prior_rows: int, side: int, low_res: int | None = None) -> Batch:
    """A batch of rows of the shape of `latent` (1, C, h, w), for pictures of `side` pixels and of `low_res`."""
    rows = subject_rows + prior_rows
    nothing = torch.zeros(rows, *latent.shape[1:])
    return Batch(
        mean=nothing,
        std=nothing,
        prompts=(*[STAND_IN.prompt] * subject_rows, *[STAND_IN.class_prompt] * prior_rows),
        is_prior=torch.arange(rows) >= subject_rows,
        rows=tuple(range(rows)),
        framing=torch.tensor([[side, side, 0, 0, side, side]] * rows),
        low_res=torch.zeros(rows, 3, low_res, low_res) if low_res else None,
    )


def _tensors(model: DiffusionModel) -> list[Tensor]:
    modules = model.weights.parts.values()
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
