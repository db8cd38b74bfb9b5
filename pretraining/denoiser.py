"""The U-Net, trained with the text encoder on the latents of `examples`.

v-prediction whose loss counts less where there is hardly any noise, zero terminal SNR (so that "at night" can be dark),
one caption in ten empty for guidance, Muon; training.py has the loop.
"""

import argparse

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from dreambooth.diffusion import DiscreteDiffusion, row_errors
from pretraining import text_encoder
from pretraining.examples import Examples, Latents
from pretraining.sizes import Size
from pretraining.state import Trained, autocast, prepare
from pretraining.training import learn, loss_weights, parsed, stratified_times, training_arguments

RATE, MUON_RATE = 8e-4, 5e-3


def scheduler() -> DDPMScheduler:
    """The noise schedule: Stable Diffusion's, rescaled to end in pure noise (https://arxiv.org/abs/2305.08891)."""
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def build(size: Size) -> UNet2DConditionModel:
    """A fresh U-Net of this size."""
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in size.denoiser_attends)
    up = tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(size.denoiser_attends))
    return UNet2DConditionModel(
        sample_size=size.latent_resolution,
        in_channels=size.latent_channels,
        out_channels=size.latent_channels,
        block_out_channels=size.denoiser_channels,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=size.denoiser_layers,
        cross_attention_dim=size.text_width,
        attention_head_dim=size.heads,  # diffusers reads it as the number of heads
        norm_num_groups=16,
    )


def modules(options: argparse.Namespace, size: Size) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    """The U-Net and the text encoder, the latter as `text_encoder` left it, and the tokenizer."""
    tokenizer = CLIPTokenizer.from_pretrained(options.state / "tokenizer", local_files_only=True)
    encoder = text_encoder.build(size, tokenizer)
    reader = text_encoder.Reader(size.text_width)
    trained = Trained({"text_encoder": encoder, "reader": reader}, 1e-3, decay=0.5)
    trained.load(options.state / "text_encoder.safetensors", weights_only=True)
    unet = build(size).to(options.device)
    if options.device == "cpu":
        unet.set_attn_processor(AttnProcessor())  # written out: the fused kernel's backward is four times slower there
    return unet, encoder.to(options.device), tokenizer


def main() -> None:
    """Train up to --samples, or go on; then, with --cooldown, decay in a copy."""
    options = parsed(training_arguments(__doc__, RATE, MUON_RATE))
    size = prepare(options)
    torch.manual_seed(0)
    unet, encoder, tokenizer = modules(options, size)
    parts = {"unet": unet, "text_encoder": encoder}
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    trained = Trained(parts, options.learning_rate, 0.999, muon_rate=options.muon_rate, muon_dtype=dtype)
    examples = Examples(options, Latents(options, size, tokenizer))
    process = DiscreteDiffusion(scheduler().alphas_cumprod, "v_prediction")

    def loss_of(x0: Tensor, ids: Tensor) -> Tensor:
        noise = torch.randn_like(x0)
        t = stratified_times(len(x0), x0.device)
        with autocast(options):
            pred = unet(process.add_noise(x0, noise, t), t, encoder(ids).last_hidden_state).sample
        return (row_errors(process, pred, x0, noise, t) * loss_weights(process, t)).mean()

    learn(options, "denoiser", trained, examples, loss_of)


if __name__ == "__main__":
    main()
