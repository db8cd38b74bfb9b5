"""Whether the layers that `lora_target_modules` names can take a LoRA: peft tries every module with such an ending."""

from collections.abc import Sequence

from torch import nn

from dreambooth.adapters.base import modules_named

_SHOWN = 12


def problems(
    endings: Sequence[str], parts: Sequence[nn.Module], usual: Sequence[str], may_be_missing: bool
) -> list[str]:
    """What is wrong with these endings, a sentence each that says what to give instead; none where all is well.

    parts: what trains.  usual: the endings of the family's usual LoRA.  may_be_missing: whether an ending may name
    nothing, as one of a preset's may be of a part that does not train.
    """
    found = []
    for ending in endings:
        if any(modules_named(part, [ending]) for part in parts):
            found += _unfit(ending, parts, usual)
        elif not may_be_missing:
            found.append(
                f"lora_target_modules: no linear or convolution layer that trains has a name ending in {ending!r}; "
                f"usual here: {', '.join(usual[:_SHOWN])}"
            )
    return found


def _unfit(ending: str, parts: Sequence[nn.Module], usual: Sequence[str]) -> list[str]:
    """That modules with this ending can take no LoRA: lists of layers, norms, or convolutions in groups."""
    found = [(part, name) for part in parts for name in modules_named(part, [ending])]
    refused = [(part, name) for part, name in found if not _takes_a_lora(part.get_submodule(name))]
    if not refused:
        return []
    part, name = refused[0]
    module = part.get_submodule(name)
    groups = f" in {module.groups} groups" if isinstance(module, nn.Conv2d) else ""
    others = [name for part, name in found if _takes_a_lora(part.get_submodule(name))]
    inside = [f"{ending}.{inner}" for part, name in refused for inner in _layers(part.get_submodule(name))]
    beside = [_last(inner) for part, name in refused for inner in _layers(_parent(part, name))]
    instead = list(dict.fromkeys([*inside, *others] or beside)) or list(usual)
    return [
        f"lora_target_modules: {ending!r} names {len(refused)} of {len(found)} modules that can take no LoRA, such as "
        f"{name}, a {type(module).__name__}{groups}: give layers that can, as "
        f"{', '.join(instead[:_SHOWN])}{' and so on' if len(instead) > _SHOWN else ''}"
    ]


def _takes_a_lora(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _layers(module: nn.Module) -> list[str]:
    """The names inside `module` of the layers that can take a LoRA."""
    return [name for name, layer in module.named_modules() if name and _takes_a_lora(layer)]


def _parent(part: nn.Module, name: str) -> nn.Module:
    return part.get_submodule(name.rpartition(".")[0])


def _last(name: str) -> str:
    return name.rpartition(".")[2]
