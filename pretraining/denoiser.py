"""The U-Net, trained with the text encoder on the latents of `examples`.

v-prediction whose loss counts less where there is hardly any noise, zero terminal SNR (so that "at night" can be dark),
one caption in ten empty for guidance, Muon. The learning rate stays constant for as many sittings as one likes
(--samples, --minutes); --cooldown, or --cooldown-minutes in the same call, then decays it to nothing in a copy, whose
averaged weights are the ones to ship.
"""

import argparse
import json
import time
from collections.abc import Callable
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
SAVED_EVERY = 500


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


def held(options: argparse.Namespace) -> Callable[[int], float | None]:
    """The share of the learning rates at a step while they are constant, after a warm-up; None when that is over."""
    started = time.time()

    def share(step: int) -> float | None:
        late = time.time() - started > 60 * options.minutes
        return None if late or step >= options.samples // options.batch else min(1.0, (step + 1) / 200)

    return share


def decayed(options: argparse.Namespace, stable: int) -> Callable[[int], float | None]:
    """A straight line down to a hundredth from the step `stable` on, over --cooldown samples or --cooldown-minutes."""
    started = time.time()

    def share(step: int) -> float | None:
        if options.cooldown_minutes:
            gone = (time.time() - started) / 60 / options.cooldown_minutes
        else:
            gone = (step - stable) * options.batch / options.cooldown
        return None if gone >= 1 else max(0.01, 1 - gone)

    return share


def main() -> None:
    """Train up to --samples, or go on; then, with --cooldown, decay in a copy."""
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples at the constant learning rate")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at the constant learning rate, at most")
    parser.add_argument("--cooldown", type=int, default=0, help="instead: further samples of decay, kept apart")
    parser.add_argument("--cooldown-minutes", type=float, default=0.0, help="afterwards: minutes of decay, kept apart")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=RATE)
    parser.add_argument("--muon-rate", type=float, default=MUON_RATE)
    parser.add_argument("--follow", action="store_true", help="take the examples that another process is making")
    parser.add_argument("--compile", action="store_true", help="the U-Net, by torch.compile: for GPUs")
    options = parser.parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    unet, encoder, tokenizer = modules(options, size)
    parts = {"unet": unet, "text_encoder": encoder}
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    trained = Trained(parts, options.learning_rate, 0.999, muon_rate=options.muon_rate, muon_dtype=dtype)
    examples = Examples(options, size, tokenizer)
    path = options.state / "denoiser.safetensors"
    if options.cooldown:
        stable = saved_step(path)
        cooled = options.state / f"denoiser-cooled-{stable}.safetensors"
        trained.load(cooled if cooled.exists() else path)
        train(options, trained, examples, decayed(options, stable), cooled)
        return
    if path.exists():
        trained.load(path)
    if options.compile:
        unet.compile(dynamic=False)
    train(options, trained, examples, held(options), path)
    if options.cooldown_minutes:
        cooled = options.state / f"denoiser-cooled-{trained.step}.safetensors"
        train(options, trained, examples, decayed(options, trained.step), cooled)


def stratified_times(count: int, device: torch.device) -> Tensor:
    """(B,) times uniform on [0, 1000), one from each of B equal parts: the loss of a batch varies less."""
    places = torch.arange(count, device=device) + torch.rand(count, device=device)
    return (places * 1000 / count).long().clamp(max=999)


def saved_step(path: Path) -> int:
    """The step that a saved state stands at."""
    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()["step"]))


def loss_weights(process: DiscreteDiffusion, t: Tensor) -> Tensor:
    """(B,) 1 up to SNR_LIMIT, then falling as 1 / SNR: v's error there is finer than any pixel."""
    return ((SNR_LIMIT + 1) / (process.snr(t) + 1)).clamp(max=1).float()


def train(
    options: argparse.Namespace,
    trained: Trained,
    examples: Examples,
    share_at: Callable[[int], float | None],
    path: Path,
) -> None:
    """The loop, until there is no share of the learning rates for a step, saving every so often."""
    process = DiscreteDiffusion(scheduler().alphas_cumprod, "v_prediction")
    unet, encoder = trained.modules["unet"], trained.modules["text_encoder"]
    started, first, losses = time.time(), trained.step, []
    log(options.state, f"denoiser: from step {trained.step}, {len(examples.latents)} renders")
    while (share := share_at(trained.step)) is not None:
        x0, ids = examples.batch(trained.step, options.batch)
        torch.manual_seed(trained.step)
        noise = torch.randn_like(x0)
        t = stratified_times(len(x0), x0.device)
        with autocast(options):
            pred = unet(process.add_noise(x0, noise, t), t, encoder(ids).last_hidden_state).sample
        loss = (row_errors(process, pred, x0, noise, t) * loss_weights(process, t)).mean()
        trained.update(loss, share)
        losses.append(loss.detach())
        if trained.step % 100 == 0:
            rate = (trained.step - first) * options.batch / (time.time() - started)
            mean = float(torch.stack(losses).mean())
            told = f"step {trained.step} loss {mean:.4f} {rate:.0f} samples/s, rates x {share:.2f}"
            log(options.state, f"denoiser: {told}")
            losses = []
        if trained.step % SAVED_EVERY == 0:
            trained.save(path)
        if options.follow and trained.step % 100 == 0:
            examples.grow()
    trained.save(path)
    log(options.state, f"denoiser: stopped at step {trained.step}, {len(examples.latents)} renders")


if __name__ == "__main__":
    main()
