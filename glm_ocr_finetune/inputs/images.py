"""Images: their size from the header alone, upright RGB pixels, the resized size, and a content key.

Whatever is wrong with an image is raised as ``ImageError``, so that callers can set the row aside
with its reason.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from .colours import to_rgb
from .geometry import FRAMES, TOKEN_SIDE
from .pdf_pages import PdfError, draw_page, page_size, split_page_path
from .regions import Region, RegionError, box_of, cut

MAX_IMAGE_PIXELS = 178_956_970
"""Images with more pixels are refused as decompression bombs.

This is also Pillow's own bound (half a gigabyte of RGB). A sheet of A0 at 300 dpi (9,933 x 14,043,
139 megapixels) passes; 30,000 x 30,000 does not. The model sees at most 4.8 megapixels of any image.
"""

ImageSource = dict[str, Any]
"""``{"bytes": bytes | None, "path": str | None}``, as ``datasets.Image(decode=False)`` yields.

With a ``"region"`` (see ``regions``) it is that part of the upright page alone. A path such as
``a.pdf#page=3`` is a page of a PDF.
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
_TAIL = 65536  # cameras and editors append to a file, so its end mark is looked for in this many bytes
_ENDS = {b"\x89PNG\r\n\x1a\n": b"IEND", b"\xff\xd8": b"\xff\xd9"}  # how PNG and JPEG files start and end
_FILES_KNOWN = 4096
"""Files of which size and digest are remembered, since many regions are cut from one page."""
_KEPT_PIXELS = 40_000_000
"""The page decoded last is kept up to this size, an A4 sheet at 600 dpi in 120 MB: its next line follows."""


class ImageError(Exception):
    """An image that cannot be used.

    ``reason`` is one of ``missing_image``, ``empty_file``, ``unreadable_image``, ``image_too_large``,
    ``image_too_thin``, or of a region ``invalid_region``, ``region_without_area``, ``region_outside_page``;
    the message adds the file and the detail.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_size(image: AnyImage) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the file's header: no pixel is decoded.

    Of a region, the size of its box on the page. A PNG that carries its EXIF block behind the pixels is
    taken as it lies, here and in ``open_upright``. Raises ``ImageError``.
    """
    region = _region_of(image)
    if region is None:
        return _page_size(image)
    state = _state_of(image)
    size = _page_size(image) if state is None else _size_of_file(state)
    with _region_explained(image):
        left, top, right, bottom = box_of(region, *size)
    return bottom - top, right - left


def page_sizes(image: AnyImage) -> dict[int, tuple[int, int]]:
    """(height, width) of each page by its frame number, from the headers alone; as ``read_size`` for a single one.

    Only a TIFF has pages; its thumbnails, masks and reduced versions are none. Raises ``ImageError``.
    """
    with _opened(image) as opened:
        if opened.format not in _PAGED:
            return {0: read_size(opened)}
        sizes = {}
        for frame in range(getattr(opened, "n_frames", 1)):
            opened.seek(frame)
            _check_pixels(opened.size, image_name(image))
            if frame == 0 or not int(opened.tag_v2.get(_SUBFILE_TYPE, 0)) & _NO_PAGE:  # type: ignore[attr-defined]
                sizes[frame] = read_size(opened)
        return sizes


def num_animation_frames(image: AnyImage) -> int:
    """How many frames an animation has; 1 for a still picture. Raises ``ImageError``."""
    with _opened(image) as opened:
        return int(getattr(opened, "n_frames", 1)) if opened.format in _ANIMATED else 1


def image_suffixes() -> frozenset[str]:
    """Suffixes, in small letters, of the files that can be read."""
    formats = _known_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def open_upright(image: AnyImage, page: int = 0) -> Image.Image:
    """The image as RGB, turned upright by its EXIF orientation; of several frames, the one of that number.

    A region is cut out, white outside its polygon. Transparency is composed on white. Grey of more than
    8 bits is scaled from its full range (Pillow alone would clip it). Raises ``ImageError`` for a missing,
    empty, truncated or oversized file, and for a region that is not on the page.
    """
    region = _region_of(image)
    if region is None:
        return _decoded(image, page)
    state = _state_of(image)
    size = _page_size(image) if state is None else _size_of_file(state)
    whole = _decoded(image) if state is None or size[0] * size[1] > _KEPT_PIXELS else _decoded_file(state)
    with _region_explained(image):
        return cut(whole, region)


def check_complete(image: AnyImage) -> None:
    """Raise ``ImageError`` when a PNG or JPEG breaks off before its end.

    Its last bytes tell, so a sound file is not decoded here; only one with a doubtful end is. Damage in the
    middle of a file, and in other formats, shows when the image is opened.
    """
    if isinstance(image, Image.Image) or _pdf_page(image):
        return
    with _stream(image) as stream:
        head = stream.read(8)
        stream.seek(-min(stream.seek(0, os.SEEK_END), _TAIL), os.SEEK_END)
        tail = stream.read()
    if any(head.startswith(start) and end not in tail for start, end in _ENDS.items()):
        open_upright(image)


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
    region = _region_of(image)
    if region is None:
        return _digest(image)
    state = _state_of(image)
    page = _digest(image) if state is None else _digest_of_file(state)
    points = [[float(value) for value in point] for point in region]
    return blake2b(page + repr(points).encode(), digest_size=16).digest()


