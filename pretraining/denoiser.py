"""The U-Net, trained with the text encoder on the latents of `examples`.

v-prediction whose loss counts less where there is hardly any noise, zero terminal SNR (so that "at night" can be dark),
one caption in ten empty for guidance, Muon. The learning rate stays constant for as many sittings as one likes
(--samples); --cooldown then decays it to nothing in a copy, whose averaged weights are the ones to ship.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from dreambooth.diffusion import DiscreteDiffusion, row_errors
from pretraining import text_encoder
from pretraining.examples import Examples
from pretraining.sizes import Size
from pretraining.state import Trained, arguments, autocast, log, prepare

SNR_LIMIT = 10.0  # beyond it the loss counts less: what noise is left there is below what the autoencoder shows
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


def share_at(options: argparse.Namespace, step: int, stable: int) -> float:
    """Of the learning rates: warm-up, constant, and after `stable` steps a straight line down to a hundredth."""
    cooled = max(0, step - stable) * options.batch / max(1, options.cooldown)
    return float(min(1.0, (step + 1) / 200) * max(0.01, 1 - cooled))


def main() -> None:
    """Train up to --samples, or go on; then, with --cooldown, decay in a copy."""
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples at the constant learning rate")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop, saved, after so long")
    parser.add_argument("--cooldown", type=int, default=0, help="further samples of decay, kept apart")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=RATE)
    parser.add_argument("--muon-rate", type=float, default=MUON_RATE)
    options = parser.parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    unet, encoder, tokenizer = modules(options, size)
    parts = {"unet": unet, "text_encoder": encoder}
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    trained = Trained(parts, options.learning_rate, 0.999, muon_rate=options.muon_rate, muon_dtype=dtype)
    main_path = options.state / "denoiser.safetensors"
    path, stable = main_path, options.samples // options.batch
    if options.cooldown:
        stable = saved_step(main_path)
        path = options.state / f"denoiser-cooled-{stable}.safetensors"
    for candidate in (path, main_path):
        if candidate.exists():
            trained.load(candidate)
            break
    examples = Examples(options, size, tokenizer)
    total = stable + (options.cooldown // options.batch)
    log(options.state, f"denoiser: from step {trained.step} to {total}, {len(examples.latents)} renders")
    train(options, trained, examples, stable, total, path)


def stratified_times(count: int) -> Tensor:
    """(B,) times uniform on [0, 1000), one from each of B equal parts: the loss of a batch varies less."""
    return ((torch.arange(count) + torch.rand(count)) * 1000 / count).long().clamp(max=999)


def saved_step(path: Path) -> int:
    """The step that a saved state stands at."""
    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()["step"]))


def loss_weights(process: DiscreteDiffusion, t: Tensor) -> Tensor:
    """(B,) 1 up to SNR_LIMIT, then falling as 1 / SNR: v's error there is finer than any pixel."""
    return ((SNR_LIMIT + 1) / (process.snr(t) + 1)).clamp(max=1)


def train(
    options: argparse.Namespace, trained: Trained, examples: Examples, stable: int, total: int, path: Path
) -> None:
    """The loop, saving every 500 steps."""
    process = DiscreteDiffusion(scheduler().alphas_cumprod, "v_prediction")
    unet, encoder = trained.modules["unet"], trained.modules["text_encoder"]
    started, first, losses = time.time(), trained.step, []
    while trained.step < total:
        x0, ids = examples.batch(trained.step, options.batch)
        torch.manual_seed(trained.step)
        noise = torch.randn_like(x0)
        t = stratified_times(len(x0)).to(x0.device)
        with autocast(options):
            pred = unet(process.add_noise(x0, noise, t), t, encoder(ids).last_hidden_state).sample
        loss = (row_errors(process, pred, x0, noise, t) * loss_weights(process, t)).mean()
        trained.update(loss, share_at(options, trained.step, stable))
        losses.append(loss.detach())
        if trained.step % 100 == 0:
            rate = (trained.step - first) * options.batch / (time.time() - started)
            mean = float(torch.stack(losses).mean())
            left = (total - trained.step) * options.batch / rate / 60
            told = f"step {trained.step} loss {mean:.4f} {rate:.0f} samples/s, {left:.0f} min left"
            log(options.state, f"denoiser: {told}")
            losses = []
        late = time.time() - started > 60 * options.minutes
        if trained.step % 500 == 0 or trained.step == total or late:
            trained.save(path)
        if late:
            break


if __name__ == "__main__":
    main()
