"""LoRA's files: diffusers' and kohya's say the same change of weights, under the names that their readers look for.

Run as a program it writes tests/golden/kohya-keys.txt anew.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from peft import PeftModel
from peft.tuners.oft.layer import OFTLayer
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dreambooth import models
from dreambooth.adapters import Adapter, check
from dreambooth.adapters.kohya import kohya_layers, write_kohya
from dreambooth.config import Config
from dreambooth.errors import ConfigError
from dreambooth.models.base import DiffusionModel
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.subject import Subject
from dreambooth.support.rng import normal
from families import FAMILIES
from tiny import attached, tiny_model

GOLDEN = Path(__file__).parents[1] / "golden" / "kohya-keys.txt"
SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")
CONVOLUTIONS = ("to_q", "to_out.0", "ff.net.0.proj", "proj_in", "conv1", "conv_shortcut", "q_proj", "out_proj", "fc1")


def lora(model: DiffusionModel, **settings: object) -> Adapter:
    """A LoRA with random weights in both halves: as it begins, it changes nothing."""
    given: dict[str, Any] = {"model": "tiny", "method": "lora", "rank": 3, "lora_alpha": 6, **settings}
    adapter = attached(model, SUBJECT, Config.build(given))
    adapter.load({name: 0.1 * normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    return adapter


def weights(model: DiffusionModel) -> dict[str, Tensor]:
    """All weights of the parts that a LoRA may change."""
    parts = model.stages[0].parts.items()
    return {f"{part}.{name}": t.clone() for part, module in parts for name, t in module.state_dict().items()}


def changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    """What was added to every weight that is not the same."""
    return {name: after[name] - old for name, old in before.items() if not torch.equal(old, after[name])}


@pytest.fixture(params=[(), CONVOLUTIONS], ids=["attention", "convolutions too"])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A folder with both files, and the true change of every weight."""
    model = tiny_model()
    before = weights(model)
    adapter = lora(model, lora_target_modules=request.param)
    adapter.export(tmp_path / "adapter")
    adapter.merge()
    return tmp_path / "adapter", changes(before, weights(model))


def kohya_keys(folder: Path) -> list[str]:
    """A line for each tensor of the kohya file: its name and shape."""
    tensors = load_file(folder / "sks-dog-kohya.safetensors")
    return [f"{name} {'x'.join(map(str, tensor.shape))}".strip() for name, tensor in sorted(tensors.items())]


def test_the_kohya_file_has_the_names_that_its_readers_look_for(tmp_path: Path) -> None:
    lora(tiny_model()).export(tmp_path)
    assert kohya_keys(tmp_path) == GOLDEN.read_text().splitlines()


def test_kohyas_own_names_for_stable_diffusion() -> None:
    """Names out of files that sd-scripts wrote for Stable Diffusion 1.5."""
    half = torch.zeros(2, 2)
    for prefix, layer, name in (
        ("lora_unet_", "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0",
         "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_out_0"),
        ("lora_unet_", "mid_block.attentions.0.proj_in", "lora_unet_mid_block_attentions_0_proj_in"),
        ("lora_te_text_model_", "encoder.layers.11.self_attn.q_proj",
         "lora_te_text_model_encoder_layers_11_self_attn_q_proj"),
    ):  # fmt: skip
        layers = kohya_layers({f"{layer}.lora_A.weight": half, f"{layer}.lora_B.weight": half}, prefix, alpha=1)
        assert set(layers) == {f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"}


def test_kohyas_formula_gives_the_true_change(exported: tuple[Path, dict[str, Tensor]]) -> None:
    """W + up @ down * alpha / rank, as ComfyUI and A1111 compute it."""
    folder, true = exported
    file = load_file(folder / "sks-dog-kohya.safetensors")
    layers = {name.rpartition(".")[0] for name in file if name.endswith(".alpha")}
    prefixes = {"denoiser": "lora_unet_", "text_encoder": "lora_te_text_model_"}
    assert len(layers) == len(true) > 0
    for name, change in true.items():
        part, _, layer = name.removesuffix(".weight").partition(".")
        stem = prefixes[part] + layer.replace(".", "_")
        up, down = file[f"{stem}.lora_up.weight"], file[f"{stem}.lora_down.weight"]
        added = (up.flatten(1) @ down.flatten(1)).view(change.shape) * file[f"{stem}.alpha"] / len(down)
        assert file[f"{stem}.alpha"] == 6
        torch.testing.assert_close(added, change, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "sks-dog-kohya.safetensors"])
