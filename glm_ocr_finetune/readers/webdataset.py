"""WebDataset's tar shards: files of one key are one sample, ``000001.jpg`` and ``000001.txt`` or ``000001.json``."""

from __future__ import annotations

import io
import logging
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..inputs.tar_members import member_path
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
_ELSEWHERE = b"in the tar"
"""Stands for the bytes of an image that stay where they are."""
_LARGEST = 256 << 20
"""Bytes of the largest member that is read into memory."""
_READ = {*_IMAGES, *_TEXTS, _JSON}
ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error)
"""What a damaged tar raises."""


@dataclass(frozen=True)
class Member:
    """A file of a tar: where its bytes lie, or the bytes themselves where they can be read only once."""

    name: str
    size: int
    offset: int
    is_plain: bool = True
    data: bytes | None = None


Members = dict[str, Member]
"""Suffix, without its dot -> file of the tar."""


@dataclass(frozen=True)
class Shards:
    """The tar shards of one split; called, their rows."""

    files: list[Path]
    root: Path
    options: ReadOptions

    def __call__(self) -> Dataset:
        # The rows lie in the cache of datasets from then on; the images stay in the tar, unless it is compressed.
        key = ("webdataset", [file_state(file) for file in self.files], self.options)
        reader = Reader(self.options)
        rows = store_rows((row for file in self.files for row in reader.rows(file, self.root)), key, lambda: True)
        logger.info("read as: WebDataset, %s, %s", counted(len(self.files), "shard"), counted(len(rows), "row"))
        return rows


def webdataset_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The splits of a tar shard (``train``), or of a folder of shards by their names; None for anything else."""
    if path.is_file():
        return {"train": Shards([path], root, options)} if _is_tar(path) else None
    splits: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        if _is_tar(file) and file.is_file():
            splits.setdefault(split_of(file) or "train", []).append(file)
    return {split: Shards(files, root, options) for split, files in splits.items()} or None


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(_SUFFIXES) and not path.name.startswith(".")


@dataclass
class Reader:
    """Reads shards; the columns of their JSON are those of the first sample that has one."""

    options: ReadOptions
    layout: Layout | None = None

    def rows(self, file: Path, root: Path) -> Iterator[Row]:
        """The rows of a shard. Raises ``UserError`` when it is damaged."""
        name = file.relative_to(root).as_posix()
        try:
            with tarfile.open(file) as archive:
                lies_in = str(file) if type(archive.fileobj) is io.BufferedReader else None
                for key, members in _joined(_consecutive(archive)):
                    yield from self._sample(f"{name}:{key}", members, partial(_bytes, archive), lies_in)
        except ERRORS as error:
            raise UserError(f"{file} cannot be read as a tar: {' '.join(str(error).split())}") from error

    def stream(self, file: Any, name: str) -> Iterator[Row]:
        """The rows of a shard that is read once, from its start to its end: the files of a key follow each other.

        Raises ``ERRORS`` when it is damaged.
        """
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for key, members in _consecutive(archive, read=True):
                yield from self._sample(f"{name}:{key}", members, lambda member: member.data or b"", None)

    def _sample(
        self, source: str, members: Members, read: Callable[[Member], bytes], lies_in: str | None
    ) -> Iterator[Row]:
        """The row of a sample.

        Args:
            lies_in: the tar, when an image can be read from it later; otherwise its bytes become part of the row.
        """
        image = _image_of(members)
        label = next((suffix for suffix in (*_TEXTS, _JSON) if suffix in members), None)
        large = next((found for found in (image, members.get(label or "")) if found and found.size > _LARGEST), None)
        cell = _cell(image, read, lies_in) if image and not large else None
        if large or label is None:
            problem = "member_too_large" if large else "not_transcribed"
            yield make_row(source, cell, problem=problem, detail=f"{large.size:,} bytes" if large else None)
            return
        text, _ = decoded(read(members[label]))
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
        held = cell if cell is None or cell["bytes"] else {"bytes": _ELSEWHERE, "path": None}
        values = {**(value if isinstance(value, dict) else {"text": value}), _CELL: held}
        if self.layout is None:
            kinds = kinds_of_records([{**values, _CELL: {"bytes": None}}])
            self.layout = find_layout(kinds, replace(self.options, image_column=_CELL), where)
        for row in to_rows(Record(source, "", values), self.layout, ImageFinder(())):
            yield row if held is cell else {**row, "image": cell}


def _consecutive(archive: tarfile.TarFile, read: bool = False) -> Iterator[tuple[str, Members]]:
    """(key, members) of neighbours of one key. A key is a path up to the first dot of its last part.

    Links, folders and samples without an image, text or JSON are left out.

    Args:
        read: take the bytes along, of a tar that cannot be gone back in.
    """
    key, members = "", Members()
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
        path = PurePosixPath(member.name)
        stem, dot, suffix = path.name.partition(".")
        if not (member.isfile() and dot and stem):
            continue
        if (found := (path.parent / stem).as_posix()) != key:
            if members:
                yield key, members
            key, members = found, {}
        if (suffix := suffix.lower()) in _READ:
            data = _bytes_now(archive, member) if read and member.size <= _LARGEST else None
            members[suffix] = Member(member.name, member.size, member.offset_data, not member.issparse(), data)
    if members:
        yield key, members


def _joined(neighbours: Iterator[tuple[str, Members]]) -> Iterator[tuple[str, Members]]:
    """Samples whose files do not all follow each other, too: those that lack something wait for more of their key."""
    waiting: dict[str, Members] = {}
    for key, members in neighbours:
        members = waiting.pop(key, {}) | members
        if _image_of(members) and members.keys() & {*_TEXTS, _JSON}:
            yield key, members
        else:
            waiting[key] = members
    yield from waiting.items()


def _image_of(members: Members) -> Member | None:
    return next((members[suffix] for suffix in _IMAGES if suffix in members), None)


def _cell(image: Member, read: Callable[[Member], bytes], lies_in: str | None) -> dict[str, Any]:
    """An image as it is stored; the pages of a TIFF are looked for, so its bytes are taken."""
    if lies_in and image.is_plain and image.size and not image.name.lower().endswith((".tif", ".tiff")):
        return {"bytes": None, "path": member_path(lies_in, image.name, image.offset, image.size)}
    return {"bytes": read(image), "path": image.name}


def _bytes(archive: tarfile.TarFile, member: Member) -> bytes:
    archive.fileobj.seek(member.offset)
    data: bytes = archive.fileobj.read(member.size)
    if len(data) < member.size:
        raise EOFError("unexpected end of data")
    return data


def _bytes_now(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream else b""
