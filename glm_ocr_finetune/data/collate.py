"""From samples to the tensors of a batch: images resized to their budget, sequences padded, labels by position."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..inputs.images import AnyImage, ImageError, num_image_tokens, open_upright, read_size, smart_size
from ..inputs.processor import FRAMES, PixelBudget
from ..inputs.prompt import IGNORED, Encoded, PromptRenderer
from ..vision.cache import VisionCache

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)

PATCH_SIZE = 14  # pixels on a side of what the tower takes in; 2 x 2 of them make an image token
PIXELS_PER_TOKEN = 28 * 28
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


def prompt_of(sample: Mapping[str, Any]) -> str:
    """The prompt text of a sample in the prompt/completion form of ``format_for_vlm``."""
    (turn,) = sample["prompt"]
    return "".join(part["text"] for part in turn["content"] if part["type"] == "text")


def answer_of(sample: Mapping[str, Any]) -> str:
    """The answer text of a sample in the prompt/completion form of ``format_for_vlm``."""
    (turn,) = sample["completion"]
    return "".join(part["text"] for part in turn["content"])


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
        return int(self.grid_thw.prod()) // 4


def image_to_pixels(image: Image.Image, processor: Glm46VProcessor, budget: PixelBudget) -> Pixels:
    """Resize within ``budget`` and normalise one RGB image."""
    size = {"shortest_edge": FRAMES * budget.min_pixels, "longest_edge": FRAMES * budget.max_pixels}
    done = processor.image_processor(images=[image], size=size, return_tensors="pt")
    return Pixels(done["pixel_values"], done["image_grid_thw"])


def look_up(image: AnyImage, processor: Glm46VProcessor, budget: PixelBudget, cache: VisionCache) -> Pixels:
    """The cached features of an image, which is then not decoded; its pixels and its key where there are none."""
    import torch

    key = cache.key(image, budget)
    height, width = smart_size(*read_size(image), budget.min_pixels, budget.max_pixels)
    grid = torch.tensor([[1, height // PATCH_SIZE, width // PATCH_SIZE]])
    features = cache.get(key, int(grid.prod()) // 4)
    if features is not None:
        return Pixels(None, grid, features, key)
    return replace(image_to_pixels(open_upright(image), processor, budget), key=key)


def pad(rows: Sequence[Sequence[int]], value: int, side: str) -> torch.Tensor:
    """(B, L) int64, each row padded with ``value`` on the ``left`` or ``right`` to the longest."""
    import torch

    longest = max(map(len, rows))
    filled = [
        [*[value] * (longest - len(row)), *row] if side == "left" else [*row, *[value] * (longest - len(row))]
        for row in rows
    ]
    return torch.tensor(filled, dtype=torch.long)


def stack_inputs(
    sequences: Sequence[Sequence[int]], pixels: Sequence[Pixels], renderer: PromptRenderer, side: str
) -> dict[str, torch.Tensor]:
    """What the model's ``forward`` takes for B sequences of one image each.

    Returns:
        input_ids, attention_mask, mm_token_type_ids: (B, L) int64; image_grid_thw: (B, 3); pixel_values: (patches of
        the images without features, 1176), image_features: (tokens of the others, hidden), each only when there are
        any; with a cache also image_keys: (B, 16) uint8, and is_cached: (B,) bool.
    """
    import torch

    ids = pad(sequences, renderer.tokenizer.pad_token_id, side)
    batch = {
        "input_ids": ids,
        "attention_mask": pad([[1] * len(row) for row in sequences], 0, side),
        "mm_token_type_ids": (ids == renderer.image_token_id).long(),
        "image_grid_thw": torch.cat([image.grid_thw for image in pixels]),
    }
    if patches := [image.patches for image in pixels if image.patches is not None]:
        batch["pixel_values"] = torch.cat(patches)
    if features := [image.features for image in pixels if image.features is not None]:
        batch["image_features"] = torch.cat(features)
    if keys := [list(image.key) for image in pixels if image.key is not None]:
        batch["image_keys"] = torch.tensor(keys, dtype=torch.uint8)
        batch["is_cached"] = torch.tensor([image.features is not None for image in pixels])
    return batch


class VLMDataCollator:
    """Makes training batches from samples as ``format_for_vlm`` yields them.

    Args:
        processor: of the checkpoint, with the pixel budget to train with.
        prompt_format: ``serve`` or ``no_think``.
        max_length: longest sequence in tokens; images are shrunk to keep it, labels never cut.
        cache: image features computed before; what is in it is not decoded.
        on_bad_image: called with a sample and the reason when its image turns out to be unreadable only now;
            the sample is left out of its batch.
    """

    def __init__(
        self,
        processor: Glm46VProcessor,
        prompt_format: str = "serve",
        max_length: int | None = None,
        on_bad_image: Callable[[Mapping[str, Any], ImageError], None] | None = None,
        cache: VisionCache | None = None,
    ) -> None:
        self.processor = processor
        self.renderer = PromptRenderer(processor, prompt_format)
        self.max_length = max_length
        self.on_bad_image = on_bad_image
        self.cache = cache

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch of B samples with sequences padded on the right to L.

        Returns:
            The inputs of :func:`stack_inputs` and labels (B, L), -100 where nothing is trained.
        """
        encoded, pixels = [], []
        for sample in samples:
            try:
                one, image = self.encode(sample)
            except ImageError as error:
                self._leave_out(sample, error)
                continue
            encoded.append(one)
            pixels.append(image)
        if not encoded:
            raise UserError("no image of a batch can be read; see the lines above for each")
        batch = stack_inputs([one.input_ids for one in encoded], pixels, self.renderer, "right")
        return batch | {"labels": pad([one.labels for one in encoded], IGNORED, "right")}

    def encode(self, sample: Mapping[str, Any]) -> tuple[Encoded, Pixels]:
        """The training sequence and the pixels (or cached features) of one sample."""
        prompt, answer = prompt_of(sample), answer_of(sample)
        image = sample["images"][0]
        num_text_tokens = self.renderer.num_text_tokens(prompt, answer)
        budget = fit_image(*read_size(image), PixelBudget.of(self.processor), num_text_tokens, self.max_length)
        if self.cache:
            pixels = look_up(image, self.processor, budget, self.cache)
        else:
            pixels = image_to_pixels(open_upright(image), self.processor, budget)
        return self.renderer.encode(prompt, answer, pixels.num_tokens), pixels

    def _leave_out(self, sample: Mapping[str, Any], error: ImageError) -> None:
        logger.warning("left out of its batch: %s: %s", sample.get("source", "a sample"), error)
        if self.on_bad_image:
            self.on_bad_image(sample, error)
