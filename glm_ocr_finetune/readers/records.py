"""Records, one mapping of column to value for each sample, and how one becomes a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..inputs.labels import label_as_found
from .columns import Layout
from .conversations import Turn, read_turn
from .paths import ImageFinder
from .rows import Row, make_row


@dataclass(frozen=True)
class Record:
    """``values`` is None for a line that is no record; ``base`` is the folder of the file that holds it."""

    source: str
    base: str
    values: Mapping[str, Any] | None


def to_row(record: Record, layout: Layout, finder: ImageFinder) -> Row:
    """The row of a record. Of several problems the first found is kept: record, text, then image."""
    if record.values is None:
        return make_row(record.source, problem="invalid_record")
    turn = _turn(record.values, layout)
    label = label_as_found(_class_name(turn.answer, layout))
    image, image_problem = _image(record.values.get(layout.image), record.base, finder)
    problem = turn.problem or label.reason or image_problem
    return make_row(record.source, image, label.text, turn.prompt, problem)


def _turn(values: Mapping[str, Any], layout: Layout) -> Turn:
    if layout.is_conversation:
        return read_turn(values.get(layout.text), values.get("system"))
    prompt = label_as_found(values.get(layout.prompt)) if layout.prompt else None
    if prompt is None or prompt.reason is None:
        return Turn(prompt.text if prompt and (prompt.text or "").strip() else None, values.get(layout.text))
    return Turn(answer=values.get(layout.text), problem="invalid_text")


def _class_name(value: object, layout: Layout) -> object:
    if layout.class_names and isinstance(value, int):
        return layout.class_names[value] if value >= 0 else None
    return value


def _image(value: Any, base: str, finder: ImageFinder) -> tuple[dict[str, Any] | None, str | None]:
    """(image, problem) of a cell: a path, encoded bytes, ``{"bytes", "path"}`` or a list of one of these."""
    if isinstance(value, list):
        if len(value) > 1:
            return None, "several_images"
        value = value[0] if value else None
    if isinstance(value, dict):
        data, value = value.get("bytes"), value.get("path")
        if isinstance(data, bytes):
            return {"bytes": data, "path": value}, None
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}, None
    if not isinstance(value, str):
        return None, "no_image"
    path, problem = finder.find(value, base)
    return {"bytes": None, "path": path} if path else None, problem
