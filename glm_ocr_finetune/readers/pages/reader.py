"""Page formats as a reader of data sets: files, folders and zips become rows by line, region or page."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UserError
from ..rows import ReadOptions, counted, store_rows
from ..tables import SUFFIXES as TABLES
from ..tables import canonical_split
from .archives import holds_pages as zip_holds_pages
from .archives import unpack
from .folders import DOCUMENTS, Contents, look_into
from .kinds import KINDS, read_pages
from .layout import PageError
from .page_rows import MOST_SAID, PageReader
from .pdf import pdf_splits
from .pictures import PictureFinder, states
from .sources import Selection, holds_pages, look_at, select, select_by_mets

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_ARCHIVE = ".zip"
_TABLES_OF_WHOLE_SETS = ("metadata", "manifest", "sharegpt")
_INNER_FOLDERS = ("page", "alto", "hocr", "abbyy", "xml")
"""Folders of page files whose images lie one folder further up (Transkribus)."""


def page_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of a file, folder or zip of page formats, or None.

    A folder with a table of its own (``metadata.csv``, ``train.jsonl``) is read by that, unless a level was asked
    for. Raises ``UserError`` for a single file that is of no page format, and for a level where there are no pages.
    """
    if path.is_file() and path.suffix.lower() == _ARCHIVE:
        path = unpack(path) if zip_holds_pages(path) else path
    found = _splits_of_file(path, options) if path.is_file() else _splits_of_folder(path, options)
    if found is None and options.level is not None:
        found = pdf_splits(path, root, options)
        if found is None:
            raise UserError(f"--level {options.level}: {path} holds no pages ({_formats()}); leave --level out")
    return found


def _formats() -> str:
    return ", ".join(kind.name for kind in KINDS) + ", METS, PDF"


def _splits_of_file(path: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    if path.suffix.lower() not in DOCUMENTS:
        return None
    found = look_at(str(path))
    if found.problem:
        raise UserError(f"{path}: {found.problem[1]}")
    if found.is_mets:
        return {"train": partial(_read_mets, path, options)}
    if found.kind is None:
        if path.suffix.lower() in TABLES:
            return None
        raise UserError(f"{path} is of no page format that is known: expected {_formats()}")
    return {"train": partial(_read_file, path, options)}


def _splits_of_folder(path: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    is_asked_for = options.level is not None or options.data_format is not None
    if not path.is_dir() or (_has_a_table(path) and not is_asked_for):
        return None
    contents = look_into(str(path))
    if holds_pages(contents):
        return {"train": partial(_read_folder, path, options, contents)}
    _refuse_zips(path, contents)
    _say_broken(contents)
    return None


def _has_a_table(folder: Path) -> bool:
    tables = (name for name in os.listdir(folder) if name.lower().endswith(TABLES))
    words = (re.split(r"[-_. ]", name)[0] for name in tables)
    return any(w in _TABLES_OF_WHOLE_SETS or canonical_split(w) in ("train", "validation", "test") for w in words)


def _say_broken(contents: Contents) -> None:
    """Say which files would be pages if they could be read, in a folder that has no other."""
    for source in map(look_at, contents.documents[:MOST_SAID]):
        if source.problem:
            logger.warning("%s cannot be read: %s", source.path, source.problem[1])


def _refuse_zips(folder: Path, contents: Contents) -> None:
    """Raise ``UserError`` for a folder of zipped pages, which would be passed over."""
    if contents.documents or contents.pictures or contents.pdfs:
        return
    zipped = next((file for file in map(Path, contents.archives) if zip_holds_pages(file)), None)
    if zipped is not None:
        raise UserError(f"{folder} holds zips of pages; unpack them there, or give one as --dataset_name {zipped}")


def _read_file(path: Path, options: ReadOptions) -> Dataset:
    source = look_at(str(path))
    try:
        if source.kind is not None:
            read_pages(path, source.kind)
    except PageError as error:
        raise UserError(f"{path}: {error}") from error
    return _store(Selection([source]), path.parent, _pictures_near(path.parent, options), options)


def _read_mets(path: Path, options: ReadOptions) -> Dataset:
    selection = select_by_mets(str(path))
    if all(source.kind is None for source in selection.sources):
        raise UserError(f"{path}: none of the page files that it names is there")
    pictures = look_into(str(path.parent)).pictures
    return _store(selection, path.parent, [*pictures, *_pictures_of_option(options)], options)


def _read_folder(path: Path, options: ReadOptions, contents: Contents) -> Dataset:
    pictures = contents.pictures or _pictures_near(path, options)
    pictures = [*pictures, *_pictures_of_option(options)]
    return _store(select(contents, str(path)), path, pictures, options, contents.pictures)


def _pictures_near(folder: Path, options: ReadOptions) -> list[str]:
    """Images in a folder and in those right inside it; beside it where its name is that of a format."""
    top = folder.parent if folder.name.lower() in _INNER_FOLDERS else folder
    inner = [entry for entry in sorted(top.iterdir()) if entry.is_dir() and not entry.is_symlink()]
    found = (path for place in (top, *inner) for path in look_into(str(place), depth=0).pictures)
    return [*found, *_pictures_of_option(options)]


def _pictures_of_option(options: ReadOptions) -> list[str]:
    if options.image_folder is None:
        return []
    folder = os.path.abspath(os.path.expanduser(options.image_folder))
    if not os.path.isdir(folder):
        raise UserError(f"--image_folder: there is no folder {folder}")
    return look_into(folder).pictures


def _store(
    selection: Selection, root: Path, pictures: list[str], options: ReadOptions, own: Sequence[str] = ()
) -> Dataset:
    """The rows of the selected files, stored as long as neither they nor the images change.

    ``pictures`` may be used; those of them that are the data set's ``own`` should be.
    """
    reader = PageReader(str(root), options.level, PictureFinder(list(dict.fromkeys(pictures))))
    files = [source.path for source in selection.sources if source.kind]
    named = [(source.path, source.image) for source in selection.sources]
    key = ("pages", str(root), options.level, named, states(files), states(pictures))
    table = store_rows(reader.rows(selection.sources), key, lambda: _is_plain(reader, own, options.level))
    for note in selection.notes:
        logger.info("%s", note)
    reader.tally.say()
    logger.info("read as: %s", _described(selection, reader, table, options.level))
    return table


def _is_plain(reader: PageReader, own: Sequence[str], level: str | None) -> bool:
    """Whether all that is to be said, now that the rows are read, can be seen from the table."""
    reader.note_unused(own)
    return not reader.tally.has_something_to_say() and set(reader.tally.counts) <= {level or "line"}


def _described(selection: Selection, reader: PageReader, table: Dataset, level: str | None) -> str:
    """``PAGE XML, 14 pages, 412 lines``"""
    names = " and ".join(kind.name for kind in selection.kinds) or "pages"
    if selection.groups:
        names = f"METS ({', '.join(sorted(filter(None, selection.groups)))}) with {names}"
    pages = reader.tally.pages or len(table.unique("group"))
    counts = dict(reader.tally.counts) or {level or "line": len(table)}
    parts = [counted(number, kind) for kind, number in counts.items() if kind != "page"]
    return ", ".join([names, counted(pages, "page"), *parts])
