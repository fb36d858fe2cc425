"""RGB pixels from whatever an image file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB from any mode: transparency on white, grey of more than 8 bits scaled from its full range."""
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image.convert("RGBA"))
    return page.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """8-bit grey from 16-bit, 32-bit or floating-point grey."""
    import numpy as np

    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    low, high = _grey_range(image.mode, values)
    scaled = np.rint((values - low) * (255.0 / max(high - low, 1e-9)))
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))


def _grey_range(mode: str, values: NDArray[np.float32]) -> tuple[float, float]:
    """The values that mean black and white: those of the type when they are known, else the extremes found.

    Mode I holds 16-bit values when read from PNM; floats lie in 0 to 1 or, by custom of TIFF writers, 0 to 255.
    """
    low, high = float(values.min()), float(values.max())
    limits = {"I": (65535.0,), "F": (1.0, 255.0)}.get(mode, (65535.0,))
    white = next((limit for limit in limits if high <= limit), None)
    return (0.0, white) if white is not None and low >= 0 else (low, high)
