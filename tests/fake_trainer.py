"""A command line that writes run folders as the real one does, without a model: for the page's many cases.

Commands, settings, folder, lock, status.json, stop file and records are the package's own; only pictures and numbers
are made up. FAKE_STEP: seconds of a step.  FAKE_FAILS: a sentence to fail with at step 3.
"""

import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from dreambooth.config import Config
from dreambooth.config.commands import parser
from dreambooth.config.flags import given_settings
from dreambooth.data.photos import check_photos, photos_in
from dreambooth.data.pictures import open_image
from dreambooth.errors import DreamBoothError, Interrupted
from dreambooth.generation.samples import save_sample
from dreambooth.run import Run, checkpoint
from dreambooth.run.checkpoint import Checkpoint
from dreambooth.run.choice import choose
from dreambooth.run.records import (
    CHOSEN,
    DIAGNOSIS,
    LOSSES,
    MODEL,
    RECOMMENDATION,
    SCORES,
    Diagnosis,
    Loss,
    Probed,
    Recommendation,
)
from dreambooth.run.status import samples_asked
from dreambooth.run.timing import timed
from dreambooth.subject import Prompt, Subject
from dreambooth.support.files import seals
from dreambooth.support.progress import show_log, track
from dreambooth.support.signals import sigterm_as_ctrl_c, stop_signal

PLANNED = """plan      100 class images to draw, 120 steps, 5 probes, 136 samples
  time    about 12 min 06 s (a guess: by one forward pass of the model): fine-tuning 8 min 45 s, probes 1 min 56 s
  memory  0.9 GB at most of 25.3 GB
  disk    0.7 GB of 74.4 GB that are free; nothing to download
  less    --no-probe: 2 min less (nothing is measured)
  less    --num-class-images 50: 3 min 55 s less (the class may drift)"""

STEP = float(os.environ.get("FAKE_STEP", "0.02"))


def main(words: Sequence[str]) -> int:
    """Run one command, with the exit statuses of the real one."""
    show_log()
    try:
        with sigterm_as_ctrl_c():
            _command(words)
    except (Interrupted, KeyboardInterrupt) as stop:
        print(stop, file=sys.stderr)
        return 130
    except DreamBoothError as error:
        print(f"dreambooth: {error}", file=sys.stderr)
        return 2
    return 0


def _command(words: Sequence[str]) -> None:
    parsed = parser("0").parse(words)
    if parsed.command == "class-noun":
        photos_in(parsed.photos_dir)
        print("dog               83%\ncat               10%\nhorse              4%")
        return
    if parsed.command == "run" and parsed.plan:
        print(PLANNED)
        return
    if parsed.command == "generate":
        run = Run.open(parsed.run_dir)
        with run.lock():
            seed = parsed.first_seed if parsed.first_seed is not None else 0
            prompts = [Prompt("own", text) for text in parsed.prompts]
            draw(run, "own", prompts, range(seed, seed + (parsed.count or 4)))
        return
    if parsed.command == "continue":
        run = Run.open(parsed.run_dir)
        if parsed.use_step:
            with run.lock():
                choose(run, parsed.use_step)
        if parsed.max_train_steps:
            run.save_config(Config.build({**run.config.flat(), "max_train_steps": parsed.max_train_steps}))
    else:
        config = Config.build(given_settings(parsed))
        subject = Subject(photos=photos_in(parsed.photos_dir), class_noun=parsed.class_nouns[0])
        check_photos(subject.photos)
        run = Run.create(parsed.output_dir, subject, config)
    with run.lock(whole=True):
        train(run)


