"""What people mean by 0 where a setting has none, and how it is said here."""

MEANT_BY_ZERO = {
    "num_class_images": "no class images are a training without the class prior: --no-with-prior-preservation",
    "num_images_per_prompt": "the least is 1: give few --prompts to draw less",
    "validation_steps": "to train without measuring: --no-probe",
    "probe_images_per_prompt": "to train without measuring: --no-probe",
    "probe_class_images": "to train without measuring: --no-probe",
    "checkpointing_steps": "to keep few: --checkpoints-total-limit 1; the last one is what a run resumes from",
    "checkpoints_total_limit": "the least is 1, which a run resumes from",
    "learning_rate": "to train nothing: --method prompt_only",
    "text_encoder_lr": "to leave the text encoder as it is: --no-train-text-encoder",
    "snr_gamma": "to leave the loss unweighted: --snr-gamma none",
    "dco_beta": "for the loss of the paper: --dco-beta none",
    "lora_alpha": "to scale by 1: --lora-alpha none",
    "max_grad_norm": "to clip nothing: a large number, such as 1e9",
    "ema_decay": "to save the weights of a step and no average: --no-use-ema",
    "class_guidance_scale": "1 is no guidance",
    "guidance_scale": "1 is no guidance",
}
"""A clause for each setting; in a TOML file the same names stand with "_"."""


def zero_hint(setting: object, given: object) -> str:
    """The clause for a setting that was given 0, after a semicolon; empty for any other."""
    try:
        is_zero = float(str(given)) == 0
    except ValueError:
        is_zero = False
    return f"; {MEANT_BY_ZERO[str(setting)]}" if is_zero and str(setting) in MEANT_BY_ZERO else ""
