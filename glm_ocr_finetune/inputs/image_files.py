"""Image files opened whole: their header, their upright RGB pixels and their bytes; pages of PDFs among them.

Whatever is wrong with an image is raised as ``ImageError``.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from .colours import to_rgb
from .pdf_pages import PdfError, draw_page, page_size, split_page_path
from .regions import Region
from .tar_members import read_member, split_member_path

MAX_IMAGE_PIXELS = 178_956_970
"""Images with more pixels are refused as decompression bombs.

This is also Pillow's own bound (half a gigabyte of RGB). A sheet of A0 at 300 dpi (9,933 x 14,043,
139 megapixels) passes; 30,000 x 30,000 does not. The model sees at most 4.8 megapixels of any image.
"""

ImageSource = dict[str, Any]
"""``{"bytes": bytes | None, "path": str | None}``, as ``datasets.Image(decode=False)`` yields.

With a ``"region"`` (see ``regions``) it is that part of the upright page alone. A path such as
``a.pdf#page=3`` is a page of a PDF, one such as ``a.tar#512+900:1.png`` a file within a tar.
"""

AnyImage = ImageSource | str | Path | bytes | Image.Image

# Only formats that Pillow decodes in-process: EPS, for one, would be handed to Ghostscript.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "DIB", "TGA", "PCX", "MPO")

# Pillow's decoders let these escape on malformed files, besides their own OSError and SyntaxError.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_PAGED = ("TIFF",)  # the frames of other formats are moments or views of one picture
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_SUBFILE_TYPE = 0x00FE  # of a TIFF frame: bit 0 a smaller version of another frame, bit 2 a mask; TIFF 6.0, page 36
_NO_PAGE = 0b101
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(Exception):
    """An image that cannot be used.

    ``reason`` is one of ``missing_image``, ``empty_file``, ``unreadable_image``, ``image_too_large``,
    ``image_too_thin``, or of a region ``invalid_region``, ``region_without_area``, ``region_outside_page``;
    the message adds the file and the detail.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def page_sizes(image: AnyImage) -> dict[int, tuple[int, int]]:
    """(height, width) of each page by its frame number, from the headers alone; as ``read_size`` for a single one.

    Only a TIFF has pages; its thumbnails, masks and reduced versions are none. Raises ``ImageError``.
    """
    with opened_header(image) as opened:
        if opened.format not in _PAGED:
            return {0: whole_size(opened)}
        sizes = {}
        for frame in range(getattr(opened, "n_frames", 1)):
            opened.seek(frame)
            _check_pixels(opened.size, image_name(image))
            if frame == 0 or not int(opened.tag_v2.get(_SUBFILE_TYPE, 0)) & _NO_PAGE:  # type: ignore[attr-defined]
                sizes[frame] = whole_size(opened)
        return sizes


def num_animation_frames(image: AnyImage) -> int:
    """How many frames an animation has; 1 for a still picture. Raises ``ImageError``."""
    with opened_header(image) as opened:
        return int(getattr(opened, "n_frames", 1)) if opened.format in _ANIMATED else 1


def image_suffixes() -> frozenset[str]:
    """Suffixes, in small letters, of the files that can be read."""
    formats = _known_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def image_name(image: AnyImage) -> str:
    """How messages call an image: its path when it has one, and the first two points of its region."""
    if isinstance(image, dict):
        name = str(image.get("path") or "embedded image")
        region = region_of(image)
        return name if region is None else f"{name} region {' '.join(map(_spelt, region[:2]))}"
    return str(image) if isinstance(image, str | Path) else "embedded image"


def _spelt(point: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in point)


def region_of(image: AnyImage) -> Region | None:
    """The region of an image that has one."""
    return image.get("region") or None if isinstance(image, dict) else None


def whole_size(image: AnyImage) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the file's header. Raises ``ImageError``."""
    if page := pdf_page(image):
        with _pdf_explained(image, page[0]):
            height, width = page_size(*page)
        _check_pixels((width, height), image_name(image))
        return height, width
    with opened_header(image) as opened:
        width, height = opened.size
        return (width, height) if _orientation(opened) >= 5 else (height, width)