def train(run: Run) -> None:
    """All stages, as far as a reader of the folder can tell."""
    steps, every = run.config.training.max_train_steps, max(1, run.config.training.max_train_steps // 4)
    with timed(run, "load"):
        time.sleep(STEP)
    if run.subject.identifier is None:
        run.save_subject(run.subject.named("zwx"))
    prompts = run.config.world.prompts(run.subject.class_noun)
    with timed(run, "samples before"):
        draw(run, "before", prompts, (5, 6))
    with timed(run, "probe"):
        if not SCORES.read(run.root):
            SCORES.append(run.root, Probed(step="real", dino=0.9, clip_i=0.9))
            probe(run, 0)
    with timed(run, "finetune"):
        learn(run, steps, every)
    write_results(run, steps)
    with timed(run, "samples after"):
        draw(run, "after", prompts, (5, 6))
    Image.new("RGB", (8, 8)).save(run.share)
    run.report.write_text("<!doctype html><title>report</title><p>all of it")


def learn(run: Run, steps: int, every: int) -> None:
    """Losses, probes and the stop button."""
    done = len(LOSSES.read(run.root))
    with stop_signal() as stopped:
        for step in track(range(done, steps), "fine-tuning", done):
            time.sleep(STEP)
            if step == 3 and (sentence := os.environ.get("FAKE_FAILS")):
                raise DreamBoothError(sentence)
            value = 1 / (step + 2) + random.Random(step).random() / 5
            LOSSES.append(
                run.root,
                Loss(step=step + 1, loss=2 * value, subject=value, prior=value, lr=1e-4, grad_norm=1.0, seconds=STEP),
            )
            if (step + 1) % every == 0 or step + 1 == steps:
                probe(run, step + 1)
                save(run, step + 1)
            elif samples_asked(run.root):
                draw(run, f"step-{step + 1:06d}", run.config.world.probe_prompts[:1], (1, 2))
            if stopped:
                save(run, step + 1)
                raise Interrupted(f"stopped by {stopped[0]} after step {step + 1} of {steps}, which is saved.")


def save(run: Run, step: int) -> None:
    """A checkpoint without weights, as torch takes seconds to import."""
    state = Checkpoint(step=step, settings="", tensors={})
    checkpoint.write(run.checkpoints, state, run.config.training.checkpoints_total_limit)


def probe(run: Run, step: int) -> None:
    """Samples and numbers of one step; the untuned model is asked for the class."""
    asked = run.config.world.probe_prompts
    kinds = [Prompt("class", its.template) for its in asked] if step == 0 else [*asked, Prompt("class", "a {}")]
    draw(run, f"step-{step:06d}", kinds, (1, 2))
    way = 1 - 2.7 ** (-step / 15)
    SCORES.append(run.root, Probed(step=step, dino=0.4 + 0.48 * way, clip_i=0.6, clip_t=0.3 - 0.01 * way, pictures=12))


def write_results(run: Run, steps: int) -> None:
    """The verdict, and a model of one file."""
    best = CHOSEN.find(run.root) or max(probed.step for probed in SCORES.read(run.root) if isinstance(probed.step, int))
    verdict = Recommendation(
        step=best,
        rule="the largest product of four shares",
        reason=f"step {best}: the subject has gone 94% of the way from the untuned model to its photos (DINO)",
        last=steps,
        stopped_early=False,
        judges={"dino": "small", "clip": "small"},
        ways={"dino": 0.94, "clip_i": 0.9, "pres": 0.2},
        way="0% is the untuned model, 100% is the photos",
        kept={"clip_t": 0.97, "subject_div": 0.8, "class_div": 0.9},
    )
    RECOMMENDATION.write(run.root, verdict)
    DIAGNOSIS.write(run.root, Diagnosis(findings=(), checked=()))
    for folder, file in ((run.model, "model_index.json"), (run.adapter, "zwx-dog-kohya.safetensors")):
        folder.mkdir(exist_ok=True)
        (folder / file).write_text("{}")
    MODEL.write(run.root, seals(run.model))


def draw(run: Run, stage: str, prompts: Sequence[Prompt], seeds: Sequence[int]) -> None:
    """Cut-outs of the photos on a ground of some colour, each saying inside what it was asked for."""
    wanted = [(prompt, seed) for prompt in prompts for seed in seeds]
    for prompt, seed in track(wanted, f"samples ({stage})"):
        time.sleep(STEP / 4)
        words = prompt.template.replace("{}", run.subject.class_noun if prompt.kind == "class" else run.subject.name)
        text = {"prompt": words, "template": prompt.template, "kind": prompt.kind, "seed": str(seed), "stage": stage}
        slug = "".join(letter if letter.isalnum() else "-" for letter in f"{prompt.kind} {prompt.template}".lower())
        save_sample(picture(run, f"{stage} {words} {seed}"), run.samples / stage / f"{slug}-{seed}.png", text)


def picture(run: Run, words: str) -> Image.Image:
    """Something to look at that is a function of the words."""
    dice = random.Random(words)
    ground = Image.new("RGB", (128, 128), tuple(dice.randrange(60, 220) for _ in range(3)))
    photo: Path = dice.choice(run.subject.photos)
    if photo.is_file():
        small = open_image(photo)
        small.thumbnail((84, 84))
        ground.paste(small, (dice.randrange(0, 44), dice.randrange(0, 44)))
    ImageDraw.Draw(ground).rectangle((0, 112, 128, 128), fill=tuple(dice.randrange(256) for _ in range(3)))
    return ground


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
