"""Settings that do nothing while another one is off. That is told and no error, since a preset may have them, too."""

from collections.abc import Collection, Iterator, Mapping

from dreambooth.config.methods import FIXED_SETTINGS
from dreambooth.config.settings import Config
from dreambooth.support.progress import log

CLASS_IMAGES = ("num_class_images", "class_sampler", "class_num_inference_steps", "class_guidance_scale")
"""The settings of class images alone."""

ONLY_WITH: Mapping[str, tuple[str, ...]] = {
    "probe": (
        *("early_stopping", "early_stopping_patience"),
        *("probe_images_per_prompt", "probe_class_images", "probe_num_inference_steps"),
    ),
    "early_stopping": ("early_stopping_patience",),
    "use_ema": ("ema_decay",),
    "masked_loss": ("unmasked_weight",),
    "train_text_encoder": ("text_encoder_lr",),
    "with_prior_preservation": ("prior_loss_weight", *CLASS_IMAGES),
}
"""By switch, the settings that do nothing while it is off. Judges are none: evaluate asks them of a run later."""


def unusual(config: Config) -> frozenset[str]:
    """The settings that somebody set: neither the paper's nor those of base model, method, card and --preset."""
    paper, usual = Config().flat(), config.usual()
    return frozenset(name for name, value in config.flat().items() if value not in (paper[name], usual[name]))


def warn_of_idle(config: Config, names: Collection[str]) -> None:
    """Log those of these settings that do nothing, and a warm-up that never ends."""
    told = set[str]()
    for settings, why in _idle(config):
        for name in settings:
            if name in names and name not in told:
                log.warning("%s does nothing %s", _flag(name), why)
                told.add(name)
    warm_up, steps = config.training.lr_warmup_steps, config.training.max_train_steps
    if "lr_warmup_steps" in names and 0 < steps <= warm_up:
        log.warning("--lr-warmup-steps %d: the learning rate still rises at the last of %d steps", warm_up, steps)


def _idle(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Settings that do nothing, and why."""
    its, method = config.flat(), config.method.method
    for switch, settings in ONLY_WITH.items():
        if not its[switch]:
            fixed = switch in FIXED_SETTINGS[method]
            yield settings, f"with --method {method}" if fixed else f"without {_flag(switch)}"
    if config.prior.needs_twins:
        yield CLASS_IMAGES, "with --prior-target base"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
