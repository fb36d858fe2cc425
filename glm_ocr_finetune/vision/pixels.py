"""One image on its way to the vision tower: fitted to its budget, resized, normalised, or found in the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..inputs.geometry import FRAMES, PATCH_SIDE, PATCHES_PER_TOKEN, PIXELS_PER_TOKEN
from ..inputs.images import AnyImage, content_key, num_image_tokens, open_upright, read_size, smart_size
from ..inputs.processor import PixelBudget
from ..inputs.prompt import PromptRenderer
from .cache import VisionCache

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import Glm46VProcessor


SHRINK_FLOOR = 0.25  # an image keeps at least this share of its tokens: half the resolution in each direction


class TooLong(Exception):
    """A sample cannot be brought to ``max_length`` without cutting its label or ruining its image."""


def fit_image(
    height: int, width: int, budget: PixelBudget, num_text_tokens: int, max_length: int | None
) -> PixelBudget:
    """The pixel budget that brings a sample to ``max_length``; the given one where the sample fits already.

    Only the image gives way, down to ``SHRINK_FLOOR`` of its tokens. A label is never cut.

    Raises:
        TooLong: the sample does not fit even then.
        ImageError: the image is too thin to be resized at all.
    """
    tokens = budget.num_image_tokens(height, width)
    if max_length is None or tokens + num_text_tokens <= max_length:
        return budget
    room = max_length - num_text_tokens
    if room >= max(1, SHRINK_FLOOR * tokens):
        most = room * PIXELS_PER_TOKEN
        smaller = PixelBudget(min(budget.min_pixels, most), most)
        if SHRINK_FLOOR * tokens <= num_image_tokens(height, width, smaller.min_pixels, most) <= room:
            return smaller
    raise TooLong(
        f"{num_text_tokens} tokens of text and {tokens} of image exceed --max_length {max_length}, "
        f"even with the image at {SHRINK_FLOOR:.0%} of its tokens"
    )


@dataclass(frozen=True)
class Pixels:
    """One image, ready for the vision tower; or what the tower made of it.

    Attributes:
        patches: (num_patches, 3 * 2 * 14 * 14) float32, normalised; four patches make one image token. None where
            ``features`` are known.
        grid_thw: (1, 3) int64: frames (1), patch rows, patch columns.
        features: (num_tokens, hidden), from the cache.
        key: its name in the cache, when there is one.
    """

    patches: torch.Tensor | None
    grid_thw: torch.Tensor
    features: torch.Tensor | None = None
    key: bytes | None = None

    @property
    def num_tokens(self) -> int:
        return int(self.grid_thw.prod()) // PATCHES_PER_TOKEN


def image_to_pixels(image: Image.Image, processor: Glm46VProcessor, budget: PixelBudget) -> Pixels:
    """Resize within ``budget`` and normalise one RGB image."""
    size = {"shortest_edge": FRAMES * budget.min_pixels, "longest_edge": FRAMES * budget.max_pixels}
    done = processor.image_processor(images=[image], size=size, return_tensors="pt")
    return Pixels(done["pixel_values"], done["image_grid_thw"])


def read_pixels(
    image: AnyImage,
    renderer: PromptRenderer,
    cache: VisionCache | None = None,
    budget: PixelBudget | None = None,
    size: tuple[int, int] | None = None,
    key: bytes | None = None,
) -> Pixels:
    """An image upright, resized and normalised, or its features where they are cached: then its file is not opened.

    Args:
        budget: the processor's when None.
        size, key: (height, width) and content key, where they are known; else read from the file for the cache.

    Raises:
        ImageError: the image cannot be read.
    """
    import torch

    budget = budget or PixelBudget.of(renderer.processor)
    if not cache:
        return image_to_pixels(open_upright(image), renderer.processor, budget)
    name = cache.key(key or content_key(image), budget)
    height, width = smart_size(*(size or read_size(image)), budget.min_pixels, budget.max_pixels)
    grid = torch.tensor([[1, height // PATCH_SIDE, width // PATCH_SIDE]])
    features = cache.get(name, int(grid.prod()) // PATCHES_PER_TOKEN)
    if features is not None:
        return Pixels(None, grid, features, name)
    return replace(image_to_pixels(open_upright(image), renderer.processor, budget), key=name)
