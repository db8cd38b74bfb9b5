"""Every command and its flags, as one parser; what the commands do is in cli.py."""

import argparse

from dreambooth.config import many
from dreambooth.config.completion import SHELLS
from dreambooth.config.flags import add_settings, section
from dreambooth.config.parser import Parser, between, model, new_file, path, tensor_file
from dreambooth.config.peers import with_aliases
from dreambooth.config.web import add_web_flags
from dreambooth.config.worlds import EMBEDDED
from dreambooth.support.device import DEVICES, VARIABLE

STAGES = {
    "identifier": "choose the rare token that will name the subject (section 3.2)",
    "prior": "generate the class images (section 3.3)",
    "finetune": "fine-tune the model on photos and class images, and save it",
    "report": "write report.html, share.jpg, the contact sheet and the model cards again",
}
CANNOT_TELL = "CLIP cannot tell: say what kind of thing it is by --class-noun."
"""What `class-noun` says of photos that are like no noun; the page says it without the flag."""

Commands = argparse._SubParsersAction


def parser(version: str) -> Parser:
    """The parser of every command."""
    top = Parser(
        prog="dreambooth",
        description="A few photos of one thing in, the same thing in new scenes out (DreamBooth, Ruiz et al. 2023).",
        epilog="`dreambooth COMMAND --help` says more. The same command resumes a run that was stopped.",
    )
    top.example = "dreambooth run PHOTOS_DIR --class-noun dog --model stable-diffusion-v1-5/stable-diffusion-v1-5"
    top.add_argument("--version", action="version", version=f"dreambooth {version}", help="show the version and stop")
    commands = top.add_subparsers(metavar="COMMAND", required=True, title="commands")
    _add_run(commands)
    _add_class_noun(commands)
    _add_doctor(commands)
    _add_continue(commands)
    _add_generate(commands)
    for stage, summary in STAGES.items():
        command = _add_on_run(commands, stage, summary)
        if stage != "report":
            _add_device(command)
    _add_export(commands)
    _add_evaluate(commands)
    _add_experiment(commands)
    _add_fleet(commands)
    _add_compare(commands)
    _add_web(commands)
    _add_toybox(commands)
    _add_completion(commands)
    return top


def _add_run(commands: "Commands[Parser]") -> None:
    command = _add(commands, "run", "the whole method: photos in, personalised model, samples and report out")
    command.usage = (
        "dreambooth run PHOTOS_DIR [--class-noun NOUN] [PHOTOS_DIR --class-noun NOUN ...] [settings]\n"
        "       dreambooth run SUBJECTS.toml [settings]"
    )
    command.more = "also"
    command.example = "dreambooth run my-dog --class-noun dog --model stable-diffusion-v1-5/stable-diffusion-v1-5"
    command.epilog = (
        "Each further folder is a further subject in the same model, which take turns; of folders, --identifier is "
        "given once for each, in their order (none: a token is chosen), or not at all. SUBJECTS.toml lists them as for "
        "`dreambooth fleet`, which makes a model of each. Underscores work too, as in --learning_rate, and so do most "
        "names of diffusers' scripts and kohya's."
    )
    help_ = "folder with the photos, never changed; or a TOML file of several subjects"
    command.add_argument("photos_dir", metavar="PHOTOS_DIR", type=path, help=help_)
    nouns, help_ = with_aliases("--class-noun"), 'kind of thing, such as "dog" [default: as CLIP reads the photos]'
    command.add_argument(*nouns, dest="class_nouns", action="append", metavar="NOUN", help=help_)
    folders, help_ = with_aliases("--output-dir"), "run folder [default: runs/<name of the photos folder>]"
    command.add_argument(*folders, dest="output_dir", type=path, metavar="DIR", help=help_)
    text = "say how long it will take, in how much memory, disk and download, what would need less; and stop"
    command.add_argument("--plan", action="store_true", help=text)
    _add_config(command)
    _add_device(command)
    add_settings(command, of_each={"identifier": "identifiers"})


def _add_class_noun(commands: "Commands[Parser]") -> None:
    command = _add(commands, "class-noun", "suggest what kind of thing the photos show (section 3.2)")
    command.example = "dreambooth class-noun my-dog --model stable-diffusion-v1-5/stable-diffusion-v1-5"
    command.epilog = "By the CLIP of the base model's world, among the nouns of that world."
    command.add_argument("photos_dir", metavar="PHOTOS_DIR", type=path, help="folder with the photos; never changed")
    _add_device(command)
    add_settings(command, ("model", "world"))


