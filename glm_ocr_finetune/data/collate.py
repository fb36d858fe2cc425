"""From samples to the tensors of a batch: images resized to their budget, sequences padded, labels by position."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_PROMPT
from ..inputs.images import ImageError
from ..inputs.processor import PixelBudget
from ..inputs.prompt import IGNORED, Encoded, PromptRenderer
from ..vision.cache import VisionCache
from ..vision.pixels import Pixels, fit_image, read_pixels
from .samples import sample_of
from .stack import pad, stack_inputs

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

BLANK_SIDE = 56  # pixels: four image tokens
BLANK = PixelBudget(BLANK_SIDE**2, BLANK_SIDE**2)


class VLMDataCollator:
    """Makes training batches from rows of :class:`~.splits.Splits`, or from those that ``format_for_vlm`` yields.

    Args:
        renderer: its processor has the pixel budget to train with.
        max_length: longest sequence in tokens; images are shrunk to keep it, labels never cut.
        cache: image features computed before; what is in it is not decoded.
        on_bad_image: called with a sample and the reason when its image turns out to be unreadable only now;
            the sample is left out of its batch.

    ``pad_to_multiple_of`` (1: not at all) rounds the length of a batch up.
    """

    def __init__(
        self,
        renderer: PromptRenderer,
        max_length: int | None = None,
        on_bad_image: Callable[[Mapping[str, Any], ImageError], None] | None = None,
        cache: VisionCache | None = None,
    ) -> None:
        self.renderer = renderer
        self.max_length = max_length
        self.on_bad_image = on_bad_image
        self.cache = cache
        self.pad_to_multiple_of = 1

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch of B samples with sequences padded on the right to L.

        Returns:
            The inputs of :func:`stack_inputs` and labels (B, L), -100 where nothing is trained. Samples whose image
            cannot be read are left out; where none is left, :meth:`blank`.
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
            return self.blank()
        multiple = self.pad_to_multiple_of
        batch = stack_inputs([one.input_ids for one in encoded], pixels, self.renderer, "right", multiple)
        return batch | {"labels": pad([one.labels for one in encoded], IGNORED, "right", multiple)}

    def encode(self, row: Mapping[str, Any]) -> tuple[Encoded, Pixels]:
        """The training sequence and the pixels (or cached features) of one row."""
        sample = sample_of(row)
        num_text_tokens = self.renderer.num_text_tokens(sample.prompt, sample.text)
        size = sample.image_size()
        budget = fit_image(*size, PixelBudget.of(self.renderer.processor), num_text_tokens, self.max_length)
        pixels = read_pixels(sample.image, self.renderer, self.cache, budget, size, sample.key)
        return self.renderer.encode(sample.prompt, sample.text, pixels.num_tokens), pixels

    def blank(self) -> dict[str, torch.Tensor]:
        """One white image in which nothing is trained: what a rank computes where it has no sample, as others have one.

        It weighs nothing in the step, and its gradient is 0.
        """
        from PIL import Image

        white = Image.new("RGB", (BLANK_SIDE, BLANK_SIDE), "white")
        pixels = read_pixels(white, self.renderer, self.cache, BLANK)
        ids = self.renderer.encode(DEFAULT_PROMPT, "", pixels.num_tokens).input_ids
        labels = {"labels": pad([[IGNORED] * len(ids)], IGNORED, "right")}
        return stack_inputs([ids], [pixels], self.renderer, "right") | labels

    def _leave_out(self, sample: Mapping[str, Any], error: ImageError) -> None:
        logger.warning("left out of its batch: %s: %s", sample.get("source", "a sample"), error)
        if self.on_bad_image:
            self.on_bad_image(sample, error)