def test_diffusers_loads_the_true_change(exported: tuple[Path, dict[str, Tensor]], name: str, tmp_path: Path) -> None:
    folder, true = exported
    tiny_model().save(tmp_path / "base")
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "base")
    fresh = StableDiffusion(pipeline, "theirs")
    before = weights(fresh)
    pipeline.load_lora_weights(folder, weight_name=name)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    found = changes(before, weights(fresh))
    assert found.keys() == true.keys()
    for layer, change in true.items():
        torch.testing.assert_close(found[layer], change, rtol=0, atol=1e-6)


def test_the_kohya_file_says_what_it_is(tmp_path: Path) -> None:
    lora(tiny_model()).export(tmp_path)
    with safe_open(tmp_path / "sks-dog-kohya.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_module"] == "networks.lora"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("3", "6.0")
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert (metadata["ss_base_model_version"], metadata["ss_v2"]) == ("sd_v1", "False")
    assert metadata["modelspec.trigger_phrase"] == "sks dog"


@pytest.mark.parametrize(
    ("architecture", "version", "second"),
    [
        ("stable-diffusion-v2-512", "sd_v2", "True"),
        ("stable-diffusion-v2-768-v", "sd_v2_v", "True"),
        ("stable-diffusion-xl-v1-base", "sdxl_base_v1-0", "False"),
    ],
)
def test_a1111_finds_which_models_a_lora_is_for(architecture: str, version: str, second: str, tmp_path: Path) -> None:
    """It hides a LoRA beside models of another version, and takes a file with metadata that name none for SD 1.x."""
    file = tmp_path / "lora.safetensors"
    write_kohya(file, {"x": torch.zeros(1)}, architecture=architecture, title="sks dog", rank=4, alpha=4)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    assert (metadata["ss_base_model_version"], metadata["ss_v2"]) == (version, second)


def test_rank_and_alpha_travel_in_diffusers_file(tmp_path: Path) -> None:
    lora(tiny_model()).export(tmp_path)
    tiny_model().save(tmp_path / "base")
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "base")
    pipeline.load_lora_weights(tmp_path, weight_name="pytorch_lora_weights.safetensors")
    for part in (pipeline.unet, pipeline.text_encoder):
        (config,) = part.peft_config.values()
        assert (config.r, config.lora_alpha) == (3, 6)