def _add_doctor(commands: "Commands[Parser]") -> None:
    command = _add(commands, "doctor", "what is wrong with photos, or with the installation, and the remedies")
    command.usage = "dreambooth doctor [PHOTOS_DIR] [--class-noun NOUN] [--model MODEL]"
    command.example = "dreambooth doctor my-dog --class-noun dog --model stable-diffusion-v1-5/stable-diffusion-v1-5"
    command.epilog = (
        "With photos: what every run looks for before its first slow step. Without: libraries, GPU and driver, disks, "
        "caches, and the way to the hub. The exit status is 2 where something cannot be used at all."
    )
    command.add_argument("photos_dir", metavar="PHOTOS_DIR", nargs="?", type=path, help="folder with photos")
    nouns, help_ = with_aliases("--class-noun"), "what kind of thing they show, to be compared with how they look"
    command.add_argument(*nouns, dest="class_noun", default="", metavar="NOUN", help=help_)
    _add_device(command)
    add_settings(command, ("model", "world", "resolution", *section("evaluation")))


def _add_continue(commands: "Commands[Parser]") -> None:
    summary = "resume a run that was stopped, train a finished one for more steps, or use another step"
    command = _add_on_run(commands, "continue", summary)
    command.example = "dreambooth continue runs/my-dog --max-train-steps 1500"
    steps = command.add_mutually_exclusive_group()
    help_ = "make the model of the weights of this step, in place of the recommended one; they must have been kept"
    steps.add_argument("--use-step", type=between(1, 10**9), metavar="N", help=help_)
    steps.add_argument(
        *with_aliases("--max-train-steps"),
        type=between(1, 10**9),
        metavar="N",
        help="optimizer steps in all, those that are done included [default: what the run was begun with]",
    )
    command.add_argument(
        "--early-stopping",
        action=argparse.BooleanOptionalAction,
        help="whether the run may end before all steps are done [default: as it was begun]",
    )
    _add_device(command)


def _add_generate(commands: "Commands[Parser]") -> None:
    summary = "generate the subject in new scenes with the personalised model (section 4)"
    command = _add_on_run(commands, "generate", summary)
    command.example = 'dreambooth generate runs/my-dog --prompts "a {} on the moon" --count 8 --seed 7'
    command.epilog = (
        "New samples are written to RUN_DIR/samples/own, and none is replaced. A sample is known by its words, seed, "
        "settings and model: the same again is the same file. Without any flag the samples of the run itself are drawn."
    )
    _add_prompts(command, 'with {} for the subject, as in "a {} on the moon" [default: the prompts of the run]')
    command.add_argument(
        *with_aliases("--count"),
        type=between(1, 10_000),
        metavar="N",
        help="samples of each prompt [default: as many as in the run]",
    )
    command.add_argument(
        "--seed",
        type=between(0, 2**31 - 1),
        dest="first_seed",
        metavar="N",
        help="seed of the first sample; the next ones have N + 1, N + 2 and so on [default: the seeds of the run]",
    )
    _add_device(command)
    add_settings(command, ("sampler", "num_inference_steps", "guidance_scale"), default="that of the run")


def _add_export(commands: "Commands[Parser]") -> None:
    command = _add(commands, "export", "a run's model for other programs: as one file, or in another precision")
    command.usage = (
        "dreambooth export RUN_DIR|MODEL (--single-file FILE | --folder DIR | --push-to-hub NAME) [--dtype float16]"
    )
    command.example = "dreambooth export runs/my-dog --single-file my-dog.safetensors --dtype float16"
    command.epilog = (
        "A LoRA or a learned word needs no export: RUN_DIR/adapter holds its files, of a plain LoRA kohya's too, for "
        "A1111 and ComfyUI; of OFT peft's alone."
    )
    command.add_argument("source", metavar="RUN_DIR|MODEL", type=model, help="a run, or what --model of `run` takes")
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--single-file",
        type=tensor_file,
        metavar="FILE",
        help="all weights in one .safetensors file, as A1111 and ComfyUI open it (Stable Diffusion 1.x and SDXL)",
    )
    target.add_argument("--folder", type=path, metavar="DIR", help="a folder as diffusers opens it")
    help_ = "upload a run's adapter/, or else its model/, with the card, to owner/name on the hub: never the photos"
    target.add_argument("--push-to-hub", dest="repo", metavar="NAME", help=help_)
    command.add_argument("--public", action="store_true", help="on the hub, for everybody [default: for you alone]")
    command.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="precision of the weights; float16 takes half the room, float32 is trained on [default: float32]",
    )
    add_settings(command, ("prediction_type",), default="as the model says")


