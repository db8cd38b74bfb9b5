"""Flags that people bring from other tools: those that mean the same here are taken, the others are answered.

The names are of diffusers' training scripts (https://github.com/huggingface/diffusers/tree/main/examples), of
sd-scripts (https://github.com/kohya-ss/sd-scripts), and what is typed from memory. All with hyphens: a command line
may have underscores.
"""

POSITIONAL = "--instance-data-dir"
"""The folder of photos, which has no flag here: its value stands alone."""

_SAME = {
    "--model": "--pretrained-model-name-or-path --base-model --model-name",
    "--class-noun": "--class --class-name --instance-class",
    "--identifier": "--placeholder-token --token --instance-token --trigger-word",
    "--output-dir": "--output --out",
    "--learning-rate": "--lr --unet-lr",
    "--text-encoder-lr": "--text-encoder-learning-rate --learning-rate-te",
    "--max-train-steps": "--max-steps --train-steps",
    "--train-batch-size": "--batch-size",
    "--rank": "--network-dim --lora-rank",
    "--lora-alpha": "--network-alpha",
    "--snr-gamma": "--min-snr-gamma",
    "--checkpointing-steps": "--save-steps --save-every-n-steps",
    "--validation-steps": "--sample-every-n-steps",
    "--prompts": "--prompt --validation-prompt --validation-prompts",
    "--num-images-per-prompt": "--num-validation-images",
    "--count": "--num-images-per-prompt --num-images --n-samples",
    "--guidance-scale": "--cfg-scale --guidance --cfg",
    "--num-inference-steps": "--inference-steps --sampling-steps",
    "--report-to": "--log-with",
}
SAME: dict[str, tuple[str, ...]] = {ours: tuple(theirs.split()) for ours, theirs in _SAME.items()}
"""Our flag, and what others call it; taken by every command that has ours."""

