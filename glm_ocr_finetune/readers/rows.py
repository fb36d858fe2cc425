"""The neutral table that every reader yields, and how it is stored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import UserError
from ..inputs.labels import MAX_LABEL_CHARACTERS, is_storable
from ..ranks import first_of_a_machine

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

COLUMNS = ("image", "text", "prompt", "source", "problem", "detail", "region", "group")

PROBLEMS = {
    "no_image": "the row names no image",
    "several_images": "the row has more than one image",
    "missing_image": "there is no such image file (--image_folder names the folder that paths start from)",
    "image_is_url": "the image is a URL; images are read from files only",
    "path_outside_data_set": "the image lies outside the data set's folder; allow its own with --image_folder",
    "member_too_large": "a file of the archive is too large to be read into memory",
    "invalid_path": "the image's path is not text that can be stored",
    "invalid_image": "the image is neither base64 nor the pixels of one",
    "ambiguous_image": "images of different folders were looked for under one file name",
    "several_pages": "the image has several pages, and the label is not a list of as many texts",
    "several_turns": "the conversation is not one user message and one answer",
    "system_message": "the conversation has a system message, which the prompt has no place for",
    "empty_label": "the label is missing, empty or white space only",
    "label_not_text": "the label is a list, a mapping or a truth value",
    "label_too_long": f"the label has more than {MAX_LABEL_CHARACTERS:,} characters",
    "boxes_only": "the text beside the image holds boxes, not a transcription",
    "invalid_text": "the label or prompt is not valid Unicode",
    "invalid_answer": "the label's gt_parse is not JSON",
    "not_json": "the label is no JSON object, which the prompt asks for",
    "not_transcribed": "there is no transcription",
    "placeholder": "the label only marks text that is not transcribed (~~~, ###)",
    "difficult": "its annotator marked the text as not readable",
    "skipped": "its annotator skipped the task",
    "bad_segmentation": "the segmentation is marked as wrong",
    "rotated_page": "the page's text is for a page turned upright (rotation_correction)",
    "empty_page": "the page has neither lines nor text",
    "unpaired_boxes": "there are not as many texts as boxes; export as JSON, which joins them",
    "no_coordinates": "no outline is given, so there is nothing to cut out; --level page needs none",
    "invalid_record": "the line is not a JSON object, or has more cells than the header",
    "unreadable_page": "the page file cannot be read",
    "missing_page": "the page file that METS names does not exist",
    "partly_transcribed": "some of its lines are not transcribed; --level line reads the others",
    "no_lines": "the region has a text but its lines have none; --level region reads it",
    "page_size_differs": "the image does not have the shape of its page",
    "unknown_scale": "the coordinates are not in pixels, and the page's size is not given",
    "shared_image": "another page of the same file has this image; of several frames the first is read",
    "page_count": "the text beside the PDF is not of as many pages (form feeds between them)",
    "unreadable_part": "the rest of the file cannot be read",
    "unmapped_text": "the PDF's text layer has characters that its fonts do not map",
}
"""Why a reader rejects a row, in words. ``missing_image`` is found again by ``images`` when a file vanishes later."""

_VERSION = 7  # of the stored tables: raise it when the same files yield other rows
_BATCH = 1000
_BATCH_BYTES = 32 << 20
_DETAIL = 300
"""Characters of a value that are shown."""


class Row(TypedDict):
    """One sample. ``problem`` is a key of ``PROBLEMS`` or None; with a problem, text and prompt may be None.

    ``text`` is the label as it is trained on, from ``inputs.labels.clean_label``. ``detail`` is the value that the
    problem is about: the path that was tried, what stands there instead of a label. ``region`` is a polygon of [x, y]
    in pixels of the upright image, two points are a box, or None for all of it. ``group`` is the page or document that
    the sample was cut from, relative to the data set, or None when nothing is known of it.
    """

    image: dict[str, Any] | None
    text: str | None
    prompt: str | None
    source: str
    problem: str | None
    detail: str | None
    region: list[list[float]] | None
    group: str | None


@dataclass(frozen=True)
class ReadOptions:
    """What the user may say about a data set; None means: find out."""

    config: str | None = None
    image_column: str | None = None
    text_column: str | None = None
    image_folder: str | None = None
    data_format: str | None = None
    level: str | None = None
    group_column: str | None = None


def make_row(
    source: str,
    image: dict[str, Any] | None = None,
    text: str | None = None,
    prompt: str | None = None,
    problem: str | None = None,
    detail: str | None = None,
    region: list[list[float]] | None = None,
    group: str | None = None,
) -> Row:
    """A row that can be stored: strings that are not valid Unicode become problems, never exceptions."""
    path = (image or {}).get("path")
    if path is not None and not is_storable(path):
        image, problem, detail = None, "invalid_path", path
    if prompt is not None and not is_storable(prompt):
        problem, detail = (problem, detail) if problem else ("invalid_text", prompt)
        prompt = None
    return Row(
        image=image,
        text=text,
        prompt=prompt,
        source=_storable(source),
        problem=problem,
        detail=_storable(detail[:_DETAIL]) if problem and detail else None,
        region=region,
        group=None if group is None else _storable(group),
    )


def image_of(row: Mapping[str, Any]) -> Any:
    """The image of a stored row as ``images`` takes it: with its region, when the row has one."""
    image, region = row["image"], row.get("region")
    return {**image, "region": region} if region and isinstance(image, dict) else image


def counted(number: int, noun: str) -> str:
    """``1 page``, ``14 pages``"""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def problem_in_words(row: Mapping[str, Any]) -> str:
    """Why a row cannot be used, with the value that is the matter."""
    return ": ".join(part for part in (PROBLEMS[row["problem"]], row["detail"]) if part)


def row_features() -> Features:
    """The columns' types; images stay encoded (``{"bytes", "path"}``)."""
    from datasets import Features, Image, List, Value

    others = {"image": Image(decode=False), "region": List(List(Value("float64")))}
    return Features({name: others.get(name, Value("string")) for name in COLUMNS})


