"""Zips of data sets, as Transkribus and eScriptorium export them among others, unpacked once into the cache."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ...errors import UserError
from ..rows import cache_folder, file_state
from ..tables import SUFFIXES as TABLES
from .folders import DOCUMENTS, PDFS
from .pictures import SUFFIXES as PICTURES

_WANTED = (*DOCUMENTS, *PDFS, *PICTURES, *TABLES, ".md", ".tar")
_MOST_GROWTH = 100
"""Times that an archive may grow beyond ``_HARMLESS`` bytes. XML shrinks to a tenth, images hardly."""
_HARMLESS = 1 << 30


def holds_pages(path: Path) -> bool:
    """Whether a zip has files that may be pages. Raises ``UserError`` when it cannot be opened."""
    with _opened(path) as archive:
        return any(_suffix(entry) in (*DOCUMENTS, *PDFS) for entry in archive.infolist())


def unpack(path: Path) -> Path:
    """The folder with the texts, tables and images of a zip, unpacked there unless it was before.

    Raises ``UserError`` for a zip that is damaged or encrypted, leads out of its folder, or grows beyond reason.
    """
    from datasets.fingerprint import Hasher

    target = cache_folder() / "unpacked" / Hasher.hash(file_state(path)) / path.stem
    if target.is_dir():
        return target
    with _opened(path) as archive:
        entries = [entry for entry in archive.infolist() if _suffix(entry) in _WANTED]
        _check(path, entries)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            for entry in entries:
                _extract(archive, entry, part)
            part.rename(target)
        except OSError as error:
            if not target.is_dir():  # another process may have been first
                raise UserError(f"{path} cannot be unpacked into {target}: {error.strerror or error}") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise UserError(f"{path} is a damaged zip: {error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path} is not a zip that can be opened: {error}") from error


def _suffix(entry: zipfile.ZipInfo) -> str:
    return "" if entry.is_dir() else PurePosixPath(entry.filename).suffix.lower()


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0] or "\0" in entry.filename:
            raise UserError(f"{path}: the entry {entry.filename!r} leads out of the archive; it is not unpacked")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"{path}: the entry {entry.filename!r} is a link; it is not unpacked")
        if entry.flag_bits & 1:
            raise UserError(f"{path} is encrypted; unpack it and give the folder as --dataset_name")
    size, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if size > _HARMLESS and size > _MOST_GROWTH * packed:
        raise UserError(f"{path} would grow from {packed:,} to {size:,} bytes; it is not unpacked")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Write one entry. ``zipfile`` gives no more bytes than the entry declares."""
    target = folder.joinpath(*entry.filename.replace("\\", "/").split("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, open(target, "wb") as written:
        shutil.copyfileobj(source, written, 1 << 20)
