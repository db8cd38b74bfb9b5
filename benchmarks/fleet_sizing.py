"""How long a fleet takes on so many GPUs, what that costs, and where more GPUs stop helping: a simulation by events.

Each GPU carries out one job at a time, as `dreambooth fleet` hands them out: first the class images of each class, a
job each, then the subjects whose class is whole, in their order. What a job writes goes to one shared store, a job at a
time; its GPU waits for that. GPUs fail at random moments; a job then starts its process again and repeats what it had
done since its last checkpoint. Stage times are given: a run's own are in its timings.json.

    python -m benchmarks.fleet_sizing [--subjects 10000] [--gpus 64] [--classes 100] [--results FILE]
"""

import argparse
import heapq
import json
import random
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from dreambooth.support.files import write_json

HOUR = 3600.0
SWEEP = (8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What is simulated; seconds, gigabytes, and gigabytes a second."""

    subjects: int = 10_000
    gpus: int = 64
    classes: int = 100
    """Of unequal size: the k-th most frequent has a share of 1/k."""
    process_start: float = 15.0
    """Imports, once for each job on Ray and Slurm; a process of the local pool has it once."""
    load: float = 10.0
    class_image: float = 1.3
    class_images: int = 1000
    step: float = 0.211
    steps: int = 1000
    samples: float = 60.0
    """Drawing and scoring, before, while and after."""
    checkpoint_steps: int = 250
    written: float = 4.3
    """A model of Stable Diffusion 1's size in float32; its checkpoints stay on the node."""
    store: float = 2.0
    hours_between_failures: float = 500.0
    """Of one GPU."""
    price: float = 2.0
    """Of a GPU's hour."""


@dataclass
class Simulated:
    """hours: until the last subject is finished.  gpu_hours: by what they went to, "idle" included."""

    hours: float
    gpu_hours: dict[str, float]
    first_subject: float
    failures: int

    @property
    def busy(self) -> float:
        """The share of the GPUs' time that did what would be done without waiting and failing."""
        lost = sum(self.gpu_hours[name] for name in ("idle", "store", "repeated") if name in self.gpu_hours)
        return 1 - lost / sum(self.gpu_hours.values())


def simulate(fleet: Fleet, seed: int = 0) -> Simulated:
    """One fleet from its first job to its last."""
    chance = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(fleet.classes)]
    of_class = Counter(chance.choices(range(fleet.classes), weights, k=fleet.subjects))
    waiting: deque[int | None] = deque(of_class)  # a class by its number, a subject by None
    free = [0.0] * fleet.gpus
    running: list[tuple[float, int, int | None]] = []
    used: defaultdict[str, float] = defaultdict(float)
    store_free, now, first, count, failures = 0.0, 0.0, 0.0, 0, 0
    while waiting or running:
        while waiting and free:
            heapq.heappop(free)  # who is free became so before now
            job = waiting.popleft()
            seconds, lost = _job(fleet, job is not None, used, chance)
            failures += lost
            end = now + seconds
            if job is None:
                store_free = max(store_free, end) + fleet.written / fleet.store
                used["store"] += store_free - end
                end = store_free
            count += 1
            heapq.heappush(running, (end, count, job))
        now, _, ended = heapq.heappop(running)
        heapq.heappush(free, now)
        if ended is None:
            first = first or now
        else:
            waiting.extend([None] * of_class[ended])
    total = fleet.gpus * now
    hours = {name: seconds / HOUR for name, seconds in used.items()}
    hours["idle"] = total / HOUR - sum(hours.values())
    return Simulated(now / HOUR, hours, first / HOUR, failures)


def _job(fleet: Fleet, of_class: bool, used: defaultdict[str, float], chance: random.Random) -> tuple[float, int]:
    """The seconds of a job on its GPU, and how often that failed; adds them to what they were used for."""
    start = fleet.process_start + fleet.load
    used["start"] += start
    if of_class:  # an image that is there stays there
        parts, kept = {"class images": fleet.class_image * fleet.class_images}, fleet.class_image
    else:
        parts = {"fine-tuning": fleet.step * fleet.steps, "samples": fleet.samples}
        kept = fleet.step * fleet.checkpoint_steps
    for name, seconds in parts.items():
        used[name] += seconds
    work, repeated, failures = sum(parts.values()), 0.0, 0
    until = chance.expovariate(1 / (fleet.hours_between_failures * HOUR))
    done = 0.0
    while until < work - done:
        failures += 1
        done += until
        lost = done % kept
        done -= lost
        repeated += lost + start
        until = chance.expovariate(1 / (fleet.hours_between_failures * HOUR))
    used["repeated"] += repeated
    return start + work + repeated, failures


def table(fleets: Sequence[Fleet]) -> str:
    """A line each: GPUs, hours, what became of the GPUs' time, cost of a subject."""
    lines = [
        "| GPUs | classes | hours | first subject | doing its work | idle | waiting for the store | a subject costs |"
    ]
    lines.append("|---" * 8 + "|")
    for fleet in fleets:
        its = simulate(fleet)
        total = sum(its.gpu_hours.values())
        shares = [its.busy, its.gpu_hours["idle"] / total, its.gpu_hours.get("store", 0.0) / total]
        numbers = " | ".join(f"{share:.0%}" for share in shares)
        cost = total * fleet.price / fleet.subjects
        row = (
            f"| {fleet.gpus} | {fleet.classes} | {its.hours:.1f} | {its.first_subject:.2f} h | {numbers} | {cost:.2f} |"
        )
        lines.append(row)
    return "\n".join(lines)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Fleet):
        words.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    words.add_argument("--results", type=Path)
    asked = vars(words.parse_args())
    results = asked.pop("results")
    fleet = Fleet(**asked)
    its = simulate(fleet)
    total = sum(its.gpu_hours.values())
    spent = {name: f"{hours / total:.1%}" for name, hours in sorted(its.gpu_hours.items(), key=lambda item: -item[1])}
    print(json.dumps({"fleet": asdict(fleet), "hours": its.hours, "failures": its.failures, "spent": spent}, indent=2))
    print(table([replace(fleet, gpus=gpus) for gpus in SWEEP]))
    print(table([replace(fleet, classes=classes) for classes in (1, 10, 100, 1000)]))
    if results:
        write_json(results, {"fleet": asdict(fleet), "simulated": asdict(its)})


if __name__ == "__main__":
    main()
