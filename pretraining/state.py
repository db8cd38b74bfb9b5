"""State of a training: saved whole, loaded back, no pickle. One folder holds the states of all models of a size."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreambooth.support.files import atomic_write
from pretraining.sizes import SIZES, Size


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The flags that every module of the pretraining has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("build/pretraining"), help="folder of states and renders")
    parser.add_argument("--size", choices=SIZES, default="64", help="which embedded model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser


def prepare(options: argparse.Namespace) -> Size:
    """Set the threads, make the state folder and log what is run."""
    torch.set_num_threads(options.threads)
    options.state.mkdir(parents=True, exist_ok=True)
    log(options.state, " ".join(f"{name}={value}" for name, value in vars(options).items()))
    return SIZES[options.size]


def log(folder: Path, line: str) -> None:
    """Print a line and keep it, dated, in the state folder's log.txt."""
    stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"
    print(stamped, flush=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as file:
        file.write(stamped + "\n")


class Trained:
    """Modules, their running average and their optimizer, which save and load together.

    modules: named parts that train.  decay: of the running average, a step.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], learning_rate: float, decay: float, weight_decay: float = 0.01
    ) -> None:
        self.modules = dict(modules)
        self.parameters = {
            f"{part}.{name}": parameter
            for part, module in modules.items()
            for name, parameter in module.named_parameters()
        }
        plain = [p for name, p in self.parameters.items() if p.dim() < 2 or "embedding" in name]
        decayed = [p for name, p in self.parameters.items() if not (p.dim() < 2 or "embedding" in name)]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=learning_rate,
        )
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.decay = decay
        self.step = 0

    def update(self, loss: Tensor, learning_rate: float) -> None:
        """One step of the optimizer and of the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        decay = min(self.decay, self.step / (self.step + 10))  # an early average must forget the random start
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.parameters.values()], 1 - decay)

    def save(self, path: Path) -> None:
        """Write weights, average and optimizer state to one safetensors file."""
        tensors = {f"weights/{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"average/{name}": p for name, p in self.average.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = value
        with atomic_write(path) as aside:
            save_file(
                {k: v.cpu().contiguous().clone() for k, v in tensors.items()}, aside, {"step": json.dumps(self.step)}
            )

    def load(self, path: Path, *, weights_only: bool = False) -> None:
        """Go on from what `save` wrote; with weights_only, start anew from its averaged weights."""
        tensors = load_file(path)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[("average/" if weights_only else "weights/") + name])
                self.average[name].copy_(tensors[f"average/{name}"])
        if weights_only:
            return
        with safe_open(path, "pt") as file:
            self.step = json.loads(file.metadata()["step"])
        for name, parameter in self.parameters.items():
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"optimizer/{key}/{name}" in tensors]
            self.optimizer.state[parameter] = {
                key: tensors[f"optimizer/{key}/{name}"].to("cpu" if key == "step" else parameter.device) for key in keys
            }

    def use_average(self) -> None:
        """Put the averaged weights into the modules."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.average[name])
