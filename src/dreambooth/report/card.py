"""The model card: README.md in model/ and adapter/, as the hub and everybody else reads what a run has made.

The block at its top is the hub's (https://huggingface.co/docs/hub/model-cards). Photos are never in it.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dreambooth.config import Config
from dreambooth.config.methods import MethodName
from dreambooth.config.published import licence
from dreambooth.generation.samples import Sample, read_samples
from dreambooth.report.best import best
from dreambooth.report.snippets import adapter_snippet, base_name, model_snippet
from dreambooth.run import Run
from dreambooth.run.companions import each
from dreambooth.run.compare import NUMBERS
from dreambooth.run.measured import Measured, read_measured
from dreambooth.subject import Subject
from dreambooth.support.files import atomic_write, write_text
from dreambooth.support.model_index import MODEL_INDEX

CARD = "README.md"
PICTURES = "samples"
SHOWN = 3
"""Samples on a card; of several subjects as many of each, rounded up."""

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
    """Write the card of model/, and of adapter/ where there is one, each with some samples; nothing before the model.

    They are of all subjects of the run. Raises RunError where a verdict of it is damaged, DiskError where they cannot
    be written.
    """
    runs, config = each(run), run.config
    subjects, measured = [its.subject for its in runs], [read_measured(its) for its in runs]
    if not (run.model / MODEL_INDEX).is_file() or not all(subject.identifier for subject in subjects):
        return
    drawn, shown = [read_samples(its.samples / "after") for its in runs], -(-SHOWN // len(runs))
    samples = [sample for own, its in zip(drawn, measured, strict=True) for sample in best(own, its, shown)]
    snippets = {
        run.model: model_snippet(subjects[0], config, run.model),
        run.adapter: adapter_snippet(subjects[0], config, run.adapter, run.model),
    }
    for folder, snippet in snippets.items():
        if folder.is_dir() and snippet:
            for number, sample in enumerate(samples):
                with atomic_write(folder / PICTURES / f"{number}.png") as aside:
                    shutil.copyfile(sample.path, aside)
            write_text(folder / CARD, card(subjects, config, measured, samples, snippet))


def card(
    subjects: Sequence[Subject], config: Config, measured: Sequence[Measured], samples: list[Sample], snippet: str
) -> str:
    """The text of a card. measured: of each subject.  samples: those that lie beside it, in their order.  snippet: the
    lines that open it."""
    alts = [re.sub(r"([\[\]\\])", r"\\\1", sample.prompt) for sample in samples]
    prompts = "\n".join(f"![{alt}]({PICTURES}/{at}.png)" for at, alt in enumerate(alts))
    names, several = [subject.name for subject in subjects], len(subjects) > 1
    return f"""---
{_header(subjects, config, samples)}---

# {", ".join(names)}

{base_name(config)}{_tuned(subjects, config, measured[0])}

{prompts}

## Use it

```python
{snippet}
```

## How it was measured

{_table(("number", *(names if several else ["value"])), _numbers(measured)) or "It was not measured."}

{_says(measured[0])}

## Settings

{_table(("setting", "value"), _settings(config))}

Made by [DreamBooth](https://arxiv.org/abs/2208.12242) (Ruiz et al., CVPR 2023). It draws \
{" and ".join(f"one particular {subject.class_noun}" for subject in subjects)}: share it only where \
{"their owners agree" if several else "its owner agrees"}, and keep to the base model's licence.
"""


def _tuned(subjects: Sequence[Subject], config: Config, measured: Measured) -> str:
    """What was made of the base model, and which words draw it; of several subjects a row each."""
    first, verdict = subjects[0], measured.recommendation
    by = f", tuned by {config.method.method}"
    by += f", step {verdict.step} of {verdict.last}" if verdict else ""
    if len(subjects) > 1:
        rows = [(subject.name, subject.prompt, _photos(subject)) for subject in subjects]
        head = f"{by} on photos of {len(subjects)} subjects. Say the name of one to draw it, or several in one prompt:"
        return f"{head}\n\n{_table(('name', 'prompt', 'tuned on'), rows)}"
    if not config.training.max_train_steps:
        by = f" as it is, told in words what one {first.class_noun} looks like"
    else:
        by += f" on {_photos(first)}"
    return f'{by}. Say "{first.name}" to draw it.'


def _photos(subject: Subject) -> str:
    return f"{len(subject.photos)} photo{'s' if len(subject.photos) != 1 else ''} of one {subject.class_noun}"


def licence_of(config: Config) -> str:
    """The licence of the base model by the hub's name for it; "other" where nobody here knows it."""
    model = config.base.model
    own = Path(model) / CARD
    if own.is_file() and (found := _LICENCE.search(own.read_text(encoding="utf-8", errors="replace")[:4000])):
        return found[1]
    return licence(model)


def _header(subjects: Sequence[Subject], config: Config, samples: list[Sample]) -> str:
    """The block in YAML; strings are written as JSON, which is YAML too. The hub takes one string as the prompt."""
    model = config.base.model
    lines = [f"license: {licence_of(config)}", "library_name: diffusers", "pipeline_tag: text-to-image"]
    if _HUB_ID.fullmatch(model) and not Path(model).exists():
        lines.append(f"base_model: {_quoted(model)}")
    lines.append(f"instance_prompt: {_quoted(', '.join(subject.prompt for subject in subjects))}")
    own = TAGS[config.method.method]
    if config.method.lora_type == "oft":  # whose files no tool for a LoRA reads
        own = (*(tag for tag in own if "lora" not in tag), "oft")
    lines += ["tags:", *(f"- {_quoted(tag)}" for tag in ("text-to-image", "diffusers", *own))]
    if samples:
        lines.append("widget:")
    for number, sample in enumerate(samples):
        lines += [f"- text: {_quoted(sample.prompt)}", "  output:", f"    url: {PICTURES}/{number}.png"]
    return "".join(f"{line}\n" for line in lines)


def _numbers(measured: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    """A row for each number that any of the subjects has."""
    if measured[0].recommendation:
        rows = ((name, *map(number, measured)) for name, number in NUMBERS.items())
        yield from (row for row in rows if any(row[1:]))


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(row) for row in rows]
    return "\n".join([_row(head), f"|{'---|' * len(head)}", *lines]) if lines else ""


def _row(cells: Sequence[str]) -> str:
    return "| {} |".format(" | ".join(text.replace("|", "\\|").replace("\n", " ") for text in cells))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
