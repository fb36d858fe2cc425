"""The report's charts as SVG fragments; colours come from the page's style sheet, so that they follow its scheme."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 420, 244
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 62
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
MAX_DOTS = 40
DIGIT_WIDTH = 8

Point = tuple[float, float]
Format = Callable[[float], str]


def plain(value: float) -> str:
    """A tick label with as few digits as it needs."""
    return f"{value:,.6g}"


def percent(value: float) -> str:
    """A share as a tick label in per cent."""
    return f"{100 * value:.6g} %"


def line_chart(
    title: str,
    curves: Mapping[str, Sequence[Point]],
    x_label: str,
    y_format: Format = plain,
    level: float | None = None,
) -> Markup:
    """Curves of (x, y) over a numeric axis; the key of each is its CSS class. ``level`` draws a dashed line."""
    drawn = {name: sorted(points) for name, points in curves.items() if points}
    xs = [x for points in drawn.values() for x, _ in points]
    x_ticks = ticks(min(xs), max(xs))
    top_ticks = ticks(0.0, max([y for points in drawn.values() for _, y in points] + ([level] if level else [])))
    low, high = min(x_ticks[0], *xs), max(x_ticks[-1], *xs)

    def place(point: Point) -> Point:
        share = (point[0] - low) / (high - low) if high > low else 0.5
        return LEFT + share * PLOT_WIDTH, _height(point[1], top_ticks[-1])

    parts = [_grid(top_ticks, y_format), _axis_title(x_label)]
    parts += [_text(place((x, 0))[0], HEIGHT - BOTTOM + 18, plain(x), "middle") for x in x_ticks]
    if level is not None:
        y = _height(level, top_ticks[-1])
        parts.append(Markup('<path class="level" d="M{} {:.1f}h{}"/>').format(LEFT, y, PLOT_WIDTH))
    for name, points in drawn.items():
        labels = [f"{x_label} {plain(x)}: {y_format(round(y, 6))}" for x, y in points]
        parts.append(_curve(name, [place(point) for point in points], labels))
    return _svg(title, parts)


def bar_chart(title: str, bins: Sequence[str], series: Mapping[str, Sequence[int]], x_label: str) -> Markup:
    """Counts per bin, the series side by side; the key of each is its CSS class."""
    top_ticks = ticks(0.0, max(max(counts) for counts in series.values()))
    slot = PLOT_WIDTH / len(bins)
    width = slot * 0.76 / len(series)
    parts = [_grid(top_ticks, plain), _axis_title(x_label), _bin_labels(bins)]
    for index, (name, counts) in enumerate(series.items()):
        for number, count in enumerate(counts):
            x = LEFT + slot * (number + 0.12) + width * index
            y = _height(count, top_ticks[-1])
            parts.append(
                Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
                .format(name, x, y, width - 1, TOP + PLOT_HEIGHT - y, f"{name}, {bins[number]}: {count:,} samples")
            )  # fmt: skip
    return _svg(title, parts)


def binned_chart(
    title: str, bins: Sequence[str], series: Mapping[str, Sequence[float]], sizes: Sequence[int], x_label: str
) -> Markup:
    """One rate per bin and series as joined dots; ``sizes`` are the samples in each bin."""
    top_ticks = ticks(0.0, max(max(rates) for rates in series.values()))
    slot = PLOT_WIDTH / len(bins)
    parts = [_grid(top_ticks, percent), _axis_title(x_label), _bin_labels(bins)]
    for name, rates in series.items():
        places = [(LEFT + slot * (i + 0.5), _height(rate, top_ticks[-1])) for i, rate in enumerate(rates)]
        labels = [
            f"{name}, {label}: {100 * rate:.2f} % in {size:,} samples"
            for label, rate, size in zip(bins, rates, sizes, strict=True)
        ]
        parts.append(_curve(name, places, labels))
    return _svg(title, parts)


def ticks(low: float, high: float) -> list[float]:
    """Three to six round values that reach from ``low`` or below to ``high`` or above."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def _height(value: float, top: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - value / top)


def _grid(values: Sequence[float], y_format: Format) -> Markup:
    parts = []
    for value in values:
        y = _height(value, values[-1])
        parts.append(Markup('<path class="grid" d="M{} {:.1f}h{}"/>').format(LEFT, y, PLOT_WIDTH))
        parts.append(_text(LEFT - 6, y + 4, y_format(value), "end"))
    return Markup("").join(parts)


def _bin_labels(bins: Sequence[str]) -> Markup:
    """The names of bins below the axis; ranges take two lines where one is too narrow for any of them."""
    slot = PLOT_WIDTH / len(bins)
    narrow = max(map(len, bins)) * DIGIT_WIDTH > slot
    lines = [label.replace("–", "–\n", 1).split("\n") if narrow else [label] for label in bins]
    return Markup("").join(
        _text(LEFT + slot * (i + 0.5), HEIGHT - BOTTOM + 18 + 15 * number, line, "middle")
        for i, label in enumerate(lines)
        for number, line in enumerate(label)
    )


def _axis_title(label: str) -> Markup:
    return _text(LEFT + PLOT_WIDTH / 2, HEIGHT - 8, label, "middle")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _curve(name: str, places: Sequence[Point], labels: Sequence[str]) -> Markup:
    path = Markup('<path class="{} line" d="M{}"/>').format(name, "L".join(f"{x:.1f} {y:.1f}" for x, y in places))
    if len(places) > MAX_DOTS:
        return path
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.2"><title>{}</title></circle>')
    dots = [dot.format(name, x, y, label) for (x, y), label in zip(places, labels, strict=True)]
    return path + Markup("").join(dots)


def _svg(title: str, parts: Sequence[Markup]) -> Markup:
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, escape(title))
    return opening + Markup("").join(parts) + Markup("</svg>")
