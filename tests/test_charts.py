"""Curves as SVG: well-formed, true to the points, safe with any name."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from glm_ocr_finetune.charts import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, WIDTH, draw_curves


def paths(svg: str) -> list[list[tuple[float, float]]]:
    """The points of each curve's line, in pixels from the top left."""
    ElementTree.fromstring(svg)  # raises for what is no XML
    drawn = re.findall(r'<path d="M([^"HV]+)" fill="none"', svg)
    return [[(float(x), float(y)) for x, y in (pair.split() for pair in line.split("L"))] for line in drawn]


def test_points_lie_where_their_values_say() -> None:
    (line,) = paths(draw_curves({"loss": [(0, 4.0), (50, 2.0), (100, 0.0)]}, "step", "loss"))
    assert [x for x, _ in line] == [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    assert line[0][1] < line[1][1] < line[2][1] == HEIGHT - BOTTOM
    assert line[1][1] - line[0][1] == line[2][1] - line[1][1]


def test_points_are_joined_in_order_of_their_x() -> None:
    (line,) = paths(draw_curves({"loss": [(2, 1.0), (1, 2.0), (3, 0.5)]}, "step", "loss"))
    assert [x for x, _ in line] == sorted(x for x, _ in line)


def test_each_curve_has_a_colour_and_a_name_and_empty_ones_have_none() -> None:
    svg = draw_curves({"one": [(1, 1)], "none": [], "<b>": [(1, 2), (2, 3)]}, "x", "y & z")
    assert len(paths(svg)) == 2
    assert COLOURS[0] in svg
    assert COLOURS[1] in svg
    assert COLOURS[2] not in svg
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"one", "<b>", "x", "y & z"} <= set(texts)
    assert "none" not in texts


def test_a_single_value_and_no_value_at_all_are_drawn() -> None:
    ((place,),) = paths(draw_curves({"loss": [(7, 0.0)]}, "step", "loss"))
    assert LEFT < place[0] < WIDTH - RIGHT
    assert paths(draw_curves({"loss": []}, "step", "loss")) == []
