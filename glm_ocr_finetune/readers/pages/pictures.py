"""The image of a page: by the name its file has for it, or by the name of the file itself."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from ..rows import file_state

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".jp2", ".gif", ".avif", ".ppm", ".pgm", ".pbm")

_ADDED = {suffix[1:] for suffix in SUFFIXES} | {
    *("j2k", "jpx", "pdf", "xml", "html", "htm", "hocr", "tsv", "box", "txt", "md"),
    *("bin", "nrm", "mono", "raw", "gray", "grey", "color", "page", "alto", "abbyy", "wordstr", "lstm"),
}
"""Endings that programs add to a page's name, one after the other: ``.nrm.png``, ``.jp2.jpg``, ``.page.xml``."""

FileState = tuple[str, int, int]


@dataclass(frozen=True)
class Picture:
    """The image's absolute path, or the one that was tried; ``problem`` as in ``rows.PROBLEMS``."""

    path: str
    problem: str | None = None
    is_renamed: bool = False


@dataclass
class PictureFinder:
    """Finds images among those of a data set: none of another folder is ever opened.

    ``files`` are the absolute paths of all images that may be used.
    """

    files: Iterable[str]
    _by_name: dict[str, list[str]] = field(default_factory=dict)
    _by_stem: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.files:
            name = os.path.basename(path)
            self._by_name.setdefault(_same(name), []).append(path)
            self._by_stem.setdefault(stem_of(name), []).append(path)

    def find(self, name: str | None, file: str) -> Picture:
        """The image called ``name`` in a page file: of that name, else of its stem, else of the file's stem.

        Of several, the one whose folders are most like those of the name, then the nearest to the file;
        ``ambiguous_image`` where two folders are alike.
        """
        told = (name or "").strip().replace("\\", "/")
        last = told.rsplit("/", 1)[-1]
        folder = os.path.dirname(file)
        expected = os.path.normpath(os.path.join(folder, told)) if last else _beside(file)
        named = self._by_name.get(_same(last), [])
        if expected in named:
            return Picture(expected)
        if named:
            return _nearest(named, told, file)
        for stem in dict.fromkeys((stem_of(last), stem_of(os.path.basename(file)))):
            if stem and stem in self._by_stem:
                return _nearest(self._by_stem[stem], told, file, is_renamed=bool(last))
        if os.path.exists(expected):
            return Picture(expected, "path_outside_data_set")
        return Picture(os.path.join(folder, last) if os.path.isabs(told) else expected, "missing_image")


def _nearest(paths: Iterable[str], told: str, file: str, is_renamed: bool = False) -> Picture:
    ranked = sorted((_rank(path, told, file), len(path), path) for path in paths)
    (best, _, path), *others = ranked
    rival = next((other for rank, _, other in others if rank == best and not _are_beside(other, path)), None)
    return Picture(path, "ambiguous_image" if rival else None, is_renamed)


def _rank(path: str, told: str, file: str) -> tuple[int, int]:
    """(less the more folders right before the name are those that were told, steps from the file's folder)"""
    folders, start, wanted = (name.split("/")[:-1] for name in (path, file, told))
    pairs = zip(reversed(folders), reversed(wanted), strict=False)
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(folders, start, strict=False)))
    return -alike, len(folders) + len(start) - 2 * shared


def _are_beside(one: str, other: str) -> bool:
    """Whether two images lie in one folder: renderings of one page, as ``007.nrm.png`` and ``007.bin.png``."""
    return os.path.dirname(one) == os.path.dirname(other)


def stem_of(name: str) -> str:
    """A file name without the endings that programs add, in one form of its letters: ``007`` of ``007.nrm.png``."""
    parts = _same(name).split(".")
    while len(parts) > 1 and parts[-1] in _ADDED:
        parts.pop()
    return ".".join(parts)


def states(paths: Iterable[str]) -> list[FileState]:
    """What tells that any of these files has changed."""
    return [file_state(path) for path in paths]


def _same(name: str) -> str:
    """A name in one form: archives and file systems differ in case and in how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()


def _beside(file: str) -> str:
    return re.sub(r"\.[^.]*$", "", file) + ".jpg"
