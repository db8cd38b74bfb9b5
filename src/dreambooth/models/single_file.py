"""Checkpoints in one .safetensors file of the original layout, as they are shared: weights, and nothing to say how.

What such a file leaves out, the published settings and the words of CLIP's tokenizer, is here and in the family's file;
no network is asked. The words are the first 48,894 merges of https://github.com/openai/CLIP (MIT, Copyright 2021
OpenAI).
"""

import json
import lzma
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from dreambooth.errors import ModelError
from dreambooth.models.opening import Kind, damaged, require_all, unmap


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a single file leaves out.

    configs: the settings of each part with weights.  scheduler: makes one of given further settings.
    tokenizers: what makes each.
    """

    configs: Mapping[str, Mapping[str, Any]]
    scheduler: Callable[..., Any]
    tokenizers: Mapping[str, Callable[[], Any]]


def names_in(file: Path) -> list[str]:
    """The names of all tensors in a safetensors file; raises ModelError where it is none."""
    try:
        with safe_open(file, "pt") as opened:
            return list(opened.keys())
    except Exception as error:  # safetensors has its own kinds, the system others
        raise damaged(str(file), file, error) from error


def from_file(kind: Kind, published: Published, file: Path, name: str, dtype: torch.dtype) -> Any:
    """The pipeline in one file; raises ModelError where a weight is missing or the file is damaged."""
    names = names_in(file)
    if any(mark.startswith("edm") for mark in names):
        raise ModelError(f"{name} has a noise schedule of EDM's, as Playground 2.5 does: choose another model.")
    # empty tensors by which ComfyUI tells such a file: https://github.com/comfyanonymous/ComfyUI supported_models.py
    marked: dict[str, object] = {"prediction_type": "v_prediction"} if "v_pred" in names else {}
    marked |= {"rescale_betas_zero_snr": True} if "ztsnr" in names else {}
    others = {reader: make() for reader, make in published.tokenizers.items()}
    others["scheduler"] = published.scheduler(**marked)
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


def clip_tokenizer(pad: str) -> Any:
    """CLIP's tokenizer; pad: the word that fills a prompt up."""
    packed = (files("dreambooth.models") / "clip_merges.txt.xz").read_bytes()
    merges = [tuple(line.split()) for line in lzma.decompress(packed).decode("utf-8").splitlines()]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer: Any = CLIPTokenizer
    return tokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad)


def _write_configs(kind: Kind, published: Published, folder: Path) -> None:
    """A diffusers folder without weights, which diffusers' reader of single files wants."""
    index: dict[str, Any] = {"_class_name": kind.pipeline.__name__}
    for part, type_ in kind.weights.items():
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(published.configs[part]), encoding="utf-8")
        index[part] = [type_.__module__.partition(".")[0], type_.__name__]
    for other in kind.others:
        index[other] = ["diffusers" if other == "scheduler" else "transformers", "given"]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