def column_of(rows: Dataset, name: str) -> pa.ChunkedArray:
    """A column in the order of the rows."""
    column = rows.data.column(name)
    return column if rows._indices is None else column.take(rows._indices.column(0))


def with_column(rows: Dataset, name: str, column: pa.ChunkedArray | pa.Array) -> Dataset:
    """The rows with another column in the place of one; nothing else is copied."""
    import pyarrow as pa
    from datasets import Dataset, concatenate_datasets

    beside = Dataset(pa.table({name: column}))
    return concatenate_datasets([rows.remove_columns(name), beside], axis=1).select_columns(rows.column_names)


def store_rows(rows: Iterable[Row], key: object, lasting: Callable[[], bool]) -> Dataset:
    """Write rows to a memory-mapped table in the cache of ``datasets`` and open it.

    ``key`` is whatever determines the rows; a table stored under an equal key is opened again without
    reading ``rows``. ``lasting`` is asked once all rows are written: False means that the next call
    must read them again (missing images may have come; a warning is to be repeated). Of the ranks of a machine the
    first reads, and the others open what it has written. Raises
    ``UserError`` when the cache folder cannot be written.
    """
    from datasets import Dataset
    from datasets.fingerprint import Hasher

    stored = cache_folder() / f"{Hasher.hash((_VERSION, repr(key)))}.arrow"
    with first_of_a_machine():
        if not stored.exists():
            written = stored.with_suffix(f".{os.getpid()}.part")
            _write(rows, written)
            stored = stored if lasting() else stored.with_suffix(".passing.arrow")
            # Replacing is atomic, so processes that store the same table at once do not disturb each other.
            try:
                os.replace(written, stored)
            except FileNotFoundError as error:
                raise UserError(
                    f"{written.parent} was removed while the data were read into it; start again"
                ) from error
    return Dataset.from_file(str(stored))


def file_state(path: str | os.PathLike[str]) -> tuple[str, int, int]:
    """What tells that a file has changed: absolute path, size in bytes, time of modification in ns."""
    state = os.stat(path)
    return os.path.abspath(path), state.st_size, state.st_mtime_ns


def cache_folder() -> Path:
    import datasets

    folder = Path(datasets.config.HF_DATASETS_CACHE) / "glm_ocr_finetune"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to the data set cache {folder} ({error.strerror}); set HF_DATASETS_CACHE"
        ) from error
    return folder


def _write(rows: Iterable[Row], path: Path) -> None:
    import pyarrow as pa

    schema = row_features().arrow_schema
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in _batches(rows):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows by the thousand, or fewer where they hold their images."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len((row["image"] or {}).get("bytes") or b"")
        if len(batch) == _BATCH or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
