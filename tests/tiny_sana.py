"""A small random Sana pipeline, and what its step is, by the pipeline's own parts."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tiny import DIFFUSERS, TRANSFORMERS, WORDS
from tiny_flux import ready
from tiny_text import RARE

INSTRUCTION: list[str] = (
    inspect.signature(DIFFUSERS.SanaPipeline.__call__).parameters["complex_human_instruction"].default
)


@cache
def _words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Gemma's layout: specials, bytes, letters, then what the words grow by, those of the instruction too."""
    spoken = dict.fromkeys(" ".join(INSTRUCTION).split())
    letters = sorted({letter for word in (*spoken, *WORDS) for letter in word})
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    rare = [f"\u2581{word}" for word in WORDS[-RARE:]]  # where identifiers are sought, from 5/32 of all
    vocab = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        *bytes_[:160],
        *rare,
        *bytes_[160:],
        *letters,
        "\n",
        "\u2581",
    ]
    merges: list[tuple[str, str]] = []
    for word in (*spoken, *WORDS):
        left = "\u2581"
        for letter in word:
            if (left, letter) not in merges:
                merges.append((left, letter))
                vocab.append(left + letter)
            left += letter
    return {token: number for number, token in enumerate(dict.fromkeys(vocab))}, merges


def gemma_tokenizer() -> Any:
    """Pieces that begin with the mark of a space."""
    vocab, merges = _words()
    return TRANSFORMERS.GemmaTokenizer(vocab=dict(vocab), merges=list(merges))


def sana_pipeline(**network: object) -> Any:
    """A SanaPipeline of 60 000 random weights for images of 32 pixels, whose latents have an eighth of that side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = gemma_tokenizer()
        blocks = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
        pipeline = DIFFUSERS.SanaPipeline(
            transformer=DIFFUSERS.SanaTransformer2DModel(
                **{
                    "in_channels": 4, "out_channels": 4, "num_layers": 2, "num_attention_heads": 2,
                    "attention_head_dim": 8, "num_cross_attention_heads": 2, "cross_attention_head_dim": 8,
                    "cross_attention_dim": 16, "caption_channels": 16, "sample_size": 4, **network,
                }
            ),
            vae=DIFFUSERS.AutoencoderDC(
                latent_channels=4,
                attention_head_dim=4,
                encoder_layers_per_block=(1,) * 4,
                decoder_layers_per_block=(1,) * 4,
                encoder_qkv_multiscales=((),) * 4,
                decoder_qkv_multiscales=((),) * 4,
                scaling_factor=0.7,
                **blocks,
            ),
            text_encoder=TRANSFORMERS.Gemma2Model(
                TRANSFORMERS.Gemma2Config(
                    vocab_size=len(tokenizer),
                    hidden_size=16,
                    intermediate_size=16,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    num_key_value_heads=1,
                    head_dim=8,
                    query_pre_attn_scalar=8,
                )
            ),
            tokenizer=tokenizer,
            scheduler=DIFFUSERS.DPMSolverMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
        )  # fmt: skip
    return ready(pipeline)


def sana_latents(vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """One latent, scaled."""
    found = vae.encode(images).latent * 0.7
    return found, torch.zeros_like(found)


def sana_seen(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, sigma and velocity in a call of the transformer."""
    return inputs["hidden_states"], inputs["timestep"] / 1000, output[0]


def sana_velocity(pipeline: Any, prompts: Sequence[str], x_t: Tensor, sigma: Tensor) -> Tensor:
    """What the transformer says of x_t."""
    embeds, mask, _, _ = pipeline.encode_prompt(
        list(prompts), do_classifier_free_guidance=False, complex_human_instruction=INSTRUCTION
    )
    found: Tensor = pipeline.transformer(
        x_t,
        encoder_hidden_states=embeds,
        encoder_attention_mask=mask,
        timestep=sigma * 1000,
        return_dict=False,
    )[0]
    return found
