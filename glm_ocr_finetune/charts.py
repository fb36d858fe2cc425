"""Line charts as SVG text, for the loss picture and the report; standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 36, 44
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706")
Point = tuple[float, float]


def draw_curves(curves: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> str:
    """An SVG document with one line per named curve of (x, y) points; empty curves are left out."""
    drawn = {name: sorted(points) for name, points in curves.items() if points}
    xs = [x for points in drawn.values() for x, _ in points] or [0.0]
    ys = [y for points in drawn.values() for _, y in points] or [0.0]
    x_range, y_range = (min(xs), max(xs)), (min(0.0, *ys), max(ys))
    body = [*_grid(x_range, y_range), *_labels(x_label, y_label)]
    for index, (name, points) in enumerate(drawn.items()):
        body += _curve(name, [_place(point, x_range, y_range) for point in points], index)
    style = "svg{font:12px system-ui,sans-serif;fill:#4b5563;background:#fff}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img"><style>{style}</style>{"".join(body)}</svg>\n'
    )


def _place(point: Point, x_range: Point, y_range: Point) -> Point:
    def share(value: float, low: float, high: float) -> float:
        return (value - low) / (high - low) if high > low else 0.5

    x = LEFT + share(point[0], *x_range) * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - share(point[1], *y_range) * (HEIGHT - TOP - BOTTOM)
    return round(x, 1), round(y, 1)


def _grid(x_range: Point, y_range: Point) -> list[str]:
    lines = []
    for i in range(5):
        y_value = y_range[0] + i / 4 * (y_range[1] - y_range[0])
        x_value = x_range[0] + i / 4 * (x_range[1] - x_range[0])
        _, y = _place((x_range[0], y_value), x_range, y_range)
        x, _ = _place((x_value, y_range[0]), x_range, y_range)
        lines.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{y_value:.3g}</text>')
        lines.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x_value:.4g}</text>')
    return lines


def _labels(x_label: str, y_label: str) -> list[str]:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]


def _curve(name: str, places: Sequence[Point], index: int) -> list[str]:
    colour = COLOURS[index % len(COLOURS)]
    x = LEFT + index * 150
    path = "M" + "L".join(f"{px} {py}" for px, py in places)
    dots = "".join(f'<circle cx="{px}" cy="{py}" r="2.5"/>' for px, py in places) if len(places) <= 40 else ""
    return [
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/><g fill="{colour}">{dots}</g>',
        f'<rect x="{x}" y="14" width="12" height="12" rx="2" fill="{colour}"/>',
        f'<text x="{x + 18}" y="24">{escape(name)}</text>',
    ]
