"""Label Studio's exports: JSON, JSON_MIN and CSV of projects with boxes and texts on images."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from .csv_files import read_csv
from .encodings import read_head
from .json_files import IMAGE_NAME, Item, parse_json, read_json
from .outlined import AnnotatedPage, Outlined, Points, polygon, read_annotated
from .rows import ReadOptions, file_state

if TYPE_CHECKING:
    from datasets import Dataset

_SUFFIXES = (".json", ".csv")
_UPLOAD = re.compile(r"^/data/upload/(\d+/)?")
_KEYS_OF_TASKS = ("annotations", "data")
_KEYS_OF_MIN = ("annotation_id", "lead_time")
_SHAPES = ("x", "points")


def label_studio_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of an export, or of a folder of exports: its JSON before JSON_MIN before CSV, the newest.

    None for any other file or folder.
    """
    files = [path] if path.is_file() else sorted(path.glob("project-*")) if path.is_dir() else []
    exports = [file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file() and _is_export(file)]
    if not exports:
        return None
    return {"train": partial(_read, min(reversed(exports), key=_rank), root, options)}


def _rank(file: Path) -> tuple[bool, bool]:
    name = file.name.lower()
    return name.endswith(".csv"), ".json_min" in name


def _is_export(file: Path) -> bool:
    head = read_head(file)
    if file.suffix.lower() == ".csv":
        return all(key in head.partition("\n")[0] for key in _KEYS_OF_MIN)
    tasks = all(f'"{key}"' in head for key in _KEYS_OF_TASKS) and ('"result"' in head or '"was_cancelled"' in head)
    return head.lstrip().startswith("[") and (tasks or all(f'"{key}"' in head for key in _KEYS_OF_MIN))


def _read(file: Path, root: Path, options: ReadOptions) -> Dataset:
    return read_annotated(_pages(file, root), "Label Studio", file_state(file), (root,), options)


def _pages(file: Path, root: Path) -> Iterator[AnnotatedPage]:
    name, base = file.relative_to(root).as_posix(), str(file.parent.absolute())
    items: Iterator[Item] = read_csv(file) if file.suffix.lower() == ".csv" else read_json(file)
    for number, task, problem in items:
        source = f"{name}:{number}"
        if problem or not isinstance(task, dict):
            yield AnnotatedPage(source, base, None, problem="invalid_record", detail=problem, group=source)
        else:
            yield _task(task, source, base) if "data" in task else _flat_task(task, source, base)


def _task(task: Mapping[str, Any], source: str, base: str) -> AnnotatedPage:
    """A task of the export JSON: results with one id belong to one region."""
    data = task.get("data")
    image = _image_name(data.values(), base) if isinstance(data, dict) else None
    page = partial(AnnotatedPage, source, base, image, is_percent=True, group=image or source)
    annotations = [found for found in task.get("annotations") or [] if isinstance(found, dict)]
    whole = [found for found in annotations if not found.get("was_cancelled")]
    if not whole:
        return page(problem="skipped" if annotations else "not_transcribed")
    chosen = next((found for found in whole if found.get("ground_truth")), whole[0])
    results = [result for result in chosen.get("result") or [] if isinstance(result, dict)]
    by_region: dict[str, list[Mapping[str, Any]]] = {}
    for number, result in enumerate(results):
        by_region.setdefault(str(result.get("id", number)), []).append(result)
    pieces = [piece for group in by_region.values() if (piece := _region(group)) is not None]
    return page(pieces) if pieces else page(problem="not_transcribed")


def _region(results: Sequence[Mapping[str, Any]]) -> Outlined | None:
    """The text and outline of the results of one region; None for what is neither, such as choices."""
    values = [result["value"] for result in results if isinstance(result.get("value"), dict)]
    shape = next((value for value in values if any(name in value for name in _SHAPES)), None)
    text = next((value["text"] for value in values if "text" in value), None)
    if shape is None:
        return None if text is None else Outlined(_joined(text), None, is_whole=True)
    if any(str(result.get("image_rotation") or 0) != "0" for result in results):
        return Outlined(None, None, "rotated_page", "image_rotation")
    return Outlined(_joined(text), _outline(shape, results[0]), None if text is not None else "not_transcribed")


def _flat_task(task: Mapping[str, Any], source: str, base: str) -> AnnotatedPage:
    """A task of JSON_MIN or CSV: lists of boxes and texts, which belong together by their order."""
    cells = {name: _unfolded(cell) for name, cell in task.items()}
    image = _image_name(cells.values(), base)
    page = partial(AnnotatedPage, source, base, image, is_percent=True, group=image or source)
    shapes: list[Any] = next((cell for cell in cells.values() if _are_shapes(cell)), [])
    texts = cells.get("transcription")
    if texts is None:
        texts = next((cell for cell in cells.values() if isinstance(cell, list) and not _are_shapes(cell)), None)
    texts = texts if isinstance(texts, list) else [] if texts in (None, "") else [texts]
    if not shapes and texts:
        return page([Outlined(_joined(texts), None, is_whole=True)])
    if len(shapes) != len(texts):
        return page(problem="unpaired_boxes", detail=f"{len(texts)} texts, {len(shapes)} boxes")
    return page([Outlined(text, _outline(shape, shape)) for shape, text in zip(shapes, texts, strict=True)])


def _unfolded(cell: Any) -> Any:
    """A cell of a CSV export, which holds JSON where it is a list."""
    if not isinstance(cell, str) or not cell.startswith(("[", "{")):
        return cell
    try:
        return parse_json(cell)
    except ValueError:
        return cell


def _are_shapes(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and isinstance(cell[0], dict) and any(n in cell[0] for n in _SHAPES)


def _joined(text: Any) -> Any:
    """The text of a region; a text area of several submissions is as many lines."""
    if isinstance(text, list):
        return "\n".join(map(str, text))
    return text


def _outline(shape: Mapping[str, Any], size: Mapping[str, Any]) -> Points | None:
    """The outline of a rectangle or polygon in percent. Rectangles turn around their top left corner, in pixels."""
    if "points" in shape:
        return polygon(shape["points"])
    try:
        x, y, width, height = (float(shape[name]) for name in ("x", "y", "width", "height"))
        angle = math.radians(float(shape.get("rotation") or 0))
        ratio = float(size.get("original_width") or 1) / float(size.get("original_height") or 1)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if angle == 0:
        return polygon([[x, y], [x + width, y + height]])
    cosine, sine = math.cos(angle), math.sin(angle)
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    return polygon([[x + a * cosine - b * sine / ratio, y + a * sine * ratio + b * cosine] for a, b in corners])


def _image_name(values: Any, base: str) -> str | None:
    """The image of a task: the first value that names one, without the server's address and its prefix."""
    paths = (_path_of(value) for value in values if isinstance(value, str))
    name = next((path for path in paths if IMAGE_NAME.fullmatch(path)), None)
    if name is None:
        return None
    last = Path(name).name
    original = re.sub(r"^[0-9a-f]{8}-", "", last)
    there = (Path(base, folder, file) for file in (name.lstrip("/"), last, original) for folder in ("", "images"))
    found = next((path for path in there if os.path.isfile(path)), None)  # which a name too long for a file is not
    return found.relative_to(base).as_posix() if found else name


def _path_of(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:  # such as https://[, which begins an address that does not end
        return value
    local = parse_qs(parts.query).get("d")
    return local[0] if local else _UPLOAD.sub("", unquote(parts.path))
