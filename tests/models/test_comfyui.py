"""A LoRA's file changes in ComfyUI what it changed here: see comfyui.py for how ComfyUI reads it."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors.torch import load_file
from torch import Tensor, nn

from comfyui import Place, Places, flow_places, fused, layers_in, with_lora
from comfyui_unet import CLIP, kohya_places, unet_places
from dreambooth.adapters import Adapter
from dreambooth.config import Config
from dreambooth.models import original_layout
from dreambooth.support.rng import normal
from families import FAMILIES, FLOWS, SUBJECT, WITH_TEXT, Family
from tiny import attached

READ = [name for name in FLOWS if name != "sana"]
"""Flows that ComfyUI knows."""


@pytest.fixture(params=READ)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def lora(family: Family, model: Any, targets: Iterable[str] = ()) -> Adapter:
    """Of random weights in both halves, alpha twice its rank."""
    given: dict[str, Any] = {"method": "lora", "rank": 3, "lora_alpha": 6, "lora_target_modules": tuple(targets)}
    adapter = attached(model, SUBJECT, Config.build({"model": "tiny", **family.settings, **given}))
    adapter.load({name: 0.1 * normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    return adapter


def trainable(module: nn.Module, places: Places) -> list[str]:
    """The names of all layers that a LoRA can be added to, and that have a place."""
    layers = {name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    return sorted(layers & places.keys())


def named_in_file(places: Places) -> dict[str, Place]:
    """What stands before diffusers' names in the file of a flow."""
    return {f"transformer.{layer}": place for layer, place in places.items()}


def require_change(before: Mapping[str, Tensor], after: Mapping[str, Tensor], places: Iterable[Place]) -> None:
    """Of every row that is one of these layers', and of no other."""
    expected = {name: torch.zeros(len(tensor), dtype=torch.bool) for name, tensor in before.items()}
    for place in places:
        place.part(expected[f"{place.layer}.weight"]).fill_(True)
    for name, rows in expected.items():
        assert torch.equal((after[name] != before[name]).reshape(len(rows), -1).any(1), rows), name


def require_equal(found: Mapping[str, Tensor], true: Mapping[str, Tensor]) -> None:
    """To the last digits of a sum."""
    assert found.keys() == true.keys()
    for name, tensor in true.items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=2e-6), name


@pytest.mark.parametrize("every", [False, True], ids=["usual layers", "every layer"])
def test_comfyui_adds_the_file_of_a_flow_to_its_own_weights_as_the_tuned_model_has_them(
    family: Family, every: bool, tmp_path: Path
) -> None:
    """Fused weights of the base and the file are those of the merged model, fused."""
    model = family.model()
    transformer = model.pipeline.transformer
    own = flow_places(transformer)
    before = fused(transformer.state_dict(), own)
    targets = trainable(transformer, own) if every else []
    adapter = lora(family, model, targets)
    adapter.export(tmp_path)
    adapter.merge()
    places, file = named_in_file(own), load_file(tmp_path / "pytorch_lora_weights.safetensors")
    layers = layers_in(file)
    assert layers and layers <= places.keys()
    assert not every or layers == {f"transformer.{layer}" for layer in targets}
    found = with_lora(before, file, places)
    require_equal(found, fused(model.pipeline.transformer.state_dict(), own))
    require_change(before, found, (places[layer] for layer in layers))


def test_a_layer_that_comfyui_does_not_know_is_an_error(family: Family, tmp_path: Path) -> None:
    model = family.model()
    own = flow_places(model.pipeline.transformer)
    before = fused(model.pipeline.transformer.state_dict(), own)
    lora(family, model).export(tmp_path)
    file = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    places = named_in_file(own)
    renamed = {name.replace("to_q.", "to_query."): tensor for name, tensor in file.items()}
    with pytest.raises(ValueError, match=r"ComfyUI knows no layer transformer\..*to_query$"):
        with_lora(before, renamed, places)
    with pytest.raises(ValueError, match=r"no LoRA's: \['transformer\.alpha'\]"):
        with_lora(before, {**file, "transformer.alpha": torch.tensor(6.0)}, places)


def test_the_map_leads_back_to_the_weights_that_diffusers_makes_of_a_published_file(family: Family) -> None:
    """So it is not of this package's making: every row has a number, and diffusers finds it where the map took it."""
    transformer: Any = family.pipeline().transformer
    if isinstance(transformer, FluxTransformer2DModel):  # diffusers reads FLUX.1 at its published width alone
        with torch.device("meta"):
            transformer = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    own, numbers, state = flow_places(transformer), itertools.count(), {}
    for name, weight in transformer.state_dict().items():
        if name.rpartition(".")[0] in own:
            rows = torch.tensor(list(itertools.islice(numbers, len(weight))))
            state[name] = rows.view(-1, *[1] * (weight.dim() - 1))
    published = {
        name.replace("y_norm.weight", "y_norm.scale"): rows  # of query and key: ComfyUI has another name for it
        for name, rows in fused(state, own).items()
    }
    extra = {"pos_embed": torch.zeros(1)} if "pos_embed.proj" in own else {}
    read = SINGLE_FILE_LOADABLE_CLASSES[type(transformer).__name__]["checkpoint_mapping_fn"]
    found = read({**published, **extra}, config=transformer.config)
    assert found.keys() - state.keys() == {f"{name}.{name}" for name in extra}
    for name, rows in state.items():
        assert torch.equal(found[name], rows), name


def ldm(pipeline: Any) -> dict[str, Tensor]:
    """Copies of a pipeline's weights as ComfyUI has them: it keeps CLIP in the layout of transformers."""
    found = dict(original_layout.unet(pipeline.unet))
    for name, part in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2")):
        if part in pipeline.components:
            encoder = original_layout.clip(getattr(pipeline, part))
            found |= {f"{name}.transformer.{layer}": tensor for layer, tensor in encoder.items()}
    return {name: tensor.clone() for name, tensor in found.items()}


@pytest.mark.parametrize("every", [False, True], ids=["usual layers", "every layer"])
@pytest.mark.parametrize("family", WITH_TEXT, indirect=True)
def test_comfyui_adds_kohyas_file_to_its_own_weights_as_the_tuned_model_has_them(
    family: Family, every: bool, tmp_path: Path
) -> None:
    """The change is up @ down * alpha / rank, for alpha unlike rank."""
    model = family.model()
    pipeline, before, places = model.pipeline, ldm(model.pipeline), kohya_places(model.pipeline)
    adapter = lora(family, model, [*trainable(pipeline.unet, unet_places(pipeline.unet)), *CLIP] if every else [])
    adapter.export(tmp_path)
    adapter.merge()
    file = load_file(tmp_path / "sks-dog-kohya.safetensors")
    layers = layers_in(file)
    assert len({layer.split("_")[1] for layer in layers}) == len(family.components)
    assert all(file[f"{layer}.alpha"] == 6 and len(file[f"{layer}.lora_down.weight"]) == 3 for layer in layers)
    found = with_lora(before, file, places)
    require_equal(found, ldm(pipeline))
    require_change(before, found, (places[layer] for layer in layers))
    with pytest.raises(ValueError, match="ComfyUI knows no layer lora_unet_mid_query"):
        with_lora(before, {**file, "lora_unet_mid_query.lora_down.weight": torch.zeros(3, 8)}, places)
