"""Where every mark of the report's figures stands; templates/figures.svg.j2 draws them.

Coordinates are those of the picture: x to the right, y down, from (0, 0) to the figure's width and height.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where a plot lies in its picture, and the values at its edges."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Where a value lies on the horizontal axis."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Where a value lies on the vertical axis; the larger the higher, so the smaller its y."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def points(self, values: Iterable[tuple[float, float]]) -> str:
        """Pairs of values as the points of an SVG polyline."""
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in values)

    @property
    def x_ticks(self) -> tuple["Mark", ...]:
        """Round values below the plot."""
        return tuple(Mark(self.x(v), self.bottom, f"{v:g}") for v in _round_values(*self.x_range, 5))

    @property
    def y_ticks(self) -> tuple["Mark", ...]:
        """Round values left of the plot."""
        return tuple(Mark(self.left, self.y(v), f"{v:g}") for v in _round_values(*self.y_range, 5))


@dataclass(frozen=True)
class Mark:
    """A place in the picture, and what it says under the pointer."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Curve:
    """One term of Eq. 2: every step, and a running mean; both as the points of an SVG polyline."""

    name: str
    raw: str
    smooth: str


@dataclass(frozen=True)
class LossChart:
    """Curves over common axes. window: the number of steps in the running mean."""

    box: Box
    curves: tuple[Curve, ...]
    window: int


@dataclass(frozen=True)
class MetricChart:
    """One number over the training: a dot per probe but the chosen one, that one, and levels known beforehand."""

    box: Box
    line: str
    dots: tuple[Mark, ...]
    chosen: Mark | None
    levels: tuple[Mark, ...]


@dataclass(frozen=True)
class Scatter:
    """Two numbers against each other: a dot per probe, the base model and the chosen one apart, and the path."""

    box: Box
    path: str
    dots: tuple[Mark, ...]
    base: Mark | None
    chosen: Mark | None
    level: Mark | None


def loss_chart(steps: Sequence[int], terms: Mapping[str, Sequence[float]]) -> LossChart | None:
    """The chart of named terms, each with a value per step; None where there are fewer than two steps.

    The axis ends where 98 in 100 values lie: at a batch of one, single steps reach ten times the mean.
    """
    if len(steps) < 2 or not terms:
        return None
    values = sorted(value for term in terms.values() for value in term)
    top = values[round(0.98 * (len(values) - 1))] or 1.0
    window = max(1, len(steps) // 20)
    edges = {"width": 720, "height": 300, "left": 64, "right": 700, "top": 26, "bottom": 252}
    box = Box(**edges, x_range=(steps[0], steps[-1]), y_range=(0.0, top))

    def points(term: Sequence[float]) -> str:
        return box.points(_thinned(steps, term))

    curves = tuple(Curve(name, points(term), points(_running_mean(term, window))) for name, term in terms.items())
    return LossChart(box, curves, window)


def metric_chart(
    values: Mapping[int, float], levels: Mapping[str, float] | None = None, chosen: int | None = None
) -> MetricChart | None:
    """The chart of a value at each probed step; None where no step has one.

    levels: horizontal lines by their names.  chosen: the step of the recommended checkpoint.
    """
    if not values:
        return None
    levels = levels or {}
    edges = {"width": 340, "height": 204, "left": 44, "right": 328, "top": 26, "bottom": 178}
    box = Box(
        **edges,
        x_range=(0, max(*values, 1)),
        y_range=_padded([*values.values(), *levels.values()]),
    )
    dots = {step: Mark(box.x(step), box.y(value), f"{_named(step)}: {value:.3f}") for step, value in values.items()}
    at = dots.pop(chosen) if chosen in dots else None
    return MetricChart(
        box,
        box.points(values.items()),
        tuple(dots.values()),
        at and replace(at, label=f"step {chosen}"),
        tuple(Mark(box.left, box.y(value), name) for name, value in levels.items()),
    )


def scatter(
    probes: Mapping[int, tuple[float, float]], level: float | None = None, chosen: int | None = None
) -> Scatter | None:
    """The chart of (x, y) at each probed step, step 0 being the base model; None where no step has both.

    level: the y of the real photos.
    """
    if not probes:
        return None
    edges = {"width": 380, "height": 350, "left": 46, "right": 368, "top": 28, "bottom": 298}
    box = Box(
        **edges,
        x_range=_padded([x for x, _ in probes.values()]),
        y_range=_padded([y for _, y in probes.values()] + ([] if level is None else [level])),
    )
    dots = {step: Mark(box.x(x), box.y(y), f"{_named(step)}: {y:.3f}, {x:.3f}") for step, (x, y) in probes.items()}
    return Scatter(
        box=box,
        path=box.points(probes.values()),
        chosen=dots.pop(chosen, None) if chosen is not None else None,
        base=dots.pop(0, None),
        dots=tuple(dots.values()),
        level=None if level is None else Mark(box.left, box.y(level), f"the photos among themselves: {level:.3f}"),
    )


def _named(step: int) -> str:
    return f"step {step}" if step else "base model"


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """A range that holds all values with room to spare, and is never empty."""
    low, high = min(values), max(values)
    room = max(0.1 * (high - low), 0.01)
    return low - room, high + room


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of the `window` steps around each, fewer at the ends."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    ends = [(max(0, at - window // 2), min(len(values), at + window // 2 + 1)) for at in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]


def _thinned(steps: Sequence[int], values: Sequence[float], most: int = 800) -> Iterator[tuple[int, float]]:
    """At most `most` points, which is more than the picture is wide; the last step is always one of them."""
    stride = math.ceil(len(steps) / most)
    return zip(steps[::-1][::stride], values[::-1][::stride], strict=True)


def _round_values(low: float, high: float, about: int) -> list[float]:
    """About `about` multiples of 1, 2 or 5 times a power of ten within [low, high]."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    stride = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [count * stride for count in range(math.ceil(low / stride), math.floor(high / stride) + 1)]