def test_diffusers_file_names_no_setting_that_was_not_chosen(tmp_path: Path) -> None:
    """peft 0.17 refuses a file that names a field of a later version."""
    lora(tiny_model()).export(tmp_path)
    with safe_open(tmp_path / "pytorch_lora_weights.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["lora_adapter_metadata"])
    named = {name.partition(".")[2] for name in settings}
    assert named <= {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "init_lora_weights"}


def test_dora_has_no_kohya_file(tmp_path: Path) -> None:
    lora(tiny_model(), lora_type="dora").export(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["pytorch_lora_weights.safetensors"]
    with pytest.raises(ValueError, match=re.escape("no place for to_q.lora_magnitude_vector")):
        kohya_layers({"to_q.lora_magnitude_vector": torch.ones(4)}, "lora_unet_", 1)


def test_peft_opens_oft(tmp_path: Path) -> None:
    model, fresh = tiny_model(), tiny_model()
    attached(model, SUBJECT, Config.build({"model": "tiny", "method": "lora", "lora_type": "oft"}))
    model, before = tiny_model(), weights(fresh)
    adapter = lora(model, lora_type="oft", lora_alpha=None, rank=4, train_text_encoder=False)
    adapter.export(tmp_path)
    adapter.merge()
    PeftModel.from_pretrained(fresh.pipeline.unet, str(tmp_path / "denoiser")).merge_and_unload()
    found, true = changes(before, weights(fresh)), changes(before, weights(model))
    assert found.keys() == true.keys() != set()
    assert all(torch.equal(found[name], change) for name, change in true.items())


def test_a_size_of_block_that_peft_would_change_is_refused_with_those_that_fit() -> None:
    """peft takes the nearest divisor of each layer's width instead: some layers' blocks would have another size."""
    given: dict[str, Any] = {"model": "tiny", "method": "lora", "lora_type": "oft"}
    with pytest.raises(ConfigError, match=re.escape("and 3 does not for 40 of 40, such as ")) as caught:
        check(tiny_model(), Config.build({**given, "rank": 3}))
    assert caught.value.problems[0].endswith(": sizes that do for all are 2, 4, 8, 16")
    with pytest.raises(ConfigError, match="one of 1 turns nothing"):
        check(tiny_model(), Config.build({**given, "rank": 1}))
    for rank in (2, 4, 8, 16):
        adapter = attached(tiny_model(), SUBJECT, Config.build({**given, "rank": rank}))
        assert {its.oft_block_size["default"] for its in turned(adapter)} == {rank}
    with pytest.raises(ConfigError, match=re.escape("and 32 does not for ")):
        attached(tiny_model(), SUBJECT, Config.build({**given, "rank": 32}))  # as wide as some, wider than others
    given["lora_target_modules"] = ["conv1"]  # 3 x 3 pixels of 8, 16, 24 or 32 channels
    config = Config.build({**given, "rank": 3})
    assert {its.oft_block_size["default"] for its in turned(attached(tiny_model(), SUBJECT, config))} == {3}
    given["lora_target_modules"] = ["fc2", "to_q"]
    with pytest.raises(ConfigError, match=re.escape("such as encoder.layers.0.mlp.fc2 with 37: no size does for them")):
        check(tiny_model(), Config.build({**given, "rank": 4}))


def turned(adapter: Adapter) -> list[OFTLayer]:
    """Its layers."""
    return [its for tuner in adapter.modules().values() for its in tuner.modules() if isinstance(its, OFTLayer)]


def test_the_first_values_are_a_function_of_the_seed() -> None:
    first, again, other = (
        attached(tiny_model(), SUBJECT, Config.build({"model": "tiny", "method": "lora", "seed": seed})).state()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_each_part_has_its_rate() -> None:
    rates = {"learning_rate": 1e-3, "text_encoder_lr": 1e-4}
    config = Config.build({"model": "tiny", "method": "lora", **rates})
    assert [group["lr"] for group in attached(tiny_model(), SUBJECT, config).parameter_groups()] == [1e-3, 1e-4]


def test_targets_that_name_no_layer_are_reported_at_once() -> None:
    given = {"model": "tiny", "method": "lora", "lora_target_modules": ("to_q", "to_x", "q_proj"), "text_encoder_lr": 1}
    with pytest.raises(ConfigError, match=re.escape("ending in 'to_x'")) as caught:
        check(tiny_model(), Config.build(given))
    assert len(caught.value.problems) == 1
    with pytest.raises(ConfigError) as caught:  # q_proj is the text encoder's alone
        attached(tiny_model(), SUBJECT, Config.build({**given, "train_text_encoder": False}))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("family", "ending", "reason", "instead"),
    [
        (
            "flux2 klein",
            "to_out",
            "'to_out' names 1 of 3 modules that can take no LoRA, such as transformer_blocks.0.attn.to_out, a "
            "ModuleList: give layers that can, as to_out.0, single_transformer_blocks.0.attn.to_out, ",
            ("to_out.0", "single_transformer_blocks.0.attn.to_out"),
        ),
        (
            "sana",
            "conv_depth",
            "'conv_depth' names 2 of 2 modules that can take no LoRA, such as transformer_blocks.0.ff.conv_depth, a "
            "Conv2d in 80 groups: give layers that can, as conv_inverted, conv_point",
            ("conv_inverted", "conv_point"),
        ),
        ("sana", "ff", "a GLUMBConv: give layers that can, as ff.conv_inverted, ff.conv_point", ("ff.conv_point",)),
    ],
)
def test_targets_that_can_take_no_lora_are_reported_with_those_that_can(
    family: str, ending: str, reason: str, instead: tuple[str, ...]
) -> None:
    """The endings that are named instead train."""
    its = FAMILIES[family]
    given: dict[str, Any] = {"model": "tiny", "method": "lora", **its.settings}
    with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
        check(its.model(), Config.build({**given, "lora_target_modules": (ending,)}))
    assert len(caught.value.problems) == 1
    config = Config.build({**given, "lora_target_modules": instead})
    assert attached(its.model(), SUBJECT, config).parameter_groups()[0]["params"]


def test_a_preset_may_name_layers_of_a_part_that_does_not_train() -> None:
    config = Config.build(method="lora", train_text_encoder=False)
    assert {"fc1", "conv1"} <= set(config.method.lora_target_modules)
    model = models.load(config.base)
    check(model, config)
    trained = attached(model, SUBJECT, config).parameter_groups()
    assert len(trained) == 1 and trained[0]["params"]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        lora(tiny_model()).export(Path(folder))
        GOLDEN.write_text("\n".join(kohya_keys(Path(folder))) + "\n")
