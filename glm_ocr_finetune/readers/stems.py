"""Images by the stem of the file that describes them: beside it, or in the folders where formats keep images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache

from .json_files import IMAGE_NAME
from .paths import folded

_PREPARED = (".bin", ".nrm")
"""Second suffixes of OCRopus's binarised and grey images; the image without one is preferred."""
_PREFERRED = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_IMAGE_FOLDERS = ("images", "image", "img", "imgs", "pages")


def images_by_stem(names: Iterable[str]) -> dict[str, str]:
    """Folded stem -> name of its image, among the names of a folder's files."""
    images = [name for name in names if IMAGE_NAME.fullmatch(name)]
    return {folded(_stem(name)): name for name in sorted(images, key=_rank, reverse=True)}


def image_of_stem(stem: str, folder: str, image_folder: str | None = None) -> str | None:
    """The absolute path of the image that belongs to ``stem`` in ``folder``; None where there is none.

    Looked for in ``image_folder``, ``folder``, its folders for images and those beside it.
    """
    parent = os.path.dirname(folder)
    places = [image_folder, folder, *(os.path.join(top, name) for top in (folder, parent) for name in _IMAGE_FOLDERS)]
    found = ((place, _listed(place, _changed(place)).get(folded(stem))) for place in places if place)
    return next((os.path.join(place, name) for place, name in found if name), None)


@lru_cache(maxsize=256)
def _listed(folder: str, changed_ns: int) -> dict[str, str]:
    """``images_by_stem`` of a folder; ``changed_ns`` is its time, so that a changed one is listed anew."""
    return images_by_stem(os.listdir(folder)) if changed_ns else {}


def _changed(folder: str) -> int:
    return os.stat(folder).st_mtime_ns if os.path.isdir(folder) and os.access(folder, os.R_OK) else 0


def _stem(image: str) -> str:
    stem, second = os.path.splitext(os.path.splitext(image)[0])
    return stem if second.lower() in _PREPARED else stem + second


def _rank(image: str) -> tuple[bool, int, str]:
    stem, suffix = os.path.splitext(image.lower())
    place = _PREFERRED.index(suffix) if suffix in _PREFERRED else len(_PREFERRED)
    return stem.endswith(_PREPARED), place, image
