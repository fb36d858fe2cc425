"""One JSON file for each image: FUNSD's forms, CORD's receipts, and objects with the fields of a document."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .columns import is_known_column
from .encodings import decoded, read_head
from .json_files import IMAGE_NAME, parse_json, write_json
from .outlined import AnnotatedPage, Outlined, box, flat_polygon, read_annotated
from .rows import ReadOptions, file_state
from .stems import image_of_stem

if TYPE_CHECKING:
    from datasets import Dataset

_FOLDERS = ("annotations", "json", "key", "entities", "labels")
_LOOKED_AT = 20
"""Files of a folder that are looked at to know their shape: the first ones may be damaged."""
_LARGEST = 64 << 20
"""Bytes of the largest file that may annotate a single image."""
_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")


@dataclass(frozen=True)
class _Shape:
    """A kind of annotation: its name, how an object of it is known, and its pieces."""

    title: str
    is_one: Callable[[Mapping[str, Any]], bool]
    pieces: Callable[[Mapping[str, Any]], list[Outlined]]


def annotation_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of a JSON file that annotates one image, or of a folder of such files; or None."""
    files = [path] if path.is_file() else _files_in(path)
    if not files or files[0].suffix.lower() != ".json":
        return None
    shape = next((shape for file in files[:_LOOKED_AT] if (shape := _shape_of(file, options))), None)
    return {"train": partial(_read, files, shape, root, options)} if shape else None


def _files_in(folder: Path) -> list[Path]:
    """The JSON files of a folder, or of its folder for annotations."""
    for place in (folder, *(folder / name for name in _FOLDERS)):
        names = sorted(os.listdir(place)) if place.is_dir() else []
        files = [place / name for name in names if name.lower().endswith(".json") and name[0] != "."]
        if files and all(file.is_file() for file in files):
            return files
    return []


def _shape_of(file: Path, options: ReadOptions) -> _Shape | None:
    if file.stat().st_size > _LARGEST or not read_head(file).lstrip("\ufeff \t\n").startswith("{"):
        return None
    try:
        value = _value(file)
    except ValueError:
        return None
    shape = next((shape for shape in _SHAPES if shape.is_one(value)), None) if isinstance(value, dict) else None
    return shape if shape is not _FIELDS or _image(file, options) else None


def _value(file: Path) -> Any:
    """The value of a JSON file. Raises ``ValueError``."""
    text, _ = decoded(file.read_bytes())
    if text is None:
        raise ValueError("neither UTF-8 nor Windows-1252")
    return parse_json(text.removeprefix("\ufeff"))


def _image(file: Path, options: ReadOptions) -> str | None:
    return image_of_stem(file.stem, str(file.parent.absolute()), options.image_folder)


def _read(files: list[Path], shape: _Shape, root: Path, options: ReadOptions) -> Dataset:
    pages = (_page(file, shape, root, options) for file in files)
    roots = (root, root.parent) if root.name in _FOLDERS else (root,)
    return read_annotated(pages, shape.title, [file_state(file) for file in files], roots, options)


def _page(file: Path, shape: _Shape, root: Path, options: ReadOptions) -> AnnotatedPage:
    source = file.relative_to(root).as_posix()
    image = _image(file, options) or f"{file.stem}.png"
    page = partial(AnnotatedPage, source, str(file.parent.absolute()), image, group=file.stem)
    try:
        value = _value(file)
    except (ValueError, OSError) as error:
        return page(problem="invalid_record", detail=str(error))
    if not isinstance(value, dict) or not shape.is_one(value):
        return page(problem="invalid_record", detail=f"no {shape.title} in it")
    return page(shape.pieces(value))


def _entries(value: Mapping[str, Any], key: str) -> list[Any]:
    return value[key] if isinstance(value.get(key), list) else []


def _funsd(value: Mapping[str, Any]) -> list[Outlined]:
    """The entries of a form, in the order of the file."""
    return [
        Outlined(entry.get("text"), box(entry.get("box")))
        if isinstance(entry, dict)
        else Outlined(None, None, "invalid_record", str(entry)[:60])
        for entry in _entries(value, "form")
    ]


def _cord(value: Mapping[str, Any]) -> list[Outlined]:
    """The lines of a receipt: their words with a blank between, in a box around them."""
    return [_cord_line(line) for line in _entries(value, "valid_line")]


def _cord_line(line: Any) -> Outlined:
    words = [word for word in _entries(line, "words") if isinstance(word, dict)] if isinstance(line, dict) else []
    quads = [flat_polygon([(word.get("quad") or {}).get(name) for name in _CORNERS]) for word in words]
    points = [point for quad in quads if quad for point in quad]
    text = " ".join(str(word.get("text") or "") for word in words)
    if not points or None in quads:
        return Outlined(text, None)
    xs, ys = zip(*points, strict=True)
    return Outlined(text, points if len(words) == 1 else [[min(xs), min(ys)], [max(xs), max(ys)]])


def _fields(value: Mapping[str, Any]) -> list[Outlined]:
    """All fields as one JSON answer about the whole image."""
    return [Outlined(write_json(value), None, is_whole=True)]


def _are_fields(value: Mapping[str, Any]) -> bool:
    plain = all(isinstance(inner, str | None) for inner in value.values())
    return bool(value) and plain and not any(is_known_column(name) or IMAGE_NAME.fullmatch(name) for name in value)


_FIELDS = _Shape("fields as JSON answers", _are_fields, _fields)
_SHAPES = (
    _Shape("FUNSD", lambda value: isinstance(value.get("form"), list), _funsd),
    _Shape("CORD", lambda value: isinstance(value.get("valid_line"), list) and "gt_parse" not in value, _cord),
    _FIELDS,
)
