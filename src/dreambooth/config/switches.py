"""Settings that do nothing while another one is off. That is told and no error, since a preset may have them, too."""

from collections.abc import Collection, Mapping

from dreambooth.config.methods import FIXED_SETTINGS
from dreambooth.config.settings import Config
from dreambooth.support.progress import log

ONLY_WITH: Mapping[str, tuple[str, ...]] = {
    "probe": ("early_stopping", "early_stopping_patience"),
    "early_stopping": ("early_stopping_patience",),
    "use_ema": ("ema_decay",),
    "masked_loss": ("unmasked_weight",),
    "train_text_encoder": ("text_encoder_lr",),
    "with_prior_preservation": ("num_class_images", "prior_loss_weight", "class_sampler", "class_guidance_scale"),
}
"""By switch, the settings that do nothing while it is off."""


def unusual(config: Config) -> frozenset[str]:
    """The settings that somebody set: neither the paper's nor those of base model, method, card and --preset."""
    paper, usual = Config().flat(), config.usual()
    return frozenset(name for name, value in config.flat().items() if value not in (paper[name], usual[name]))


def warn_of_idle(config: Config, names: Collection[str]) -> None:
    """Log those of these settings that do nothing, as their switch is off; not where the method leaves no choice."""
    its, told = config.flat(), set[str]()
    for switch, settings in ONLY_WITH.items():
        if not its[switch] and switch not in FIXED_SETTINGS[config.method.method]:
            for name in settings:
                if name in names and name not in told:
                    log.warning("--%s does nothing without --%s", *(word.replace("_", "-") for word in (name, switch)))
                    told.add(name)
