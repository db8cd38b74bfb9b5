"""Checkpoints in one .safetensors file of the original layout, as they are shared: weights, and little to say how.

What such a file leaves out, the published settings and the words of CLIP's tokenizer, is here and in the family's file;
no network is asked. The words are the first 48,894 merges of https://github.com/openai/CLIP (MIT, Copyright 2021
OpenAI).
"""

import json
import lzma
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.models import prediction, schedules
from dreambooth.models.opening import Kind, damaged, require_all, unmap
from dreambooth.support.files import atomic_write
from dreambooth.support.model_index import MODEL_INDEX
from dreambooth.support.tensor_files import require_finite, save_tensors


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a single file leaves out, and where in it the weights are.

    family: what people call it.  configs: the settings of each part with weights.  scheduler: makes one of given
    further settings.  tokenizers: what makes each.  layout: of each part, what stands before its weights' names in the
    file, and what gives these names.  marks: those of `MARKS` that other programs heed in this family.
    """

    family: str
    configs: Mapping[str, Mapping[str, Any]]
    scheduler: Callable[..., Any]
    tokenizers: Mapping[str, Callable[[], Any]]
    layout: Mapping[str, tuple[str, Callable[[Any], Mapping[str, Tensor]]]]
    marks: Sequence[str] = ()


MARKS: dict[str, dict[str, object]] = {
    prediction.MARK: {"prediction_type": "v_prediction"},
    "ztsnr": {"rescale_betas_zero_snr": True},
}
"""Empty tensors by which ComfyUI tells such a model (https://github.com/comfyanonymous/ComfyUI supported_models.py)."""

UNSEEN = ("attention_head_dim", "num_attention_heads", "hidden_act", "scaling_factor")
"""Settings that no weight's shape shows and that programs take for granted."""


def names_in(file: Path) -> list[str]:
    """The names of all tensors in a safetensors file; raises ModelError where it is none."""
    try:
        with safe_open(file, "pt") as opened:
            return list(opened.keys())
    except Exception as error:  # safetensors has its own kinds, the system others
        raise damaged(str(file), file, error) from error


def from_file(kind: Kind, published: Published, file: Path, base: Base, dtype: torch.dtype) -> Any:
    """The pipeline in one file; raises ModelError where a weight is missing or the file is damaged.

    base: what was asked for, of which the name and the prediction type count.
    """
    name, names = base.model, names_in(file)
    if any(mark.startswith("edm") for mark in names):
        raise ModelError(f"{name} has a noise schedule of EDM's, as Playground 2.5 does: choose another model.")
    require_finite(name, [file])
    others = {reader: make() for reader, make in published.tokenizers.items()}
    said = prediction.said_by(file, names) or base.prediction_type
    others["scheduler"] = scheduler = _scheduler(published, [mark for mark in MARKS if mark in names], said)
    prediction.settle(scheduler, base.prediction_type, name)
    with tempfile.TemporaryDirectory() as folder:
        _write_configs(kind, published, Path(folder))
        try:
            pipeline = kind.pipeline.from_single_file(
                str(file), config=folder, dtype=dtype, local_files_only=True, **others, **kind.options
            )
        except Exception as error:  # three libraries raise a dozen kinds for weights that do not fit
            raise damaged(name, file, error) from error
    parts = {part: getattr(pipeline, part) for part in kind.weights}
    require_all(name, [f"{part}.{n}" for part, m in parts.items() for n, p in m.named_parameters() if p.is_meta])
    unmap(parts)
    return pipeline


def to_file(
    kind: Kind, published: Published, pipeline: Any, file: Path, name: str, metadata: Mapping[str, str]
) -> None:
    """Write the pipeline's weights to one file, which `from_file` and other programs open.

    Raises ModelError where it is not what is published: those programs would take it for that all the same.
    """
    settings = schedules.schedule(pipeline.scheduler)
    marks = [mark for mark in published.marks if all(settings.get(key) == its for key, its in MARKS[mark].items())]
    if problem := _unlike_published(kind, published, pipeline, marks):
        raise ModelError(
            f"{name} cannot be one file: {problem}. Programs that open such a file expect {published.family}. Give "
            "them the diffusers folder, or the base model with the files in adapter/."
        )
    weights = {
        f"{before}{inner}": tensor
        for part, (before, named) in published.layout.items()
        for inner, tensor in named(getattr(pipeline, part)).items()
    }
    with atomic_write(file) as aside:
        save_tensors(aside, {**weights, **{mark: torch.empty(0) for mark in marks}}, {"format": "pt", **metadata})


def model_spec(architecture: str, title: str, stage: Any) -> dict[str, str]:
    """What the file says of itself, by the names of https://github.com/Stability-AI/ModelSpec."""
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": architecture,
        "modelspec.title": title,
        "modelspec.resolution": f"{stage.resolution}x{stage.resolution}",
        prediction.SPEC: prediction.spelled(stage.process.prediction),
    }


