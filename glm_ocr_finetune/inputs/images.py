"""Images: their size from the header alone, upright RGB pixels, the resized size, and a content key.

Whatever is wrong with an image is raised as ``ImageError``, so that callers can set the row aside
with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from PIL import Image

from .geometry import FRAMES, TOKEN_SIDE
from .image_files import (
    MAX_IMAGE_PIXELS,
    AnyImage,
    ImageError,
    ImageSource,
    bytes_and_path,
    decode_whole,
    digest_whole,
    image_name,
    image_suffixes,
    num_animation_frames,
    page_sizes,
    pdf_page,
    region_of,
    stream_of,
    whole_size,
)
from .regions import RegionError, box_of, cut

__all__ = [
    "AnyImage",
    "ImageError",
    "ImageSource",
    "MAX_IMAGE_PIXELS",
    "check_complete",
    "content_key",
    "image_name",
    "image_suffixes",
    "inspect_image",
    "num_animation_frames",
    "num_image_tokens",
    "open_upright",
    "page_sizes",
    "read_size",
    "smart_size",
]

_TAIL = 65536  # cameras and editors append to a file, so its end mark is looked for in this many bytes
_ENDS = {b"\x89PNG\r\n\x1a\n": b"IEND", b"\xff\xd8": b"\xff\xd9"}  # how PNG and JPEG files start and end
_FILES_KNOWN = 4096
"""Files of which size and digest are remembered, since many regions are cut from one page."""
_KEPT_PIXELS = 40_000_000
"""The page decoded last is kept up to this size, an A4 sheet at 600 dpi in 120 MB: its next line follows."""


def read_size(image: AnyImage) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the file's header: no pixel is decoded.

    Of a region, the size of its box on the page. A PNG that carries its EXIF block behind the pixels is
    taken as it lies, here and in ``open_upright``. Raises ``ImageError``.
    """
    region = region_of(image)
    if region is None:
        return whole_size(image)
    state = _state_of(image)
    size = whole_size(image) if state is None else _size_of_file(state)
    with _region_explained(image):
        left, top, right, bottom = box_of(region, *size)
    return bottom - top, right - left


def open_upright(image: AnyImage, page: int = 0) -> Image.Image:
    """The image as RGB, turned upright by its EXIF orientation; of several frames, the one of that number.

    A region is cut out, white outside its polygon. Transparency is composed on white. Grey of more than
    8 bits is scaled from its full range (Pillow alone would clip it). Raises ``ImageError`` for a missing,
    empty, truncated or oversized file, and for a region that is not on the page.
    """
    region = region_of(image)
    if region is None:
        return decode_whole(image, page)
    state = _state_of(image)
    size = whole_size(image) if state is None else _size_of_file(state)
    whole = decode_whole(image) if state is None or size[0] * size[1] > _KEPT_PIXELS else _decoded_file(state)
    with _region_explained(image):
        return cut(whole, region)


def check_complete(image: AnyImage) -> None:
    """Raise ``ImageError`` when a PNG or JPEG breaks off before its end.

    Its last bytes tell, so a sound file is not decoded here; only one with a doubtful end is. Damage in the
    middle of a file, and in other formats, shows when the image is opened.
    """
    if isinstance(image, Image.Image) or pdf_page(image):
        return
    state = _state_of(image) if region_of(image) else None
    if not (_is_whole(image) if state is None else _is_whole_file(state)):
        decode_whole(image)


def _is_whole(image: ImageSource | str | Path | bytes) -> bool:
    with stream_of(image) as stream:
        head = stream.read(8)
        stream.seek(-min(stream.seek(0, os.SEEK_END), _TAIL), os.SEEK_END)
        tail = stream.read()
    return not any(head.startswith(start) and end not in tail for start, end in _ENDS.items())