def _add_evaluate(commands: "Commands[Parser]") -> None:
    command = _add(commands, "evaluate", "score pictures against photos: a run's samples, or a folder's")
    command.usage = "dreambooth evaluate RUN_DIR|FOLDER [--photos DIR] [--class-noun NOUN] [--prompts TEXT ...]"
    command.example = 'dreambooth evaluate pictures --photos my-dog --class-noun dog --prompts "a {} on the beach"'
    command.epilog = (
        "A folder's judges are the embedded ones where its pictures say that the toybox drew them, else the paper's, "
        "from the hub."
    )
    command.add_argument("pictures", metavar="RUN_DIR|FOLDER", type=path, help="a run, or samples that any tool made")
    command.add_argument("--photos", type=path, metavar="DIR", help="photos of the subject [default: those of the run]")
    nouns, help_ = with_aliases("--class-noun"), "of a folder: the kind of thing, where a prompt has {}"
    command.add_argument(*nouns, dest="class_noun", default="", metavar="NOUN", help=help_)
    each = "of a folder: one for all pictures, or one each in the order of names [default: as they say themselves]"
    _add_prompts(command, each)
    command.add_argument(
        "--out", type=new_file, metavar="FILE", help="the numbers as JSON [default: evaluation.json among the pictures]"
    )
    _add_device(command)
    add_settings(command, section("evaluation"))


def _add_experiment(commands: "Commands[Parser]") -> None:
    command = _add(commands, "experiment", "the paper's tables: methods x subjects x prompts x seeds")
    many.experiment(command)
    _add_config(command)
    _add_device(command)
    add_settings(command)


def _add_fleet(commands: "Commands[Parser]") -> None:
    command = _add(commands, "fleet", "many subjects: a run for each, several at a time, here, on Ray or on Slurm")
    many.fleet(command)
    _add_device(command)
    add_settings(command)


def _add_compare(commands: "Commands[Parser]") -> None:
    command = _add(commands, "compare", "runs beside each other: what is set differently, what was measured")
    command.example = "dreambooth compare runs/my-dog runs/my-dog-lora"
    help_ = "two folders or more that `dreambooth run` made"
    command.add_argument("run_dirs", metavar="RUN_DIR", type=path, nargs="+", help=help_)


def _add_web(commands: "Commands[Parser]") -> None:
    add_web_flags(_add(commands, "web", "a page to start runs, watch, stop, compare and use them, on a phone too"))


def _add_toybox(commands: "Commands[Parser]") -> None:
    toybox = commands.add_parser(
        EMBEDDED,
        help="the embedded model's own little world",
        description="The embedded model's own little world: what can be had of it.",
    )
    inner = toybox.add_subparsers(metavar="COMMAND", required=True, title="commands")
    command = _add(inner, "photos", "render photos of a toy that the embedded model has never seen")
    command.set_defaults(command=f"{EMBEDDED} photos")
    command.example = "dreambooth toybox photos --class-noun dog --seed 7 --out my-toy"
    command.add_argument("--class-noun", required=True, metavar="NOUN", help="kind of toy, such as dog, cat or teapot")
    seeds = between(0, 2**31 - 1)
    command.add_argument("--seed", type=seeds, required=True, metavar="N", help="which toy: every seed gives another")
    counts, help_ = between(1, 10_000), "photos to take [default: 4]"
    command.add_argument("--count", type=counts, default=4, metavar="N", help=help_)
    sizes, help_ = between(32, 4096), "side in pixels [default: 256]"
    command.add_argument("--size", type=sizes, default=256, metavar="N", help=help_)
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="new folder for photos and truth.json")


def _add_completion(commands: "Commands[Parser]") -> None:
    summary = "print what a shell needs to complete commands and flags"
    command = _add(commands, "completion", summary)
    command.example = "dreambooth completion bash >> ~/.bashrc"
    command.epilog = "Of zsh likewise >> ~/.zshrc; of fish > ~/.config/fish/completions/dreambooth.fish."
    command.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" or ".join(SHELLS))


def _add(commands: "Commands[Parser]", name: str, summary: str) -> Parser:
    command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(command=name)
    return command


def _add_on_run(commands: "Commands[Parser]", name: str, summary: str) -> Parser:
    command = _add(commands, name, summary)
    command.add_argument("run_dir", metavar="RUN_DIR", type=path, help="folder that `dreambooth run` made")
    return command


def _add_prompts(command: Parser, text: str) -> None:
    prompts = with_aliases("--prompts")
    command.add_argument(*prompts, dest="prompts", nargs="+", action="extend", default=[], metavar="TEXT", help=text)


def _add_config(command: Parser) -> None:
    command.add_argument("--config", type=path, metavar="FILE", help="TOML file of settings; flags override it")


def _add_device(command: Parser) -> None:
    text = f"where it computes; of several GPUs CUDA_VISIBLE_DEVICES says which [default: ${VARIABLE}, or the best one]"
    command.add_argument("--device", choices=DEVICES, metavar="|".join(DEVICES), help=text)
