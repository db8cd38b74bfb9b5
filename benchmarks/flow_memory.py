"""The device's memory for a LoRA on each flow as it is published, by arithmetic on torch's "meta" device.

One step of a photo and a class image, at the family's own rank, gradient checkpointing, weights in bfloat16 or a base
of 8 or 4 bits: weights, LoRA, its gradients and moments, and what the step holds at most. The text encoders have left
the device by then. Not counted: the autoencoder (.3 GiB at most, Sana's .6), a GPU's context (about .5 GiB), the gaps
between allocations. Needs the extra [bnb], whose kernels say what few bits take.

    python -m benchmarks.flow_memory [--out FILE]    # the table of docs/families.md
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import diffusers
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from benchmarks.machine import machine
from benchmarks.memory import GIB
from dreambooth.config import Method
from dreambooth.config.families import BY_PIPELINE, FAMILIES
from dreambooth.finetuning import training_step
from dreambooth.models.base import DENOISER, Conditioning
from dreambooth.models.families import family
from dreambooth.models.flow import FlowModel
from dreambooth.models.quantized import Bits, quantize
from dreambooth.plan.costs import zeros
from dreambooth.plan.counting import META, as_computed, checkpointing, cost
from dreambooth.support.files import write_text


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published flow. pipeline: the name of its class.  config: of its transformer, beside the class's defaults.

    words: the shape of a prompt's states, as long as the family reads.  pooled: the width of its pooled words.
    channels, cell: of a latent, and pixels along a side of its cells.  reads: its text encoders, and their GiB in
    bfloat16.
    """

    pipeline: str
    transformer: str
    words: tuple[int, ...]
    channels: int = 16
    cell: int = 8
    config: Mapping[str, Any] = field(default_factory=dict)
    pooled: int = 0
    reads: str = ""


def _sd3(layers: int, places: int, **more: Any) -> Published:
    return Published(
        pipeline="StableDiffusion3Pipeline",
        transformer="SD3Transformer2DModel",
        words=(77 + 256, 4096),
        pooled=2048,
        config={
            **{"sample_size": 128, "in_channels": 16, "joint_attention_dim": 4096, "pooled_projection_dim": 2048},
            **{"num_layers": layers, "num_attention_heads": layers, "pos_embed_max_size": places},
            **{"caption_projection_dim": 64 * layers, "out_channels": 16, **more},
        },
        reads="T5-XXL, two CLIPs: 10.4",
    )


def _klein(double: int, single: int, heads: int, width: int, reads: str) -> Published:
    return Published(
        pipeline="Flux2KleinPipeline",
        transformer="Flux2Transformer2DModel",
        words=(512, width),
        channels=128,
        cell=16,
        config={
            **{"num_layers": double, "num_single_layers": single, "num_attention_heads": heads},
            **{"joint_attention_dim": width, "guidance_embeds": False},
        },
        reads=reads,
    )


MODELS: dict[str, Published] = {
    "Sana 1.6B": Published(
        pipeline="SanaPipeline",
        transformer="SanaTransformer2DModel",
        words=(300, 2304),
        channels=32,
        cell=32,
        reads="Gemma 2 2B: 4.9",
    ),
    "Stable Diffusion 3 medium": _sd3(24, 192),
    "Stable Diffusion 3.5 medium": _sd3(24, 384, qk_norm="rms_norm", dual_attention_layers=tuple(range(13))),
    "Stable Diffusion 3.5 large": _sd3(38, 192, qk_norm="rms_norm"),
    "FLUX.2 klein base 4B": _klein(5, 20, 24, 7680, "Qwen3 4B: 7.5"),
    "FLUX.2 klein base 9B": _klein(8, 24, 32, 12288, "Qwen3 8B: 15.3"),
    "Z-Image": Published(
        pipeline="ZImagePipeline", transformer="ZImageTransformer2DModel", words=(512, 2560), reads="Qwen3 4B: 7.5"
    ),
    "FLUX.1 [dev]": Published(
        pipeline="FluxPipeline",
        transformer="FluxTransformer2DModel",
        words=(512, 4096),
        config={"guidance_embeds": True},
        pooled=768,
        reads="T5-XXL, CLIP: 9.1",
    ),
    "Krea 2": Published(
        pipeline="Krea2Pipeline", transformer="Krea2Transformer2DModel", words=(512, 12, 2560), reads="Qwen3-VL 4B: 8.3"
    ),
    "Qwen-Image": Published(
        pipeline="QwenImagePipeline",
        transformer="QwenImageTransformer2DModel",
        words=(512, 3584),
        reads="Qwen2.5-VL 7B: 15.4",
    ),
    "FLUX.2 [dev]": Published(
        pipeline="Flux2Pipeline",
        transformer="Flux2Transformer2DModel",
        words=(512, 15360),
        channels=128,
        cell=16,
        reads="Mistral 24B: 44.7",
    ),
}