def image_name(image: AnyImage) -> str:
    """How messages call an image: its path when it has one, and the first two points of its region."""
    if isinstance(image, dict):
        name = str(image.get("path") or "embedded image")
        region = _region_of(image)
        return name if region is None else f"{name} region {' '.join(map(_spelt, region[:2]))}"
    return str(image) if isinstance(image, str | Path) else "embedded image"


def _spelt(point: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in point)


FileState = tuple[str, int, int]
"""Path, bytes and time of modification in ns: what tells that a remembered file has changed."""


def _region_of(image: AnyImage) -> Region | None:
    return image.get("region") or None if isinstance(image, dict) else None


def _state_of(image: AnyImage) -> FileState | None:
    """The state of the file that an image lies in; None when it lies in memory or the file cannot be seen."""
    data, path = _bytes_and_path(image) if isinstance(image, dict) else (None, None)
    if data is not None or path is None:
        return None
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return path, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=_FILES_KNOWN)
def _size_of_file(state: FileState) -> tuple[int, int]:
    return _page_size(state[0])


@lru_cache(maxsize=_FILES_KNOWN)
def _digest_of_file(state: FileState) -> bytes:
    return _digest(state[0])


@lru_cache(maxsize=1)
def _decoded_file(state: FileState) -> Image.Image:
    return _decoded(state[0])


def _page_size(image: AnyImage) -> tuple[int, int]:
    if page := _pdf_page(image):
        with _pdf_explained(image, page[0]):
            height, width = page_size(*page)
        _check_pixels((width, height), image_name(image))
        return height, width
    with _opened(image) as opened:
        width, height = opened.size
        return (width, height) if _orientation(opened) >= 5 else (height, width)


def _decoded(image: AnyImage, frame: int = 0) -> Image.Image:
    if page := _pdf_page(image):
        _page_size(image)
        with _pdf_explained(image, page[0]):
            return draw_page(*page)
    with _opened(image) as opened:
        if frame:
            opened.seek(frame)
        orientation = _orientation(opened)
        rgb = to_rgb(opened)
        return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _digest(image: AnyImage) -> bytes:
    digest = blake2b(digest_size=16)
    if isinstance(image, Image.Image):
        digest.update(f"{image.mode} {image.size} {image.getpalette()}".encode())
        digest.update(image.tobytes())
        return digest.digest()
    if page := _pdf_page(image):
        digest.update(b"page %d of " % page[1])
    with _stream(page[0] if page else image) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.digest()


def inspect_image(image: AnyImage) -> tuple[tuple[int, int], bytes]:
    """((height, width), content key) of an image whose file is opened once; nothing is decoded.

    What :func:`read_size`, :func:`check_complete` and :func:`content_key` say, and raise, together.
    """
    if _region_of(image) is None and not _pdf_page(image):
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
    with _stream(source) as stream:
        return source | {"bytes": stream.read()}


def _pdf_page(image: AnyImage) -> tuple[str, int] | None:
    """(file, number) of an image that is a page of a PDF."""
    data, path = (None, None) if isinstance(image, Image.Image) else _bytes_and_path(image)
    return split_page_path(path) if data is None else None


@contextmanager
def _pdf_explained(image: AnyImage, file: str) -> Iterator[None]:
    _check_file(file)
    try:
        yield
    except PdfError as error:
        raise ImageError("unreadable_image", f"{image_name(image)}: {error}") from error


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


@lru_cache(maxsize=1)
def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def _opened(image: AnyImage) -> Iterator[Image.Image]:
    """The image with its header read; what its decoder raises inside the block becomes ``ImageError``."""
    if isinstance(image, Image.Image):
        yield image
        return
    try:
        # Pillow warns about sizes from half its bound on and about odd metadata; neither is a defect here.
        with warnings.catch_warnings(), _stream(image) as stream:
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
def _stream(image: ImageSource | str | Path | bytes) -> Iterator[Any]:
    """The encoded bytes as a readable file."""
    data, path = _bytes_and_path(image)
    if data is None and path is None:
        raise ImageError("missing_image", "neither a file nor its bytes are given")
    if data is None and path is not None:
        _check_file(path)
        with open(path, "rb") as file:
            yield file
    elif not data:
        raise ImageError("empty_file", f"{image_name(image)}: 0 bytes")
    else:
        yield BytesIO(data)


def _bytes_and_path(image: ImageSource | str | Path | bytes) -> tuple[bytes | None, str | None]:
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
