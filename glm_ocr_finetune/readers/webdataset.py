"""WebDataset's tar shards: files of one key are one sample, ``000001.jpg`` and ``000001.txt`` or ``000001.json``."""

from __future__ import annotations

import logging
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .columns import Layout, find_layout, kinds_of_records
from .conversations import Turn
from .encodings import decoded
from .json_files import parse_json
from .paths import Found, ImageFinder
from .records import Record, rows_of, to_rows
from .rows import ReadOptions, Row, counted, file_state, make_row, store_rows
from .tables import split_of

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_IMAGES = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "gif", "img")
_TEXTS = ("gt.txt", "txt", "text", "md", "caption", "transcript", "html", "latex")
_JSON = "json"
_CELL = "image of the sample"
"""The column that the image of a sample stands in, beside those of its JSON."""
_LARGEST = 256 << 20
"""Bytes of the largest member that is read into memory."""
_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error)

Members = dict[str, tarfile.TarInfo]
"""Suffix, without its dot -> file of the tar."""


def webdataset_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The splits of a tar shard (``train``), or of a folder of shards by their names; None for anything else."""
    if path.is_file():
        return {"train": partial(_read, [path], root, options)} if _is_tar(path) else None
    splits: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        if _is_tar(file) and file.is_file():
            splits.setdefault(split_of(file) or "train", []).append(file)
    return {split: partial(_read, files, root, options) for split, files in splits.items()} or None


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(_SUFFIXES) and not path.name.startswith(".")


def _read(files: list[Path], root: Path, options: ReadOptions) -> Dataset:
    # The rows lie in the cache of datasets from then on, images included: a tar can only be read in its own order.
    key = ("webdataset", [file_state(file) for file in files], options)
    reader = _Reader(options)
    rows = store_rows((row for file in files for row in reader.rows(file, root)), key, lambda: True)
    logger.info("read as: WebDataset, %s, %s", counted(len(files), "shard"), counted(len(rows), "row"))
    return rows


@dataclass
class _Reader:
    """Reads shards; the columns of their JSON are those of the first sample that has one."""

    options: ReadOptions
    layout: Layout | None = None

    def rows(self, file: Path, root: Path) -> Iterator[Row]:
        name = file.relative_to(root).as_posix()
        try:
            with tarfile.open(file) as archive:
                for key, members in _samples(archive).items():
                    if members.keys() & {*_IMAGES, *_TEXTS, _JSON}:
                        yield from self._sample(archive, f"{name}:{key}", members)
        except _ERRORS as error:
            raise UserError(f"{file} cannot be read as a tar: {' '.join(str(error).split())}") from error

    def _sample(self, archive: tarfile.TarFile, source: str, members: Members) -> Iterator[Row]:
        image = next((members[suffix] for suffix in _IMAGES if suffix in members), None)
        label = next((suffix for suffix in (*_TEXTS, _JSON) if suffix in members), None)
        large = next((found for found in (image, members.get(label or "")) if found and found.size > _LARGEST), None)
        cell = {"bytes": _bytes(archive, image), "path": image.name} if image and not large else None
        if large or label is None:
            problem = "member_too_large" if large else "not_transcribed"
            yield make_row(source, cell, problem=problem, detail=f"{large.size:,} bytes" if large else None)
            return
        text, _ = decoded(_bytes(archive, members[label]))
        if text is None:
            yield make_row(source, cell, problem="invalid_text", detail=members[label].name)
        elif label != _JSON:
            yield from rows_of(source, Turn(answer=text), cell, Found(problem=None if cell else "no_image"))
        else:
            yield from self._record(text, source, cell, members[label].name)

    def _record(self, text: str, source: str, cell: dict[str, Any] | None, where: str) -> Iterator[Row]:
        """The row of a sample with JSON: an object with a text, or the text itself."""
        try:
            value = parse_json(text)
        except ValueError as error:
            yield make_row(source, cell, problem="invalid_record", detail=str(error))
            return
        values = {**(value if isinstance(value, dict) else {"text": value}), _CELL: cell}
        if self.layout is None:
            kinds = kinds_of_records([{**values, _CELL: {"bytes": None}}])
            self.layout = find_layout(kinds, replace(self.options, image_column=_CELL), where)
        yield from to_rows(Record(source, "", values), self.layout, ImageFinder(()))


def _samples(archive: tarfile.TarFile) -> dict[str, Members]:
    """Key -> suffix -> member. A key is a path up to the first dot of its last part; links and folders are none."""
    found: dict[str, Members] = {}
    for member in archive:
        path = PurePosixPath(member.name)
        stem, dot, suffix = path.name.partition(".")
        if member.isfile() and dot and stem:
            found.setdefault((path.parent / stem).as_posix(), {})[suffix.lower()] = member
    return found


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream else b""
