"""What lies in a folder: page files and images, links out of it left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from .pictures import SUFFIXES as PICTURES

DOCUMENTS = (".xml", ".hocr", ".html", ".htm", ".xhtml", ".tsv", ".box")
ARCHIVES = (".zip",)
PDFS = (".pdf",)


@dataclass
class Contents:
    """Absolute paths of the files in a folder, at any depth, in the order of their names.

    ``links`` are files and folders that lead out of it: they are not followed. ``has_line_texts``: there are
    ``.gt.txt`` files.
    """

    documents: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    pdfs: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    has_line_texts: bool = False


def look_into(folder: str, depth: int | None = None) -> Contents:
    """The contents of a folder, and of folders in it up to ``depth`` steps down (None: all); hidden files, and what macOS adds to archives, do not count."""
    found = Contents()
    kinds = {DOCUMENTS: found.documents, PICTURES: found.pictures, ARCHIVES: found.archives, PDFS: found.pdfs}
    by_suffix = {suffix: files for suffixes, files in kinds.items() for suffix in suffixes}
    inside = os.path.realpath(folder)
    for path, is_link in _files(folder, depth):
        found.has_line_texts = found.has_line_texts or path.endswith(".gt.txt")
        files = by_suffix.get(os.path.splitext(path)[1].lower())
        if is_link and not is_inside(os.path.realpath(path), inside):
            found.links.append(path)
        elif files is not None:
            files.append(path)
    return found


def _files(folder: str, depth: int | None) -> Iterator[tuple[str, bool]]:
    """(path, is it a link) of each file, and of each folder that is a link, which is not entered."""
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        if depth is not None and _depth(top, folder) >= depth:
            folders.clear()
        for name in folders:
            if os.path.islink(os.path.join(top, name)):
                yield os.path.join(top, name), True
        for name in sorted(files):
            if not name.startswith("."):
                path = os.path.join(top, name)
                yield path, os.path.islink(path)


def _depth(inner: str, folder: str) -> int:
    return 0 if inner == folder else os.path.relpath(inner, folder).count(os.sep) + 1


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is that of a folder or of something in it, by its letters."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
