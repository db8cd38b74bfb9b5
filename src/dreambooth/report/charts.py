"""Where every mark of the report's figures stands; templates/figures.svg.j2 draws them.

Coordinates are those of the picture: x to the right, y down, from (0, 0) to the figure's width and height.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

LETTER, LINE = 7.2, 15
"""Width of a letter and height of a line of the figures' text, a little generously."""


Place = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of the picture."""


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
    """A place in the picture, and what it says."""

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
class Label:
    """A dot's words: where they stand, and which side of the text that is ("start", "middle" or "end")."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Scatter:
    """Two numbers against each other: a dot per probe but the chosen one, that one, the path, and the words beside."""

    box: Box
    path: str
    dots: tuple[Mark, ...]
    chosen: Mark | None
    level: Mark | None
    labels: tuple[Label, ...]


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
    dots = {step: Mark(box.x(step), box.y(value), f"step {step}: {value:.3f}") for step, value in values.items()}
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

    level: the y of the real photos. Labels never overlap each other or a dot: where there is no room the words are left
    out, of the chosen checkpoint, the base model and the last probe at last.
    """
    if not probes:
        return None
    edges = {"width": 380, "height": 350, "left": 46, "right": 368, "top": 28, "bottom": 298}
    box = Box(
        **edges,
        x_range=_padded([x for x, _ in probes.values()]),
        y_range=_padded([y for _, y in probes.values()] + ([] if level is None else [level])),
    )
    dots = {step: Mark(box.x(x), box.y(y), _step_name(step)) for step, (x, y) in probes.items()}
    mark = None if level is None else Mark(box.left, box.y(level), "the photos themselves")
    first = [dots[step] for step in dict.fromkeys([chosen, 0, max(dots)]) if step in dots]
    return Scatter(
        box,
        box.points(probes.values()),
        tuple(dot for step, dot in dots.items() if step != chosen),
        dots.get(chosen) if chosen is not None else None,
        mark,
        tuple(_labels(box, first, list(dots.values()), mark)),
    )


def _step_name(step: int) -> str:
    return "base model" if step == 0 else str(step)


def _labels(box: Box, first: Sequence[Mark], dots: Sequence[Mark], level: Mark | None) -> Iterator[Label]:
    """The words of the level and of each dot where no other words or dots stand, in the order given.

    Of the free places each takes the one that fewest lines cross. The `first` may also take one further away.
    """
    taken = [(dot.x - 6, dot.y - 6, dot.x + 6, dot.y + 6) for dot in dots]
    lines = [place for ends in pairwise(dots) for place in _along(*ends)]
    if level:
        lines.append((box.left, level.y, box.right, level.y))
    near = [_beside(dot, 10) for dot in dots if dot not in first]
    for places in [*([_above(box, level)] if level else []), *(_beside(dot, 10, 20, 34) for dot in first), *near]:
        inside = [label for label in places if _within(extent(label), (box.left, box.top, box.width, box.bottom))]
        free = [label for label in inside if not any(_overlap(extent(label), other) for other in taken)]
        if free:
            best = min(free, key=lambda label: sum(_overlap(extent(label), line) for line in lines))
            taken.append(extent(best))
            yield best


def _above(box: Box, level: Mark) -> list[Label]:
    return [Label(x, level.y - 6, anchor, level.label) for x, anchor in ((box.left, "start"), (box.right, "end"))]


def _beside(dot: Mark, *distances: int) -> list[Label]:
    """Right, left, above, below and askew of a dot, the first distance first."""
    anchors = {1: "start", 0: "middle", -1: "end"}
    sides = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
    return [
        Label(dot.x + across * far, dot.y + down * (far + 4) + 4.5, anchors[across], dot.label)
        for far, (across, down) in product(distances, sides)
    ]


def _along(start: Mark, end: Mark) -> Iterator[Place]:
    """A line as small squares."""
    count = math.ceil(math.hypot(end.x - start.x, end.y - start.y) / 4) or 1
    for part in range(count + 1):
        x, y = start.x + (end.x - start.x) * part / count, start.y + (end.y - start.y) * part / count
        yield x - 1, y - 1, x + 1, y + 1


def extent(label: Label) -> Place:
    """Where a label's words stand."""
    width = len(label.text) * LETTER
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return left, label.y - LINE + 4, left + width, label.y + 4


def _overlap(one: Place, two: Place) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _within(one: Place, two: Place) -> bool:
    return two[0] <= one[0] and one[2] <= two[2] and two[1] <= one[1] and one[3] <= two[3]


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