def decode_whole(image: AnyImage, frame: int = 0) -> Image.Image:
    """The upright image as RGB; of several frames, the one of that number. Raises ``ImageError``."""
    if page := pdf_page(image):
        whole_size(image)
        with _pdf_explained(image, page[0]):
            return draw_page(*page)
    with opened_header(image) as opened:
        if frame:
            opened.seek(frame)
        orientation = _orientation(opened)
        rgb = to_rgb(opened)
        return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def digest_whole(image: AnyImage) -> bytes:
    """16 bytes that are equal for identical files: a digest of the encoded bytes. Raises ``ImageError``."""
    digest = blake2b(digest_size=16)
    if isinstance(image, Image.Image):
        digest.update(f"{image.mode} {image.size} {image.getpalette()}".encode())
        digest.update(image.tobytes())
        return digest.digest()
    if page := pdf_page(image):
        digest.update(b"page %d of " % page[1])
    with stream_of(page[0] if page else image) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.digest()


def pdf_page(image: AnyImage) -> tuple[str, int] | None:
    """(file, number) of an image that is a page of a PDF."""
    data, path = (None, None) if isinstance(image, Image.Image) else bytes_and_path(image)
    return split_page_path(path) if data is None else None


@contextmanager
def _pdf_explained(image: AnyImage, file: str) -> Iterator[None]:
    _check_file(file)
    try:
        yield
    except PdfError as error:
        raise ImageError("unreadable_image", f"{image_name(image)}: {error}") from error


@lru_cache(maxsize=1)
def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def opened_header(image: AnyImage) -> Iterator[Image.Image]:
    """The image with its header read; what its decoder raises inside the block becomes ``ImageError``."""
    if isinstance(image, Image.Image):
        yield image
        return
    try:
        # Pillow warns about sizes from half its bound on and about odd metadata; neither is a defect here.
        with warnings.catch_warnings(), stream_of(image) as stream:
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=_known_formats()) as opened:
                _check_pixels(opened.size, image_name(image))
                yield opened
    except Image.DecompressionBombError as error:
        raise ImageError("image_too_large", f"{image_name(image)}: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError("unreadable_image", f"{image_name(image)}: no image in a format that is read") from error
    except _DECODER_ERRORS as error:
        raise ImageError("unreadable_image", f"{image_name(image)}: {_first_line(error)}") from error


@contextmanager
def stream_of(image: ImageSource | str | Path | bytes) -> Iterator[Any]:
    """The encoded bytes as a readable file."""
    data, path = bytes_and_path(image)
    if data is None and path is None:
        raise ImageError("missing_image", "neither a file nor its bytes are given")
    if data is None and path is not None and (member := split_member_path(path)) and not os.path.exists(path):
        data = _member(path, *member)
    if data is None and path is not None:
        _check_file(path)
        with open(path, "rb") as file:
            yield file
    elif not data:
        raise ImageError("empty_file", f"{image_name(image)}: 0 bytes")
    else:
        yield BytesIO(data)


def _member(path: str, file: str, offset: int, size: int) -> bytes:
    _check_file(file)
    try:
        return read_member(file, offset, size)
    except (OSError, EOFError) as error:
        raise ImageError("unreadable_image", f"{path}: {error}") from error


def bytes_and_path(image: ImageSource | str | Path | bytes) -> tuple[bytes | None, str | None]:
    """What an image lies in: (encoded bytes, path), of which one may be None."""
    if isinstance(image, dict):
        return image.get("bytes"), image.get("path")
    return (image, None) if isinstance(image, bytes) else (None, str(image))


def _check_file(path: str) -> None:
    """Raise ``ImageError`` unless the path is a regular file that holds something."""
    try:
        size = os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError("missing_image", f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError("unreadable_image", f"{path}: {error}") from error
    if not os.path.isfile(path):
        raise ImageError("unreadable_image", f"{path}: not a file")
    if size == 0:
        raise ImageError("empty_file", f"{path}: 0 bytes")


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_IMAGE_PIXELS:
        raise ImageError("image_too_large", f"{name}: {width} x {height} pixels, at most {MAX_IMAGE_PIXELS:,}")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _orientation(opened: Image.Image) -> int:
    """EXIF orientation from 1 to 8 as far as the header tells it; 1 when absent or damaged."""
    if opened.format == "TIFF":
        return 1  # Pillow turns TIFF itself, its size is already that of the upright image
    try:
        # The base class's method: PNG's own would decode all pixels to look for a late EXIF block.
        orientation = Image.Image.getexif(opened).get(_EXIF_ORIENTATION, 1)
    except _DECODER_ERRORS:
        return 1  # damaged metadata says nothing about the pixels
    return orientation if orientation in _UPRIGHT else 1