def step_of(published: Published, bits: Bits | None, side: int) -> int:
    """Bytes that a step holds at most, with weights, LoRA and its moments."""
    type_ = getattr(diffusers, published.transformer)
    with torch.device(META):
        transformer: Any = type_(**published.config).to(torch.bfloat16).requires_grad_(False)
    kind = cast(type[FlowModel], family(published.pipeline))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    readers = dict.fromkeys(kind.denoising.readers, nn.Module())  # which have left
    parts: Any = {"transformer": transformer, "scheduler": scheduler, "vae_scale_factor": published.cell, **readers}
    pipeline = SimpleNamespace(**parts)
    stage: Any = kind.denoising(pipeline)
    layout = kind.layout_of(pipeline)
    if bits:
        quantize(transformer, bits)
    rank = FAMILIES[BY_PIPELINE[published.pipeline]].method_presets["lora"].get("rank", Method().rank)
    inject_adapter_in_model(LoraConfig(r=rank, target_modules=list(layout.targets[DENOISER])), transformer)
    trained: list[nn.Parameter] = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    transformer.train()
    transformer.enable_gradient_checkpointing(checkpointing(None))
    latent = torch.empty(1, published.channels, side // published.cell, side // published.cell, device=META)
    batch = zeros(latent, 1, 1, side)
    words = Conditioning(
        embeds=torch.empty(2, *published.words, dtype=torch.bfloat16, device=META),
        pooled=torch.empty(2, published.pooled, dtype=torch.bfloat16, device=META) if published.pooled else None,
        mask=torch.ones(2, published.words[0], dtype=torch.bool),
    )

    def compute() -> None:
        as_computed(lambda: training_step(stage, stage.process, batch, words, 1.0, 0)[0], None)().backward()

    step = cost(compute, lambda: _held(transformer))
    moments = 2 * sum(parameter.nbytes for parameter in trained)
    return sum(tensor.nbytes for tensor in _held(transformer)) + moments + step.peak


def _held(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def table() -> Iterator[str]:
    """Its lines, as they are counted: a model takes some seconds."""
    ways: list[tuple[Bits | None, int]] = [(None, 512), ("8", 512), ("4", 512), (None, 1024), ("4", 1024)]
    yield from (
        "| GiB | bfloat16, 512 px | 8-bit base, 512 | 4-bit base, 512 | bfloat16, 1024 | 4-bit base, 1024 | encoders |",
        "|---|---|---|---|---|---|---|",
    )
    for name, published in MODELS.items():
        cells = [f"{step_of(published, bits, side) / GIB:.1f}" for bits, side in ways]
        yield f"| {name} | {' | '.join(cells)} | {published.reads} |"


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    on = machine()
    lines = [f"{on['date']}, torch {on['torch']}, diffusers {on['diffusers']}.\n"]
    print(lines[0])
    for line in table():
        print(line, flush=True)
        lines.append(line)
    if options.out:
        write_text(options.out, "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