_ANSWERS = (
    (
        "--instance-prompt",
        'The prompt is "a [identifier] [class noun]": for "a sks dog" give --identifier sks and --class-noun dog.',
    ),
    (
        "--class-prompt",
        'It is "a [class noun]", which --class-noun gives.',
    ),
    (
        "--class-data-dir --reg-data-dir",
        "The base model draws the class images itself, and they are kept between runs, below the folder in the "
        "environment variable DREAMBOOTH_CACHE. Leave it out.",
    ),
    (
        "--train-data-dir --data-dir --image-dir --dataset --input-dir",
        "The folder that holds the photos themselves comes first, without a flag: `dreambooth run PHOTOS_DIR "
        "--class-noun dog`.",
    ),
    (
        "--dataset-name --dataset-config-name --dataset-config --image-column --caption-column --caption-extension "
        "--in-json --keep-tokens --shuffle-caption --learnable-property",
        "Photos are the files of one folder, and all have the same caption, of the identifier and the class noun: "
        "captions and dataset files are not read. Leave it out.",
    ),
    (
        "--num-train-epochs --max-train-epochs --num-epochs --epochs --repeats --dataset-repeats --max-train-epoch",
        "There are no epochs, give steps: --max-train-steps is photos x epochs / --train-batch-size.",
    ),
    (
        "--validation-epochs --sample-every-n-epochs --save-every-n-epochs",
        "There are no epochs, give steps: --validation-steps and --checkpointing-steps.",
    ),
    (
        "--resume-from-checkpoint --resume --save-state",
        "The same command resumes a run that was stopped, and so does `dreambooth continue RUN_DIR`; a run always "
        "saves its state.",
    ),
    (
        "--logging-dir --wandb-api-key --wandb-run-name --log-tracker-name --tensorboard --wandb --trackio",
        "Give --report-to tensorboard, wandb or trackio: it writes to the run folder, under the folder's name; their "
        "own environment variables say the rest.",
    ),
    (
        "--push-to-hub --hub-model-id --hub-token --huggingface-repo-id --huggingface-token",
        "A run uploads nothing. When it is finished, `dreambooth export RUN_DIR --push-to-hub OWNER/NAME` does it.",
    ),
    (
        "--center-crop",
        "Give --crop center.",
    ),
    (
        "--random-crop",
        "Give --crop random.",
    ),
    (
        "--mask-loss --masked-training --alpha-mask --conditioning-data-dir",
        "Give --masked-loss, with masks as NAME.mask.png beside the photos or as their transparency.",
    ),
    (
        "--random-flip --flip-aug --color-aug --face-crop-aug-range",
        "Photos are neither mirrored nor recoloured: a subject need not look the same so. Leave it out.",
    ),
    (
        "--enable-bucket --bucket-reso-steps --min-bucket-reso --max-bucket-reso",
        "Every photo is cut to a square around the subject (--crop). Leave it out.",
    ),
    (
        "--width --height --image-size",
        "Pictures are squares of the size that the model was trained on; for training --resolution sets another.",
    ),
    (
        "--optimizer --optimizer-type --optimizer-args --use-lion-optimizer",
        "The optimizer is AdamW; --use-8bit-adam keeps its moments in 8 bits.",
    ),
    (
        "--enable-xformers-memory-efficient-attention --xformers --sdpa --mem-eff-attn --allow-tf32 "
        "--set-grads-to-none --dataloader-num-workers --max-data-loader-n-workers --persistent-data-loader-workers "
        "--cache-latents --cache-latents-to-disk --pre-compute-text-embeddings --lowram --highvram --local-rank",
        "It is as fast as it can be by itself: attention is torch's own, photos and prompts are encoded once. Leave "
        "it out.",
    ),
    (
        "--offload --enable-model-cpu-offload --enable-sequential-cpu-offload",
        "For less memory: --memory with the GB of your card, --dtype bfloat16, or --group-offload for a LoRA of a flow "
        "transformer.",
    ),
    (
        "--fp16 --bf16 --full-fp16 --full-bf16 --save-precision --prior-generation-precision --no-half-vae",
        "Give --mixed-precision for the arithmetic, --dtype for the weights that do not train.",
    ),
    (
        "--base-model-precision --fp8-base --quantize --qtype --load-in-8bit --load-in-4bit "
        "--bnb-quantization-config-path --do-fp8-training",
        "Give --base-bits 8 or --base-bits 4, beside --method lora.",
    ),
    (
        "--blocks-to-swap --layer-offloading --enable-group-offload --group-offloading",
        "Give --group-offload, beside --method lora and --gradient-checkpointing.",
    ),
    (
        "--scale-lr",
        "Learning rates are taken as they are: give the product as --learning-rate.",
    ),
    (
        "--lr-num-cycles --lr-power --lr-scheduler-num-cycles --lr-scheduler-power --lr-scheduler-type",
        "The choices are --lr-scheduler constant, linear or cosine, with --lr-warmup-steps.",
    ),
    (
        "--offset-noise --noise-offset --multires-noise-iterations --ip-noise-gamma",
        "The noise is the paper's, standard normal. Leave it out.",
    ),
    (
        "--weighting-scheme --timestep-sampling --timestep-type --discrete-flow-shift --training-shift --logit-mean "
        "--logit-std --mode-scale --sigmoid-scale --model-prediction-type --precondition-outputs --flow-schedule-shift",
        "Give --noise-levels, which names these tools' ways (docs/families.md); none: as the model draws.",
    ),
    (
        "--network-module --use-lora --lora --use-dora",
        "Give --method lora, with --lora-type dora for DoRA.",
    ),
    (
        "--lora-dropout --network-dropout",
        "A LoRA has no dropout here, so that a resumed run is the same. Leave it out.",
    ),
    (
        "--network-train-unet-only",
        "Give --no-train-text-encoder.",
    ),
    (
        "--network-weights --lora-weights",
        "A run begins with the base model alone. To train one of its own runs further: `dreambooth continue RUN_DIR "
        "--max-train-steps N`.",
    ),
    (
        "--vae --pretrained-vae-model-name-or-path --tokenizer-name --clip-skip --tokenizer-max-length "
        "--max-token-length --v2 --do-edm-style-training --cache-dir",
        "The base model says it itself: give the folder, file or hub id as --model. Leave it out.",
    ),
    (
        "--v-parameterization",
        "Give --prediction-type v_prediction, if the model does not say it itself.",
    ),
    (
        "--output-name --save-model-as --output-kohya-format --save-as-full-pipeline",
        "The run folder has model/ for diffusers and, of --method lora, adapter/ for diffusers, ComfyUI and A1111. "
        "Leave it out.",
    ),
    (
        "--steps --num-steps",
        "Steps of the training are --max-train-steps, those of the sampler --num-inference-steps.",
    ),
    (
        "--sample-prompts --prompt-file --prompts-file",
        'Give the prompts themselves, each in quotes: --prompts "a {} on the beach" "a {} at night".',
    ),
    (
        "--negative-prompt",
        "There are no negative prompts; --guidance-scale says how closely the prompt is followed.",
    ),
    (
        "--scheduler --validation-scheduler --sample-sampler",
        "Give --sampler.",
    ),
    (
        "--num-processes --num-gpus --multi-gpu --gpus --gpu",
        "Start it by torchrun, as docs/several-gpus.md says; the environment variable CUDA_VISIBLE_DEVICES says which "
        "GPUs there are.",
    ),
    (
        "--trust-remote-code",
        "No code of a model is ever run. Leave it out.",
    ),
    (
        "--verbose --quiet --debug",
        "It always reports all that it does. Leave it out.",
    ),
)
ANSWERS: dict[str, str] = {flag: says for flags, says in _ANSWERS for flag in flags.split()}
"""What has no counterpart of the same meaning, and what to do instead."""

_COMMANDS = {
    "run": "train fit tune fine-tune",
    "continue": "resume restart",
    "generate": "sample draw infer inference predict txt2img",
    "evaluate": "eval score",
    "--help": "help usage",
}
COMMANDS: dict[str, str] = {theirs: ours for ours, others in _COMMANDS.items() for theirs in others.split()}
"""What other tools call a command of ours."""


def with_aliases(flag: str) -> tuple[str, ...]:
    """A flag of ours with what others call it."""
    return (flag, *SAME.get(flag, ()))
