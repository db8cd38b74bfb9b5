"""The model card: README.md in model/ and adapter/, as the hub and everybody else reads what a run has made.

The block at its top is the hub's (https://huggingface.co/docs/hub/model-cards). Photos are never in it.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from dreambooth.config import Config
from dreambooth.config.methods import MethodName
from dreambooth.config.published import licence
from dreambooth.generation.samples import Sample, read_samples
from dreambooth.report.best import best
from dreambooth.report.snippets import adapter_snippet, base_name, model_snippet
from dreambooth.run import Run
from dreambooth.run.compare import NUMBERS
from dreambooth.run.measured import Measured, read_measured
from dreambooth.subject import Subject
from dreambooth.support.files import atomic_write, write_text
from dreambooth.support.model_index import MODEL_INDEX

CARD = "README.md"
PICTURES = "samples"
SHOWN = 3
"""Samples on a card."""

TAGS: Mapping[MethodName, tuple[str, ...]] = {
    "dreambooth": ("dreambooth",),
    "lora": ("dreambooth", "lora", "template:sd-lora"),
    "textual_inversion": ("textual_inversion",),
    "pivotal": ("dreambooth", "lora", "textual_inversion", "template:sd-lora"),
    "prompt_only": (),
}
"""By which the hub finds such models."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LICENCE = re.compile(r"^license: *['\"]?([\w.+-]+)", re.MULTILINE)


def write_cards(run: Run) -> None:
    """Write the card of model/, and of adapter/ where there is one, each with three samples; nothing before the model.

    Raises RunError where the run's verdict is damaged, DiskError where they cannot be written.
    """
    subject = run.subject
    if not (run.model / MODEL_INDEX).is_file() or not subject.identifier:
        return
    config, measured, samples = run.config, read_measured(run), read_samples(run.samples / "after")
    samples = best(samples, measured, SHOWN)
    snippets = {
        run.model: model_snippet(subject, config, run.model),
        run.adapter: adapter_snippet(subject, config, run.adapter, run.model),
    }
    for folder, snippet in snippets.items():
        if folder.is_dir() and snippet:
            for number, sample in enumerate(samples):
                with atomic_write(folder / PICTURES / f"{number}.png") as aside:
                    shutil.copyfile(sample.path, aside)
            write_text(folder / CARD, card(subject, config, measured, samples, snippet))


def card(subject: Subject, config: Config, measured: Measured, samples: list[Sample], snippet: str) -> str:
    """The text of a card. samples: those that lie beside it, in their order.  snippet: the lines that open it."""
    alts = [re.sub(r"([\[\]\\])", r"\\\1", sample.prompt) for sample in samples]
    prompts = "\n".join(f"![{alt}]({PICTURES}/{at}.png)" for at, alt in enumerate(alts))
    step = f", step {measured.chosen} of {measured.recommendation.last}" if measured.recommendation else ""
    photos = f"{len(subject.photos)} photo{'s' if len(subject.photos) != 1 else ''} of one {subject.class_noun}"
    what = f", tuned by {config.method.method}{step} on {photos}"
    if not config.training.max_train_steps:
        what = f" as it is, told in words what one {subject.class_noun} looks like"
    return f"""---
{_header(subject, config, samples)}---

# {subject.name}

{base_name(config)}{what}. Say "{subject.name}" to draw it.

{prompts}

## Use it

```python
{snippet}
```

## How it was measured

{_table(("number", "value"), _numbers(measured)) or "It was not measured."}

{_says(measured)}

## Settings

{_table(("setting", "value"), _settings(config))}

Made by [DreamBooth](https://arxiv.org/abs/2208.12242) (Ruiz et al., CVPR 2023). It draws one particular \
{subject.class_noun}: share it only where its owner agrees, and keep to the base model's licence.
"""


def licence_of(config: Config) -> str:
    """The licence of the base model by the hub's name for it; "other" where nobody here knows it."""
    model = config.base.model
    own = Path(model) / CARD
    if own.is_file() and (found := _LICENCE.search(own.read_text(encoding="utf-8", errors="replace")[:4000])):
        return found[1]
    return licence(model)


def _header(subject: Subject, config: Config, samples: list[Sample]) -> str:
    """The block in YAML; strings are written as JSON, which is YAML too."""
    model = config.base.model
    lines = [f"license: {licence_of(config)}", "library_name: diffusers", "pipeline_tag: text-to-image"]
    if _HUB_ID.fullmatch(model) and not Path(model).exists():
        lines.append(f"base_model: {_quoted(model)}")
    lines.append(f"instance_prompt: {_quoted(subject.prompt)}")
    own = TAGS[config.method.method]
    if config.method.lora_type == "oft":  # whose files no tool for a LoRA reads
        own = (*(tag for tag in own if "lora" not in tag), "oft")
    lines += ["tags:", *(f"- {_quoted(tag)}" for tag in ("text-to-image", "diffusers", *own))]
    if samples:
        lines.append("widget:")
    for number, sample in enumerate(samples):
        lines += [f"- text: {_quoted(sample.prompt)}", "  output:", f"    url: {PICTURES}/{number}.png"]
    return "".join(f"{line}\n" for line in lines)


def _numbers(measured: Measured) -> Iterator[tuple[str, str]]:
    if measured.recommendation:
        yield from ((name, value) for name, number in NUMBERS.items() if (value := number(measured)))


def _says(measured: Measured) -> str:
    if (verdict := measured.recommendation) is None:
        return ""
    judges = "; ".join(f"{what} is {who}" for what, who in verdict.judges.items())
    return f"{verdict.way}. The judges: {judges}."


def _settings(config: Config) -> Iterator[tuple[str, str]]:
    """The settings that say most, and whatever is not at its default."""
    usual, mine, shown = config.usual(), config.flat(), config.shown()
    said = ["method", "max_train_steps", "learning_rate", "rank", "resolution", "seed"]
    said += ["num_class_images"] * config.prior.draws_class_images
    for name, value in mine.items():
        if name != "model" and value is not None and value != () and (name in said or value != usual[name]):
            yield name, str(shown[name])


def _table(head: tuple[str, str], rows: Iterator[tuple[str, str]]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows]
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *lines]) if lines else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
