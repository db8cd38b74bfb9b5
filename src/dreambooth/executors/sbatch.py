"""What `--slurm` says, as submitit takes it: options of sbatch, and the time limit apart from them, in minutes."""

import re
from collections.abc import Sequence

from dreambooth.errors import ConfigError

MINUTES = 24 * 60
"""What Slurm is asked for, where nobody says `time`."""

_FORMS = (
    r"(?P<minutes>\d+)(:(?P<seconds>\d+))?",
    r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?",
)
"""How sbatch takes a time."""


def options(told: Sequence[str]) -> tuple[int, dict[str, str]]:
    """The time limit in minutes, and the other options of sbatch by name, of words such as "partition=gpu".

    The limit goes a way of its own: submitit tells by it a job that ran out of time from one that had to make room.
    Raises ConfigError.
    """
    if problems := [text for text in told if "=" not in text]:
        raise ConfigError(
            [
                f"--slurm {text}: give options of sbatch with their values, such as --slurm partition=gpu time=60"
                for text in problems
            ]
        )
    pairs = (text.partition("=") for text in told)
    given = {name.lstrip("-").replace("-", "_"): value for name, _, value in pairs}
    time = given.pop("time", None)
    return MINUTES if time is None else minutes_of(time), given


def minutes_of(time: str) -> int:
    """A time as sbatch takes it, in minutes; a part of one counts as a whole. Raises ConfigError."""
    found = next((match for form in _FORMS if (match := re.fullmatch(form, time.strip(), re.ASCII))), None)
    if found is None:
        raise ConfigError(
            [
                f"--slurm time={time}: sbatch takes minutes, minutes:seconds, hours:minutes:seconds, days-hours, "
                "days-hours:minutes or days-hours:minutes:seconds, such as time=90 or time=1-12"
            ]
        )
    part = {name: int(value or 0) for name, value in found.groupdict().items()}
    hours = part.get("days", 0) * 24 + part.get("hours", 0)
    minutes = hours * 60 + part["minutes"] + -(-part["seconds"] // 60)
    if not minutes:
        problem = "sbatch takes that for no limit, and a job needs one: give a minute or more, such as time=60"
        raise ConfigError([f"--slurm time={time}: {problem}"])
    return minutes