def smart_size(height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(height, width) in pixels to which the processor resizes one image; both are multiples of 28.

    ``min_pixels`` and ``max_pixels`` are pixels of one frame: the processor counts an image as two
    frames, so they are half of its ``shortest_edge`` and ``longest_edge``. Raises ``ImageError``
    (``image_too_thin``) for an aspect ratio above 200.
    """
    try:
        return _smart_resize()(FRAMES, height, width, FRAMES, TOKEN_SIDE, FRAMES * min_pixels, FRAMES * max_pixels)
    except ValueError as error:
        raise ImageError("image_too_thin", f"{width} x {height} pixels: {error}") from error


def num_image_tokens(height: int, width: int, min_pixels: int, max_pixels: int) -> int:
    """How many tokens an image of this size takes: one for every 28 x 28 pixels after resizing.

    Budgets and errors as in ``smart_size``.
    """
    resized_height, resized_width = smart_size(height, width, min_pixels, max_pixels)
    return (resized_height // TOKEN_SIDE) * (resized_width // TOKEN_SIDE)


def content_key(image: AnyImage) -> bytes:
    """16 bytes that are equal for identical files: a digest of the encoded bytes, nothing is decoded.

    Of a region, they are those of the file and of its points. For a PIL image, which has no file, the
    digest is of its mode, size and pixels. Raises ``ImageError`` for a missing or empty file.
    """
    region = region_of(image)
    if region is None:
        return digest_whole(image)
    state = _state_of(image)
    page = digest_whole(image) if state is None else _digest_of_file(state)
    points = [[float(value) for value in point] for point in region]
    return blake2b(page + repr(points).encode(), digest_size=16).digest()


FileState = tuple[str, int, int]
"""Path, bytes and time of modification in ns: what tells that a remembered file has changed."""


def _state_of(image: AnyImage) -> FileState | None:
    """The state of the file that an image lies in; None when it lies in memory or the file cannot be seen."""
    data, path = bytes_and_path(image) if isinstance(image, dict) else (None, None)
    if data is not None or path is None:
        return None
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return path, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=_FILES_KNOWN)
def _size_of_file(state: FileState) -> tuple[int, int]:
    return whole_size(state[0])


@lru_cache(maxsize=_FILES_KNOWN)
def _is_whole_file(state: FileState) -> bool:
    return _is_whole(state[0])


@lru_cache(maxsize=_FILES_KNOWN)
def _digest_of_file(state: FileState) -> bytes:
    return digest_whole(state[0])


@lru_cache(maxsize=1)
def _decoded_file(state: FileState) -> Image.Image:
    return decode_whole(state[0])


def inspect_image(image: AnyImage) -> tuple[tuple[int, int], bytes]:
    """((height, width), content key) of an image whose file is opened once; nothing is decoded.

    What :func:`read_size`, :func:`check_complete` and :func:`content_key` say, and raise, together.
    """
    if region_of(image) is None and not pdf_page(image):
        image = _held(image)  # a page that many rows are cut from is not read again for each: it is remembered
    size = read_size(image)
    check_complete(image)
    return size, content_key(image)


def _held(image: AnyImage) -> AnyImage:
    """The image with its encoded bytes in memory."""
    if isinstance(image, Image.Image | bytes):
        return image
    source = image if isinstance(image, dict) else {"path": str(image)}
    if source.get("bytes") is not None:
        return source
    with stream_of(source) as stream:
        return source | {"bytes": stream.read()}


@contextmanager
def _region_explained(image: AnyImage) -> Iterator[None]:
    try:
        yield
    except RegionError as error:
        raise ImageError(error.reason, f"{image_name(image)}: {error}") from error


@lru_cache(maxsize=1)
def _smart_resize() -> Callable[..., tuple[int, int]]:
    # Called once a row: the import statement alone would cost more than the arithmetic.
    from transformers.models.glm46v.image_processing_glm46v import smart_resize

    resize: Callable[..., tuple[int, int]] = smart_resize
    return resize
