"""LoRA: low-rank additions to some layers of denoiser and text encoders (Hu et al. 2021, arXiv:2106.09685), by peft.

DoRA (arXiv:2402.09353) and OFT (arXiv:2306.07280) are peft's own, on the same layers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from peft import LoraConfig, LoraModel, OFTConfig, OFTModel, get_peft_model_state_dict
from torch import Tensor, nn

from dreambooth.adapters.base import Adapter, chosen, copy_state, layers_named, rate
from dreambooth.adapters.kohya import kohya_layers, write_kohya
from dreambooth.adapters.merging import merge
from dreambooth.config import Config, Method
from dreambooth.models.base import DiffusionModel, Stage
from dreambooth.subject import Subject
from dreambooth.support.files import atomic_write
from dreambooth.support.rng import generator
from dreambooth.support.tensor_files import save_tensors


@final
class LoRA(Adapter):
    """peft's additions to the layers that `lora_target_modules` names; they are all that trains.

    Their first values are a function of config.seed; before the first step they change nothing that the model computes.
    """

    def __init__(self, model: DiffusionModel, stage: Stage, subject: Subject, config: Config) -> None:
        self._training, self._method = config.training, config.method
        self._model, self._title, self._seed = model, subject.name, config.seed
        self._tuned: dict[str, LoraModel | OFTModel] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(config.seed, "adapter").initial_seed())
            for part, module in chosen(stage, config.training).items():
                targets = self._method.lora_target_modules or model.lora_layout.targets[part]
                if layers_named(module, targets):
                    self._tuned[part] = _tuner(module, self._method, targets)
        self._parameters = {
            part: {name: p for name, p in tuner.model.named_parameters() if p.requires_grad}
            for part, tuner in self._tuned.items()
        }
        for parameters in self._parameters.values():
            for parameter in parameters.values():
                parameter.data = parameter.data.float()  # whatever the layer's own

    def modules(self) -> Mapping[str, nn.Module]:
        return self._tuned

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(parameters.values()), "lr": rate(part, self._training)}
            for part, parameters in self._parameters.items()
        ]

    def state(self) -> dict[str, Tensor]:
        return {
            f"{part}.{name}": parameter.detach()
            for part, parameters in self._parameters.items()
            for name, parameter in parameters.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        copy_state(self.state(), state)

    def export(self, folder: Path) -> None:
        """Of LoRA pytorch_lora_weights.safetensors (diffusers) and <name>-kohya.safetensors (ComfyUI, A1111).

        Of DoRA the first alone, because those two readers norm its magnitudes along different axes; of OFT, which
        diffusers does not read, peft's own files in a folder for each part.
        """
        weights = {
            part: get_peft_model_state_dict(tuner.model, save_embedding_layers=False)
            for part, tuner in self._tuned.items()
        }
        configs = {part: tuner.peft_config["default"] for part, tuner in self._tuned.items()}
        for config in configs.values():
            config.target_modules = sorted(config.target_modules)  # of a set, the files would be others each time
        if self._method.lora_type == "oft":
            for part, state in weights.items():
                with atomic_write(folder / part) as aside:
                    configs[part].save_pretrained(str(aside))
                    names = {f"base_model.model.{name}": tensor for name, tensor in state.items()}
                    save_tensors(aside / "adapter_model.safetensors", names)
            return
        self._model.save_lora(folder, weights, {part: _chosen(config) for part, config in configs.items()})
        if self._method.lora_type == "lora" and self._model.lora_layout.kohya_prefixes:
            self._export_kohya(folder, weights)

    def _export_kohya(self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        layout, alpha = self._model.lora_layout, _alpha(self._method)
        slug = re.sub(r"[^a-z0-9]+", "-", self._title.lower()).strip("-")
        write_kohya(
            folder / f"{slug}-kohya.safetensors",
            {
                name: tensor
                for part, state in weights.items()
                for name, tensor in kohya_layers(state, layout.kohya_prefixes[part], alpha).items()
            },
            architecture=layout.architecture,
            title=self._title,
            rank=self._method.rank,
            alpha=alpha,
        )

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        for tuner in self._tuned.values():
            tuner.disable_adapter_layers()
        try:
            yield
        finally:
            for tuner in self._tuned.values():
                tuner.enable_adapter_layers()

    def merge(self) -> None:
        self._model.weights.gather()
        for part, tuner in self._tuned.items():
            merge(tuner, self._seed, part)


def _chosen(config: Any) -> dict[str, Any]:
    """What was chosen of peft's config: a peft that is older than a field refuses a file that names it."""
    given = config.to_dict()
    default = {**type(config)().to_dict(), "peft_version": given.get("peft_version")}
    different = {name: value for name, value in given.items() if value != default[name]}
    asked_for = ("r", "lora_alpha", "rank_pattern", "alpha_pattern")  # by diffusers, whatever they are
    return {name: given[name] for name in asked_for} | different


def _alpha(method: Method) -> float:
    return method.rank if method.lora_alpha is None else method.lora_alpha


def _tuner(module: nn.Module, method: Method, targets: Sequence[str]) -> LoraModel | OFTModel:
    """Add to the layers of `module`, in place; everything else of it is frozen."""
    if method.lora_type == "oft":
        oft = OFTConfig(r=0, oft_block_size=method.rank, target_modules=list(targets))
        return OFTModel(module, oft, "default")
    lora = LoraConfig(
        r=method.rank,
        lora_alpha=_alpha(method),  # type: ignore[arg-type]  # peft says int and takes any number
        target_modules=list(targets),
        use_dora=method.lora_type == "dora",
    )
    return LoraModel(module, lora, "default")
