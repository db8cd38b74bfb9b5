"""The cascade's two U-Nets, one of them by --stage, with the frozen text encoder: v and the range of the variance.

The base learns the renders at 16 px. Super-resolution learns them at 64 px, beside their own 16 px enlarged and noised
to a level of its own for each row, low ones more often, as the base's pictures come with little noise on top. It learns
from crops (--crop), which cost less and teach textures as well as the whole does; its last steps should see the whole.
"""

import argparse

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F
from transformers import T5EncoderModel, T5Tokenizer

from dreambooth.diffusion import DiscreteDiffusion, row_errors
from pretraining import cascade, text_encoder
from pretraining.cascade_examples import Pixels
from pretraining.examples import Examples
from pretraining.state import Trained, autocast, prepare
from pretraining.training import learn, loss_weights, parsed, stratified_times, training_arguments

RATE, MUON_RATE = 2e-3, 1e-2
VARIANCE_WEIGHT = 1e-3  # of the likelihood that only the variance learns from, as in https://arxiv.org/abs/2102.09672


def build(stage: str) -> UNet2DConditionModel:
    """A fresh U-Net of the stage."""
    return cascade.build_base() if stage == "base" else cascade.build_super_resolution()


def text_parts(options: argparse.Namespace) -> tuple[T5EncoderModel, T5Tokenizer]:
    """The text encoder as `cascade_text` left it, frozen, and its tokenizer."""
    tokenizer = T5Tokenizer.from_pretrained(options.state / "tokenizer", local_files_only=True)
    encoder = cascade.build_text_encoder(tokenizer)
    trained = Trained({"text_encoder": encoder, "reader": text_encoder.Reader(cascade.TEXT_WIDTH)}, 1e-3, decay=0.5)
    trained.load(options.state / "text_encoder.safetensors", weights_only=True)
    return encoder.requires_grad_(False).to(options.device), tokenizer


def variance_error(alphas_cumprod: Tensor, v: Tensor, spread: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """(B,) in nats a number: how far the step from x_t is from the true one, to teach the variance alone.

    spread: (B, C, h, w), -1 for the smallest variance a step may have and 1 for the largest.
    """
    now, before = alphas_cumprod[t], torch.where(t > 0, alphas_cumprod[t - 1], 1.0)
    largest = 1 - now / before
    smallest = (largest * (1 - before) / (1 - now)).clamp(min=1e-6)
    low, high = (x.log().view(-1, 1, 1, 1) for x in (smallest, largest))
    log_variance = low + (spread + 1) / 2 * (high - low)
    alpha, sigma = (x.sqrt().view(-1, 1, 1, 1) for x in (now, 1 - now))
    share = (before.sqrt() * largest / (1 - now)).view(-1, 1, 1, 1)  # of x0 in the mean of the step
    off = share * (x0 - (alpha * x_t - sigma * v.detach()))
    divergence = log_variance - low - 1 + (low - log_variance).exp() + off.square() * (-log_variance).exp()
    return 0.5 * divergence.flatten(1).mean(1)


def window(step: int, side: int, crop: int) -> tuple[slice, slice]:
    """Rows and columns of a random square of `crop` pixels."""
    places = torch.Generator().manual_seed(step)
    top, left = torch.randint(side - crop + 1, (2,), generator=places).tolist()
    return slice(top, top + crop), slice(left, left + crop)


def main() -> None:
    """Train a stage up to --samples, or go on; then, with --cooldown, decay in a copy."""
    parser = training_arguments(__doc__, RATE, MUON_RATE)
    parser.add_argument("--stage", choices=("base", "super_resolution"), required=True)
    parser.add_argument("--crop", type=int, default=32, help="side of the crops of super-resolution in pixels")
    options = parsed(parser)
    if options.graph and options.stage == "super_resolution" and options.crop < cascade.SIDE:
        parser.error(f"--graph records one place of the crop: give --crop {cascade.SIDE}")
    prepare(options)
    torch.manual_seed(0)
    encoder, tokenizer = text_parts(options)
    unet = build(options.stage).to(options.device)
    trained = Trained({"unet": unet}, options.learning_rate, 0.999, muon_rate=options.muon_rate)
    examples = Examples(options, Pixels(options, tokenizer))
    process = DiscreteDiffusion(cascade.scheduler().alphas_cumprod, "v_prediction")
    noising = DiscreteDiffusion(cascade.noising_scheduler().alphas_cumprod)
    alphas_cumprod = cascade.scheduler().alphas_cumprod.to(options.device)

    def loss_of(pixels: Tensor, ids: Tensor) -> Tensor:
        small = F.interpolate(pixels, size=(cascade.BASE_SIDE, cascade.BASE_SIDE), mode="area")
        x0, beside, level = small, [], None
        if options.stage == "super_resolution":
            large = F.interpolate(small, size=pixels.shape[2:], mode="bilinear", align_corners=True)
            rows, columns = window(trained.step, cascade.SIDE, options.crop)
            x0, large = pixels[..., rows, columns], large[..., rows, columns]
            level = (torch.rand(len(x0), device=x0.device).square() * 1000).long()
            beside = [noising.add_noise(large, torch.randn_like(large), level)]
        noise = torch.randn_like(x0)
        t = stratified_times(len(x0), x0.device)
        x_t = process.add_noise(x0, noise, t)
        with torch.no_grad():
            words = encoder(ids, attention_mask=(ids != tokenizer.pad_token_id).long()).last_hidden_state
        with autocast(options):
            v, spread = unet(torch.cat([x_t, *beside], 1), t, words, class_labels=level).sample.chunk(2, 1)
        error = row_errors(process, v, x0, noise, t) * loss_weights(process, t)
        return (error + VARIANCE_WEIGHT * variance_error(alphas_cumprod, v, spread, x0, x_t, t)).mean()

    learn(options, options.stage, trained, examples, loss_of)


if __name__ == "__main__":
    main()
