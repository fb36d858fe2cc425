"""What the official SDK (PyPI ``glmocr`` 0.1.5) makes of an image before it sends it to a server.

It resizes to multiples of 28 by itself and compresses, in ``utils/image_utils.py``; the numbers are those of its
``config.yaml``. The server then resizes within its own pixel budget. The SDK also asks for a repetition penalty, which
vLLM applies to the tokens of the prompt too, so that its "greedy" is not plain greedy.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

from PIL import Image

from ..inputs.geometry import FRAMES, TOKEN_SIDE
from ..inputs.images import AnyImage, open_upright
from ..inputs.processor import PixelBudget
from ..inputs.prompt import PromptRenderer
from ..vision.pixels import Pixels, image_to_pixels

REPETITION_PENALTY = 1.1
FEWEST_PIXELS, MOST_PIXELS = 12_544, 71_372_800  # counted over two frames
JPEG_QUALITY = 75  # Pillow's own, which the SDK does not change; with colour at half the resolution


def sdk_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) that the SDK resizes an image to."""
    new_height, new_width = (round(side / TOKEN_SIDE) * TOKEN_SIDE for side in (height, width))
    pixels = FRAMES * new_height * new_width
    if pixels > MOST_PIXELS:
        shrink = math.sqrt(FRAMES * height * width / MOST_PIXELS)
        return _multiple(height / shrink, math.floor), _multiple(width / shrink, math.floor)
    if pixels < FEWEST_PIXELS:
        grow = math.sqrt(FEWEST_PIXELS / (FRAMES * height * width))
        return _multiple(height * grow, math.ceil), _multiple(width * grow, math.ceil)
    return new_height, new_width


def _multiple(side: float, whole: Callable[[float], int]) -> int:
    return whole(side / TOKEN_SIDE) * TOKEN_SIDE


def as_sent(image: Image.Image) -> Image.Image:
    """An RGB image as it arrives at the server: resized by bicubic interpolation, compressed and decoded again."""
    height, width = sdk_size(image.height, image.width)
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.BICUBIC).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")


def pixels_as_sent(image: AnyImage, renderer: PromptRenderer) -> Pixels:
    """An image upright (which the SDK leaves to its user), as it arrives, ready for the model. Raises ImageError."""
    return image_to_pixels(as_sent(open_upright(image)), renderer.processor, PixelBudget.of(renderer.processor))
