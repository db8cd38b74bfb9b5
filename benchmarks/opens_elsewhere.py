"""Do models that this package saves draw the same, to the bit, in another version of transformers and diffusers?

The embedded model, a fine-tuning of it, its LoRA, and small random models of every family are opened in both
environments as a user of diffusers does, and one picture of each is drawn from a fixed seed.

    python3 -m venv /tmp/other
    /tmp/other/bin/pip install torch==2.13.0 'transformers==4.57.*' 'diffusers==0.35.*' accelerate peft
    python -m benchmarks.opens_elsewhere --python /tmp/other/bin/python [--out FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from dreambooth import Config, Subject, photos_in, recipe
from dreambooth.toybox.photos import photos

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

EMBEDDED = str(files("dreambooth.toybox") / "weights")
OPENED = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
import diffusers, torch, transformers
for library in (diffusers, transformers):
    library.utils.logging.set_verbosity_error()
torch.set_num_threads(1)
base, lora = sys.argv[1], sys.argv[2:]
pipeline = diffusers.DiffusionPipeline.from_pretrained(base, local_files_only=True, use_safetensors=True)
if lora:
    pipeline.load_lora_weights(lora[0], weight_name=lora[1])
pipeline.set_progress_bar_config(disable=True)
drawn = pipeline("a dog in the snow", num_inference_steps=5, guidance_scale=3.0,
                 generator=torch.Generator().manual_seed(0), output_type="np").images
words = pipeline.encode_prompt(prompt="a dog in the snow", device="cpu", num_images_per_prompt=1,
                               do_classifier_free_guidance=False)[0]
print(json.dumps({
    "transformers": transformers.__version__, "diffusers": diffusers.__version__, "torch": torch.__version__,
    "dtypes": sorted({str(part.dtype) for part in pipeline.components.values() if hasattr(part, "dtype")}),
    "words": hashlib.sha256(words.detach().numpy().tobytes()).hexdigest()[:16],
    "picture": hashlib.sha256(drawn.tobytes()).hexdigest()[:16],
}))
"""
QUICK = {
    "max_train_steps": 3,
    "num_class_images": 2,
    "class_num_inference_steps": 1,
    "num_inference_steps": 1,
    "num_images_per_prompt": 1,
    "prompts": ("a {}",),
    "probe": False,
}


def main() -> None:
    """Print and write what each model is and draws in both environments; exit 1 where any differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="of the other environment")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, words in models(Path(place)).items():
            here, there = (opened(python, words) for python in (Path(sys.executable), options.python.absolute()))
            same = all(here[what] == there[what] for what in ("dtypes", "words", "picture"))
            found[name] = {"here": here, "there": there, "equal to the bit": same}
            print(f"{name}: {'equal to the bit' if same else 'DIFFERS'}\n  {here}\n  {there}", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"machine": machine(), "models": found}, indent=1) + "\n", encoding="utf-8")
    sys.exit(not all(its["equal to the bit"] for its in found.values()))


def models(place: Path) -> dict[str, list[str]]:
    """What to open of each model: its folder, and of a LoRA also the folder and name of its file."""
    from families import FAMILIES

    photos("dog", 7, 2, place / "photos", 64)
    subject = Subject(photos=photos_in(place / "photos"), class_noun="dog", identifier="zwx")
    full = recipe.dreambooth(subject, Config.build(QUICK), place / "full")
    lora = recipe.dreambooth(subject, Config.build({**QUICK, "method": "lora"}), place / "lora")
    for name, family in FAMILIES.items():
        family.model().save(place / name)
    adapter = [EMBEDDED, str(lora.adapter)]
    return {
        "embedded model": [EMBEDDED],
        "fine-tuned from it": [str(full.model)],
        "LoRA of it, merged": [str(lora.model)],
        "LoRA of it, diffusers' file": [*adapter, "pytorch_lora_weights.safetensors"],
        "LoRA of it, kohya's file": [*adapter, "zwx-dog-kohya.safetensors"],
        **{f"small random {name}": [str(place / name)] for name in FAMILIES},
    }


def opened(python: Path, words: list[str]) -> dict[str, Any]:
    """What one environment says of one model."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    told = subprocess.run(
        [python, "-c", OPENED, *words],
        capture_output=True,
        text=True,
        env={**clean, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if told.returncode:
        sys.exit(f"{python} could not draw with {' '.join(words)}:\n{told.stderr}")
    result: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
