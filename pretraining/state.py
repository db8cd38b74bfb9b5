"""State of a training: saved whole, loaded back, no pickle. One folder holds the states of all models of a size."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreambooth.support.files import atomic_write
from pretraining.muon import Muon, is_matrix
from pretraining.sizes import SIZES, Size


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The flags that every module of the pretraining has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("build/pretraining"), help="folder of states and renders")
    parser.add_argument("--size", choices=SIZES, default="embedded", help="which embedded model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--bf16", action="store_true", help="autocast; on a CPU only with avx512_bf16 is it faster")
    return parser


def prepare(options: argparse.Namespace) -> Size:
    """Set the threads, make the state folder and log what is run."""
    torch.set_num_threads(options.threads)
    if options.device.startswith("cuda:"):
        torch.cuda.set_device(options.device)
    options.state.mkdir(parents=True, exist_ok=True)
    log(options.state, " ".join(f"{name}={value}" for name, value in vars(options).items()))
    return SIZES[options.size]


def autocast(options: argparse.Namespace) -> torch.autocast:
    """bfloat16 for what the flags ask it for."""
    return torch.autocast(options.device.split(":")[0], torch.bfloat16, enabled=options.bf16)


def log(folder: Path, line: str) -> None:
    """Print a line and keep it, dated, in the state folder's log.txt."""
    stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"
    print(stamped, flush=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as file:
        file.write(stamped + "\n")


class Trained:
    """Modules, their running average and their optimizers, which save and load together.

    What batch norms have counted is that of the weights, not of their average: near the end of a training they agree.

    modules: named parts that train.  learning_rate: of AdamW.  decay: of the running average, a step.
    muon_rate: where given, layers' weights are trained by Muon at this rate, and AdamW has the rest.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        learning_rate: float,
        decay: float,
        weight_decay: float = 0.01,
        muon_rate: float | None = None,
        muon_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.modules = dict(modules)
        self.parameters = {
            f"{part}.{name}": parameter
            for part, module in modules.items()
            for name, parameter in module.named_parameters()
        }
        matrices = {n: p for n, p in self.parameters.items() if muon_rate is not None and is_matrix(n, p)}
        rest = {n: p for n, p in self.parameters.items() if n not in matrices}
        decayed = [p for n, p in rest.items() if p.dim() >= 2 and "embedding" not in n]
        plain = [p for n, p in rest.items() if p.dim() < 2 or "embedding" in n]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
        device = next(iter(self.parameters.values())).device
        capturable = device.type == "cuda"
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=learning_rate, capturable=capturable)
        ]
        if muon_rate is not None:
            self.optimizers.append(Muon(matrices.values(), lr=muon_rate, dtype=muon_dtype))
        self.full_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.counts = device if capturable else torch.device("cpu")  # where AdamW keeps its numbers of steps
        self.share = torch.zeros((), device=device)  # of the average that a step replaces
        if capturable:  # a graph reads a rate where it lies
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = torch.tensor(group["lr"], device=device)
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.buffers = {
            f"{part}.{name}": buffer
            for part, module in modules.items()
            for name, buffer in module.named_buffers()
            if buffer.is_floating_point()
        }
        self.decay = decay
        self.step = 0

    def update(self, loss: Tensor, share: float) -> None:
        """One step of the optimizers, at this share of their learning rates, and of the average."""
        self.set_rates(share)
        self.descend(loss)

    def set_rates(self, share: float) -> None:
        """Set the learning rates of the next step, which `descend` takes, and count it."""
        for optimizer, rates in zip(self.optimizers, self.full_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(share * rate)
                else:
                    group["lr"] = share * rate
        self.step += 1
        decay = min(self.decay, self.step / (self.step + 10))  # an early average must forget the random start
        self.share.fill_(1 - decay)

    def descend(self, loss: Tensor) -> None:
        """The step itself, of optimizers and average: nothing in it asks the device for a number."""
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        averages, now = list(self.average.values()), [p.detach() for p in self.parameters.values()]
        with torch.no_grad():  # foreach_lerp, with a weight in a GPU's memory, launches a kernel for each tensor
            torch._foreach_mul_(averages, 1 - self.share)
            torch._foreach_add_(averages, torch._foreach_mul(now, self.share))

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What the optimizer keeps for a parameter; where it is to be kept, if it has none yet."""
        for optimizer in self.optimizers:
            if any(parameter is other for group in optimizer.param_groups for other in group["params"]):
                return cast(dict[str, Tensor], optimizer.state[parameter])
        raise KeyError("no optimizer trains this parameter")

    def save(self, path: Path) -> None:
        """Write weights, average, running statistics and optimizer state to one safetensors file."""
        tensors = {f"weights/{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"average/{name}": p for name, p in self.average.items()}
        tensors |= {f"buffers/{name}": buffer for name, buffer in self.buffers.items()}
        for name, parameter in self.parameters.items():
            for key, value in self._state_of(parameter).items():
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
            for name, buffer in self.buffers.items():
                buffer.copy_(tensors[f"buffers/{name}"])
        if weights_only:
            return
        with safe_open(path, "pt") as file:
            self.step = json.loads(file.metadata()["step"])
        for name, parameter in self.parameters.items():
            for key in ("step", "exp_avg", "exp_avg_sq", "momentum"):
                if (kept := tensors.get(f"optimizer/{key}/{name}")) is not None:
                    self._state_of(parameter)[key] = kept.to(self.counts if key == "step" else parameter.device)

    def use_average(self) -> None:
        """Put the averaged weights into the modules."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.average[name])
