"""The loss curve as points and ticks in one coordinate system; the picture of it is templates/loss.svg.j2."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 700, 26, 252


@dataclass(frozen=True)
class Curve:
    """One term of Eq. 2: every step, and a running mean; both as the points of an SVG polyline."""

    name: str
    raw: str
    smooth: str


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it is in the picture, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Curves over common axes. window: the number of steps in the running mean."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    window: int


def loss_chart(steps: Sequence[int], terms: dict[str, Sequence[float]]) -> Chart | None:
    """The chart of named terms, each with a value per step; None where there are fewer than two steps.

    The axis ends where 98 in 100 values lie: at a batch of one, single steps reach ten times the mean.
    """
    if len(steps) < 2 or not terms:
        return None
    values = sorted(value for term in terms.values() for value in term)
    top = values[round(0.98 * (len(values) - 1))] or 1.0
    first, last = steps[0], steps[-1]
    window = max(1, len(steps) // 20)

    def points(term: Sequence[float]) -> str:
        return " ".join(
            f"{LEFT + (step - first) / (last - first) * (RIGHT - LEFT):.1f},{BOTTOM - value / top * (BOTTOM - TOP):.1f}"
            for step, value in _thinned(steps, term)
        )

    return Chart(
        curves=tuple(Curve(name, points(term), points(_running_mean(term, window))) for name, term in terms.items()),
        x_ticks=tuple(
            Tick(LEFT + (value - first) / (last - first) * (RIGHT - LEFT), f"{value:g}")
            for value in _round_values(first, last, 5)
        ),
        y_ticks=tuple(Tick(BOTTOM - value / top * (BOTTOM - TOP), f"{value:g}") for value in _round_values(0, top, 4)),
        window=window,
    )


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
