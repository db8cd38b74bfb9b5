"""Every mark of a figure stands where its number says, and words never cover each other."""

import math
import random
from itertools import combinations

import pytest

from dreambooth.report.charts import extent, loss_chart, metric_chart, scatter


def pairs(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in points.split())]


def test_the_loss_chart_puts_values_where_they_belong() -> None:
    chart = loss_chart([0, 50, 100], {"subject": [0.0, 1.0, 2.0]})
    assert chart is not None
    box = chart.box
    middle = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
    assert pairs(chart.curves[0].raw)[::-1] == [(box.left, box.bottom), middle, (box.right, box.top)]
    assert [tick.label for tick in box.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [tick.label for tick in box.y_ticks] == ["0", "0.5", "1", "1.5", "2"]
    assert [tick.x for tick in box.x_ticks][::5] == [box.left, box.right]
    assert [tick.y for tick in box.y_ticks][::4] == [box.bottom, box.top]


def test_the_curve_is_the_running_mean_and_outliers_do_not_flatten_it() -> None:
    values = [0.1] * 200
    values[50] = 100.0
    chart = loss_chart(range(1, 201), {"subject": values})
    assert chart is not None and chart.window == 10
    assert [y for _, y in pairs(chart.curves[0].smooth)].count(chart.box.top) == 200 - 11
    assert loss_chart([1], {"subject": [0.1]}) is None
    assert loss_chart([1, 2], {}) is None


def test_a_metric_is_a_dot_for_each_probe_and_a_line_for_each_level() -> None:
    values = {0: 0.4, 100: 0.5, 200: 0.7, 400: 0.6}
    chart = metric_chart(values, {"the photos": 0.8, "the base model": 0.4}, chosen=200)
    assert chart is not None and chart.chosen is not None
    box = chart.box
    assert [x for x, _ in pairs(chart.line)] == [box.left, 115.0, 186.0, box.right]
    assert (chart.chosen.x, chart.chosen.label) == (186.0, "step 200")
    assert [dot.label for dot in chart.dots] == ["step 0: 0.400", "step 100: 0.500", "step 400: 0.600"]
    low, high = box.y_range
    for dot, value in zip([*chart.dots, chart.chosen], (0.4, 0.5, 0.6, 0.7), strict=True):
        assert (box.bottom - dot.y) / (box.bottom - box.top) == pytest.approx((value - low) / (high - low))
    photos, base = chart.levels
    assert base.y == chart.dots[0].y and box.top < photos.y < chart.chosen.y


def test_a_metric_of_one_probe_or_of_equal_ones_can_be_drawn() -> None:
    assert metric_chart({}) is None and scatter({}) is None
    for values in ({0: 0.5}, {0: 0.5, 10: 0.5}, {300: 0.0}):
        chart = metric_chart(values, chosen=7)
        assert chart is not None and chart.chosen is None
        assert all(math.isfinite(dot.x) and chart.box.top < dot.y < chart.box.bottom for dot in chart.dots)
        assert chart.box.y_ticks


def test_a_probe_stands_right_for_its_prompt_and_up_for_its_subject() -> None:
    chart = scatter({0: (0.32, 0.4), 100: (0.33, 0.6), 200: (0.30, 0.7)}, level=0.8, chosen=100)
    assert chart is not None and chart.chosen is not None and chart.level is not None
    base, last = chart.dots
    assert last.x < base.x < chart.chosen.x and chart.level.y < last.y < chart.chosen.y < base.y
    assert pairs(chart.path) == [(round(mark.x, 1), round(mark.y, 1)) for mark in (base, chart.chosen, last)]
    assert {label.text for label in chart.labels} == {"the photos themselves", "base model", "100", "200"}
    for label in chart.labels[1:]:
        mark = next(m for m in (base, chart.chosen, last) if m.label == label.text)
        assert math.hypot(label.x - mark.x, label.y - mark.y) < 24
    assert chart.box.x(0.33) == chart.chosen.x and chart.box.y(0.6) == chart.chosen.y


@pytest.mark.parametrize("seed", range(5))
def test_words_cover_neither_each_other_nor_a_dot(seed: int) -> None:
    draw = random.Random(seed)
    probes = {step: (0.3 + 0.03 * draw.random(), 0.7 - 0.4 * 0.8**step) for step in range(40)}
    chart = scatter(probes, level=0.71, chosen=20)
    assert chart is not None and chart.chosen is not None
    places = [extent(label) for label in chart.labels]
    dots = [(dot.x - 3, dot.y - 3, dot.x + 3, dot.y + 3) for dot in [*chart.dots, chart.chosen]]
    for one, two in [*combinations(places, 2), *((place, dot) for place in places for dot in dots)]:
        assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1], (one, two)
    assert all(x0 >= 0 and x1 <= chart.box.width and y0 >= 0 and y1 <= chart.box.height for x0, y0, x1, y1 in places)
    assert {"20", "base model"} <= {label.text for label in chart.labels}
