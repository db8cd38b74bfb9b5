"""Whether a run can work, looked at before anything slow: its settings, its photos, its words, the way to its model."""

from collections.abc import Sequence

from dreambooth.config import Config
from dreambooth.config.machine import check_machine, check_reach
from dreambooth.config.switches import unusual, warn_of_idle
from dreambooth.data.masks import check_masks
from dreambooth.doctor.faults import warn_of
from dreambooth.doctor.photos import examine_photos, require_usable
from dreambooth.generation.prompts import own_prompts, warn_of_nameless
from dreambooth.run.companions import require_turns
from dreambooth.subject import Subject, require_class_noun


def check(subject: Subject, config: Config, also: Sequence[Subject] = ()) -> None:
    """Whether it can work, as far as can be known without a model; raises what is in errors.py."""
    check_machine(config)
    warn_of_idle(config, unusual(config))
    for its in (subject, *also):
        faults = examine_photos(its.photos, config.data.resolution or config.world.resolution)
        require_usable(faults, its.photos)
        warn_of(faults)
        check_masks(its.photos, config.data.masked_loss)
        require_class_noun(its.class_noun)
    require_turns(config, (subject, *also))
    own = config.generation.prompts
    warn_of_nameless(own_prompts(own) if own else (), (subject, *also), config.naming.identifier)
    check_reach(config)
