"""Image paths: where a name that stands in a file leads to, and whether it may."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from ..errors import UserError

logger = logging.getLogger(__name__)
_URL = re.compile(r"(?i)^(data:|[a-z][a-z0-9+.-]+://)")
_FILE_URL = re.compile(r"(?i)^file://(?=/)")
_ABSOLUTE = re.compile(r"^([A-Za-z]:)?[/\\]|^[A-Za-z]:")
"""How absolute paths start, on Windows and elsewhere."""


@dataclass(frozen=True)
class Found:
    """The absolute path of an image, or of where it should be, and the problem; ``detail`` says what was tried."""

    path: str | None = None
    problem: str | None = None
    detail: str | None = None


@dataclass
class ImageFinder:
    """Turns image names into absolute paths that lie inside ``roots``.

    ``roots`` are absolute folders: the data set's, and ``image_folder`` when there is one. A link must lead to
    a place inside them too. ``lenient`` adds ShareGPT's fallbacks. ``missing`` and ``elsewhere`` count what happened.
    """

    roots: tuple[str, ...]
    image_folder: str | None = None
    lenient: bool = False
    missing: int = 0
    elsewhere: int = 0
    example: tuple[str, str] | None = None
    _claimed: dict[str, str] = field(default_factory=dict)
    _inside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._inside = tuple(root.rstrip(os.sep) + os.sep for root in self.roots)

    def find(self, name: str, base: str) -> Found:
        """The image called ``name`` in a file of the folder ``base``.

        Tried in this order: IMAGE_FOLDER/name and base/name as written, then in another spelling; names of
        another machine by their ends, longest first; relative names from base/images and the folders above base;
        and when lenient base/BASENAME, base/images/BASENAME, IMAGE_FOLDER/BASENAME.
        """
        name = _plain_path(name)
        if not name:
            return Found(problem="no_image")
        if ":" in name and _URL.match(name):
            return Found(problem="image_is_url", detail=name[:100])
        allowed = []
        for folder in self._folders(base):
            path = os.path.normpath(os.path.join(folder, name))
            if self._is_inside(path):
                if os.path.exists(path):
                    return self._checked(path)
                allowed.append(path)
        return self._look_elsewhere(name, base, allowed)

    def nothing_to_say(self) -> bool:
        """Whether every image was found under its own name; otherwise say once what was done instead."""
        if self.example is not None:
            logger.warning(
                "%d image paths do not exist as written; read instead, e.g., %s -> %s "
                "(--image_folder names the folder that they start from)",
                self.elsewhere,
                *self.example,
            )
        return self.missing == 0 and self.elsewhere == 0

    def _folders(self, base: str) -> list[str]:
        return [folder for folder in (self.image_folder, base) if folder is not None]

    def _is_inside(self, path: str) -> bool:
        return path.startswith(self._inside)

    def _checked(self, path: str) -> Found:
        """An existing path, unless a link in it leads out of the roots."""
        folder = _real_folder(os.path.dirname(path)) + os.sep
        if folder.startswith(self._inside) and not os.path.islink(path):
            return Found(path)
        target = os.path.realpath(path)
        if self._is_inside(target):
            return Found(path)
        return Found(problem="path_outside_data_set", detail=f"{path} is a link to {target}")

    def _look_elsewhere(self, name: str, base: str, allowed: list[str]) -> Found:
        if _ABSOLUTE.match(name) and os.path.exists(name):
            return Found(problem="path_outside_data_set", detail=name)
        guesses = (path for path in self._guesses(name, base) if self._is_inside(path))
        path = next((found for guess in guesses if (found := spelt_otherwise(guess)) is not None), None)
        if path is not None:
            self.elsewhere += 1
            self.example = self.example or (name, path)
            claimed = self._claimed.setdefault(path, name)
            return self._checked(path) if claimed == name else Found(path, "ambiguous_image", f"{name}, {claimed}")
        if not allowed and not _ABSOLUTE.match(name):
            return Found(problem="path_outside_data_set", detail=name)
        self.missing += 1
        return Found(allowed[0] if allowed else None, "missing_image", allowed[0] if allowed else name)

    def _guesses(self, name: str, base: str) -> Iterator[str]:
        """Paths where an image may lie that is not where its name says; never by way of ``..``."""
        parts = [part for part in re.split(r"[/\\]", _ABSOLUTE.sub("", name)) if part not in ("", ".")]
        if not parts or ".." in parts:
            return
        inside = os.path.join(base, "images")
        if _ABSOLUTE.match(name):
            folders = [*self._folders(base), self.roots[0], inside]
            yield from (os.path.join(folder, *parts[start:]) for start in range(len(parts)) for folder in folders)
            return
        yield from (os.path.join(folder, *parts) for folder in (*self._folders(base), inside, *_above(base)))
        if self.lenient:
            yield from (os.path.join(folder, parts[-1]) for folder in (base, inside, self.image_folder) if folder)


def spelt_otherwise(path: str) -> str | None:
    """The one existing path that is ``path`` but for the case of letters and the composition of accents."""
    if os.path.exists(path):
        return path
    folder, name = os.path.split(path)
    there = folder if os.path.isdir(folder) else spelt_otherwise(folder) if folder != path else None
    if there is None or not os.path.isdir(there):  # a file with something below it is no path
        return None
    alike = _spellings(there, os.stat(there).st_mtime_ns).get(folded(name), [])
    composed = unicodedata.normalize("NFC", name)
    alike = [entry for entry in alike if unicodedata.normalize("NFC", entry) == composed] or alike
    return os.path.join(there, alike[0]) if len(alike) == 1 else None


@lru_cache(maxsize=256)
def _spellings(folder: str, changed_ns: int) -> dict[str, list[str]]:
    """Folded name -> names of a folder's entries. ``changed_ns`` is the folder's time: a changed one is listed anew."""
    found: dict[str, list[str]] = {}
    for entry in os.listdir(folder) if os.access(folder, os.R_OK) else ():
        found.setdefault(folded(entry), []).append(entry)
    return found


def folded(name: str) -> str:
    """A name without the differences of case and of the composition of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _plain_path(name: str) -> str:
    """A path without blanks around it, and without ``file://`` and its escapes."""
    name = name.strip()
    return unquote(_FILE_URL.sub("", name)) if name[:5].lower() == "file:" else name


def _above(folder: str) -> Iterator[str]:
    while (parent := os.path.dirname(folder)) != folder:
        yield parent
        folder = parent


def image_finder(roots: Iterable[str], image_folder: str | None, *, lenient: bool = False) -> ImageFinder:
    """A finder for a data set in the folders ``roots``. Raises ``UserError`` when the image folder does not exist."""
    allowed = tuple(path for root in roots for path in _with_real_path(root))
    if image_folder is None:
        return ImageFinder(allowed, lenient=lenient)
    folder = os.path.abspath(os.path.expanduser(image_folder))
    if not os.path.isdir(folder):
        raise UserError(f"--image_folder: there is no folder {folder}")
    return ImageFinder(allowed + _with_real_path(folder), folder, lenient)


def _with_real_path(folder: str) -> tuple[str, ...]:
    # A manifest may name absolute paths by the folder's other name when it was reached through a link.
    # A snapshot in the hub's cache is a folder of links to the blobs beside it.
    real = os.path.realpath(folder)
    snapshots = os.path.dirname(real)
    blobs = [os.path.join(os.path.dirname(snapshots), "blobs")] if os.path.basename(snapshots) == "snapshots" else []
    return tuple(dict.fromkeys((os.path.abspath(folder), real, *blobs)))
