"""JSON Lines, JSON lists and JSON objects as records; numbers keep the form in which they are written.

A label ``1.50`` is what stands on the receipt, and would be ``1.5`` as a number.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .encodings import open_text

IMAGE_NAME = re.compile(r"(?i).*\.(png|jpe?g|tiff?|webp|bmp|gif|jp2|pnm|p[bgp]m|avif|hei[cf])")
"""What names an image file."""

Item = tuple[int, Any, "str | None"]
"""(line or item number from 1, value, what is wrong with it)."""

_BETWEEN_ITEMS = re.compile(r"[\s,]*")
_LISTS = ("data", "rows", "samples", "annotations", "data_list")
"""Keys under which files keep their list of records, beside others that describe it."""


class NumberText(str):
    """A number of a JSON file, as it is written there."""

    __slots__ = ()


def _constant(name: str) -> Any:
    return None if name == "NaN" else NumberText(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in an object")
    return found


_DECODER = json.JSONDecoder(
    parse_float=NumberText, parse_int=NumberText, parse_constant=_constant, object_pairs_hook=_object
)


def parse_json(text: str) -> Any:
    """The value of a JSON text, numbers as ``NumberText``.

    Raises:
        ValueError: not JSON, nested without end, or an object with one key twice.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_json(value: Any) -> str:
    """A value as JSON on one line, in the order of its keys, with numbers as they were written."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(name)}: {write_json(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write_json, value)) + "]"
    return str(value) if isinstance(value, NumberText) else _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def read_json(file: Path) -> Iterator[Item]:
    """The records of a file: one a line, the items of its list, or what its one object holds.

    An object may hold a list of records (``{"data": [...]}``), map image names to texts or records
    (docTR's ``{"1.png": "text"}``), or be a record itself. Raises ``UserError`` for a file that is cut
    off or is not JSON.
    """
    with open_text(file) as stream:
        first = next((line for line in stream if line.strip()), "")
    if first.lstrip().startswith("["):
        return _items(file, _text_of(file))
    return _lines(file) if _is_a_record(first) else _object_or_lines(file)


def _is_a_record(line: str) -> bool:
    """Whether a line is an object by itself, and no map of image names in one line."""
    try:
        value = parse_json(line)
    except ValueError:
        return False
    return not isinstance(value, dict) or (not _is_mapped(value) and _listed(value) is None)


def _lines(file: Path) -> Iterator[Item]:
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, *_parsed(line)


def _parsed(line: str) -> tuple[Any, str | None]:
    """(value, what is wrong)"""
    try:
        value = parse_json(line.removeprefix("\ufeff"))  # files with byte order marks were joined
    except ValueError as error:
        return None, str(error)
    return value, None if isinstance(value, dict) else f"{line.strip()[:60]!r} is not an object"


def _object_or_lines(file: Path) -> Iterator[Item]:
    text = _text_of(file)
    try:
        value = parse_json(text)
    except ValueError:
        return _lines(file)
    if not isinstance(value, dict):
        return iter([(1, value, f"{text.strip()[:60]!r} is not an object")])
    inner = _listed(value) or (_mapped(value, file) if _is_mapped(value) else [value])
    return ((number, item, None) for number, item in enumerate(inner, 1))


def _listed(value: Mapping[str, Any]) -> list[Any] | None:
    """The list of records inside an object that describes it."""
    lists = [value[name] for name in _LISTS if name in value]
    return next((inner for inner in lists if isinstance(inner, list) and inner and isinstance(inner[0], dict)), None)


def _is_mapped(value: Mapping[str, Any]) -> bool:
    """Whether the keys of an object are image names."""
    return bool(value) and all(map(IMAGE_NAME.fullmatch, value))


def _mapped(value: Mapping[str, Any], file: Path) -> list[Any]:
    """The records of an object whose keys are image names: ``image`` beside the text or the record there.

    docTR's images lie in ``images``, which the names leave out.
    """
    beside = os.path.exists(file.parent / next(iter(value)))
    folder = "images/" if (file.parent / "images").is_dir() and not beside else ""
    return [
        {"image": folder + name} | (inner if isinstance(inner, dict) else {"text": inner})
        for name, inner in value.items()
    ]


def _items(file: Path, text: str) -> Iterator[Item]:
    """Items one at a time: the file's text is held in memory, its objects are not."""
    position, number = text.index("[") + 1, 0
    while True:
        position = _after(text, position)
        if text[position : position + 1] == "]":
            return _check_end(file, text[position + 1 :])
        number += 1
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}: item {number} of the list is not JSON: {error}") from error
        yield number, value, None if isinstance(value, dict) else f"{str(value)[:60]!r} is not an object"


def _check_end(file: Path, rest: str) -> None:
    if rest.strip():
        raise UserError(f"{file}: {rest.strip()[:40]!r} stands behind the end of the list; expected one JSON list")


def _after(text: str, position: int) -> int:
    match = _BETWEEN_ITEMS.match(text, position)
    return match.end() if match else position


def _text_of(file: Path) -> str:
    with open_text(file) as stream:
        return stream.read()
