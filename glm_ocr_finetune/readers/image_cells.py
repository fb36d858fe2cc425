"""What a table may hold for an image: a path, encoded bytes, base64, ``{"bytes", "path"}``, pixels, or a list of one."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from typing import Any

from .paths import Found, ImageFinder

Image = dict[str, Any]

_DATA_URL = re.compile(r"(?i)^data:[^,]*;base64,")
_SHORTEST_BASE64 = 60
_BASE64 = re.compile(r"(iVBOR|/9j/|R0lGOD|UklGR|Qk|SUkq|TU0A)[A-Za-z0-9+/\s]{60,}[=\s]*")
"""PNG, JPEG, GIF, WebP, BMP and TIFF in base64; a path has a dot before its suffix."""


def read_image(value: Any, base: str, finder: ImageFinder) -> tuple[Image | None, Found]:
    """(image, what was found of it) of a cell; the image is ``{"bytes", "path"}``, encoded, or None."""
    if isinstance(value, str) and not _is_base64(value):
        return _file(value, base, finder)
    if isinstance(value, list | tuple) and not _is_pixels(value):
        if len(value) > 1:
            return None, Found(problem="several_images", detail=f"{len(value)} images")
        value = value[0] if value else None
    if isinstance(value, dict):
        data, value = value.get("bytes"), value.get("path") or value.get("url")
        if data:
            return _embedded(data, value)
    if isinstance(value, bytes | bytearray) or _is_pixels(value) or (isinstance(value, str) and _is_base64(value)):
        return _embedded(value, None)
    return _file(value, base, finder) if isinstance(value, str) else (None, Found(problem="no_image"))


def _file(name: str, base: str, finder: ImageFinder) -> tuple[Image | None, Found]:
    found = finder.find(name, base)
    return ({"bytes": None, "path": found.path} if found.path else None), found


def _embedded(value: Any, path: Any) -> tuple[Image | None, Found]:
    """Encoded bytes as they are, base64 decoded, pixels as a PNG."""
    try:
        data = _encoded(value)
    except (ValueError, TypeError) as error:  # not base64, or not the pixels of an image
        return None, Found(problem="invalid_image", detail=str(error)[:100])
    return {"bytes": data, "path": path if isinstance(path, str) else None}, Found()


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return base64.b64decode("".join(_DATA_URL.sub("", value).split()), validate=True)
    return _png(value)


def _is_base64(text: str) -> bool:
    if len(text) < _SHORTEST_BASE64:
        return text.startswith("data:")
    return _DATA_URL.match(text) is not None or _BASE64.fullmatch(text) is not None


def _is_pixels(value: Any) -> bool:
    """Whether a cell holds the pixels themselves: an array, or rows of numbers."""
    if hasattr(value, "__array_interface__"):
        return True
    row = value[0] if isinstance(value, list) and value else None
    cell = row[0] if isinstance(row, list) and row else None
    return isinstance(cell, int | float | list) or (isinstance(cell, str) and _is_number(cell))


def _is_number(text: str) -> bool:
    return len(text) < 32 and text.replace(".", "", 1).isdecimal()


def _png(value: Any) -> bytes:
    """PNG bytes of pixels (H, W), (H, W, C) or (C, H, W) with values from 0 to 255, or from 0 to 1 as fractions."""
    import numpy as np
    from PIL import Image as Pillow

    pixels = np.asarray(value, dtype=np.float64)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or not pixels.size or not np.isfinite(pixels).all():
        raise ValueError(f"an array of the shape {pixels.shape} is no image")
    if pixels.max() <= 1 and (pixels % 1).any():
        pixels = pixels * 255
    stream = BytesIO()
    Pillow.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
