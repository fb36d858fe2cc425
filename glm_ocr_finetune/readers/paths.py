"""Image paths: where a name that stands in a file leads to, and whether it may."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import UserError

_log = logging.getLogger("glm_ocr_finetune")
_URL = re.compile(r"(?i)^(data:|[a-z][a-z0-9+.-]+://)")


@dataclass
class ImageFinder:
    """Turns image names into absolute paths that lie inside ``roots``.

    ``roots`` are absolute folders: the data set's, and ``image_folder`` when there is one. The check
    is lexical, so links inside a data set are followed: they are the owner's doing. ``lenient`` adds
    ShareGPT's fallbacks. ``missing`` and ``fallbacks`` count what happened.
    """

    roots: tuple[str, ...]
    image_folder: str | None = None
    lenient: bool = False
    missing: int = 0
    fallbacks: int = 0
    example: tuple[str, str] | None = None
    _claimed: dict[str, str] = field(default_factory=dict)

    def find(self, name: str, base: str) -> tuple[str | None, str | None]:
        """(absolute path, problem) of an image called ``name`` in a file of the folder ``base``.

        Tried in this order: IMAGE_FOLDER/name, base/name, and when lenient base/images/name,
        base/BASENAME, base/images/BASENAME, IMAGE_FOLDER/BASENAME.
        """
        if not name.strip():
            return None, "no_image"
        if _URL.match(name):
            return None, "image_is_url"
        plain = [path for path in self._plain(name, base) if self._is_inside(path)]
        if not plain:
            return None, "path_outside_data_set"
        found = next((path for path in plain if os.path.exists(path)), None)
        if found is None and self.lenient and not os.path.isabs(name):
            return self._fall_back(name, base, plain[0])
        self.missing += found is None
        return found or plain[0], None if found else "missing_image"

    def nothing_to_say(self) -> bool:
        """Whether every image was found under its own name; otherwise say once what was done instead."""
        if self.example is not None:
            _log.warning(
                "%d images are not where they are said to be; found, for %s: %s", self.fallbacks, *self.example
            )
        return self.missing == 0 and self.fallbacks == 0

    def _plain(self, name: str, base: str) -> Iterator[str]:
        for folder in (self.image_folder, base):
            if folder is not None:
                yield os.path.normpath(os.path.join(folder, name))

    def _is_inside(self, path: str) -> bool:
        return any(path.startswith(root.rstrip(os.sep) + os.sep) for root in self.roots)

    def _fall_back(self, name: str, base: str, expected: str) -> tuple[str, str | None]:
        last = os.path.basename(name)
        names = [(base, "images", name), (base, last), (base, "images", last)]
        names += [(self.image_folder, last)] if self.image_folder else []
        tried = (os.path.normpath(os.path.join(*parts)) for parts in names)
        found = next((path for path in tried if self._is_inside(path) and os.path.exists(path)), None)
        if found is None:
            self.missing += 1
            return expected, "missing_image"
        self.fallbacks += 1
        self.example = self.example or (name, found)
        return found, None if self._claimed.setdefault(found, name) == name else "ambiguous_image"


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
    return tuple(dict.fromkeys((os.path.abspath(folder), os.path.realpath(folder))))