def clip_tokenizer(pad: str) -> Any:
    """CLIP's tokenizer; pad: the word that fills a prompt up."""
    packed = (files("dreambooth.models") / "clip_merges.txt.xz").read_bytes()
    merges = [tuple(line.split()) for line in lzma.decompress(packed).decode("utf-8").splitlines()]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer: Any = CLIPTokenizer
    return tokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad)


def _scheduler(published: Published, marks: Sequence[str], predicts: str | None = None) -> Any:
    settings = {key: value for mark in marks for key, value in MARKS[mark].items()}
    return published.scheduler(**settings | ({"prediction_type": predicts} if predicts else {}))


def _unlike_published(kind: Kind, published: Published, pipeline: Any, marks: Sequence[str]) -> str | None:
    """The first thing that a file would leave out and that its readers would get wrong."""
    for reader, make in published.tokenizers.items():
        words, usual = getattr(pipeline, reader).get_vocab(), make().get_vocab()
        if words != usual:
            others = sorted(words.keys() - usual.keys())
            return f"its {reader} has words of its own ({', '.join(map(repr, others[:3])) or 'in another order'})"
    for part, type_ in kind.weights.items():
        mine, usual = getattr(pipeline, part), on_meta(type_, published.configs[part])
        shapes, expected = _shapes(mine), _shapes(usual)
        for weight in sorted(shapes.keys() | expected.keys()):
            if shapes.get(weight) != expected.get(weight):
                return f"{part}.{weight} has shape {shapes.get(weight)}, not {expected.get(weight)}"
        for setting in UNSEEN:
            value, taken = getattr(mine.config, setting, None), getattr(usual.config, setting, None)
            if value != taken and [value] != [list(taken) if isinstance(taken, tuple) else taken]:
                return f"{part} has {setting} {value}, not {taken}"
    process, taken = (schedules.process(its) for its in (pipeline.scheduler, _scheduler(published, marks)))
    if process.prediction != taken.prediction:
        return f"it predicts {process.prediction}, which no such file can say"
    if not torch.equal(process.alphas_cumprod, taken.alphas_cumprod):
        return "its noise schedule is another"
    return None


def without_values(kind: Kind, published: Published, dtype: torch.dtype) -> Any:
    """The published model's pipeline, whose weights have shapes and no values."""
    parts = {part: on_meta(type_, published.configs[part]) for part, type_ in kind.weights.items()}
    for module in parts.values() if dtype != torch.float32 else ():
        module.to(dtype)
    others = {reader: make() for reader, make in published.tokenizers.items()}
    absent = dict.fromkeys(kind.unread)
    return kind.pipeline(**parts, **others, **absent, **kind.options, scheduler=published.scheduler())


def on_meta(type_: Any, config: Mapping[str, Any]) -> Any:
    """A part with these settings, without memory."""
    with torch.device("meta"):
        return type_(type_.config_class(**config)) if hasattr(type_, "config_class") else type_(**config)


def _shapes(module: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _write_configs(kind: Kind, published: Published, folder: Path) -> None:
    """A diffusers folder without weights, which diffusers' reader of single files wants."""
    index: dict[str, Any] = {"_class_name": kind.pipeline.__name__}
    for part, type_ in kind.weights.items():
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(published.configs[part]), encoding="utf-8")
        index[part] = [type_.__module__.partition(".")[0], type_.__name__]
    for other in kind.others:
        index[other] = ["diffusers" if other == "scheduler" else "transformers", "given"]
    (folder / MODEL_INDEX).write_text(json.dumps(index), encoding="utf-8")
