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
    by_suffix = {suffix[1:]: files for suffixes, files in kinds.items() for suffix in suffixes}
    inside = os.path.realpath(folder)
    for entry in _entries(folder, depth):
        name = entry.name
        files = by_suffix.get(name.rpartition(".")[2].lower())
        if files is None and name.endswith(".gt.txt"):
            found.has_line_texts = True
        if entry.is_symlink() and not is_inside(os.path.realpath(entry.path), inside):
            found.links.append(entry.path)
        elif files is not None:
            files.append(entry.path)
    return found


def _entries(folder: str, depth: int | None) -> Iterator[os.DirEntry[str]]:
    """Each file, and each folder that is a link, which is not entered."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name[0] == "." or entry.name == "__MACOSX":
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth != 0:
                yield from _entries(entry.path, None if depth is None else depth - 1)
        else:
            yield entry


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is that of a folder or of something in it, by its letters."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
