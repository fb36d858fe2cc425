"""From samples to the tensors of a batch: images resized to their budget, sequences padded, labels by position."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_PROMPT
from ..inputs.images import AnyImage, ImageError, open_upright, read_size
from ..inputs.processor import PixelBudget
from ..inputs.prompt import IGNORED, Encoded, PromptRenderer
from ..vision.cache import VisionCache
from ..vision.pixels import Pixels, fit_image, image_to_pixels, look_up
from .stack import pad, stack_inputs

if TYPE_CHECKING:
    import torch
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)

BLANK_SIDE = 56  # pixels: four image tokens
BLANK = PixelBudget(BLANK_SIDE**2, BLANK_SIDE**2)


def prompt_of(sample: Mapping[str, Any]) -> str:
    """The prompt text of a sample in the prompt/completion form of ``format_for_vlm``."""
    (turn,) = sample["prompt"]
    return "".join(part["text"] for part in turn["content"] if part["type"] == "text")


def answer_of(sample: Mapping[str, Any]) -> str:
    """The answer text of a sample in the prompt/completion form of ``format_for_vlm``."""
    (turn,) = sample["completion"]
    return "".join(part["text"] for part in turn["content"])


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
        batch = stack_inputs([one.input_ids for one in encoded], pixels, self.renderer, "right")
        return batch | {"labels": pad([one.labels for one in encoded], IGNORED, "right")}

    def encode(self, sample: Mapping[str, Any]) -> tuple[Encoded, Pixels]:
        """The training sequence and the pixels (or cached features) of one sample."""
        prompt, answer = prompt_of(sample), answer_of(sample)
        image = sample["images"][0]
        num_text_tokens = self.renderer.num_text_tokens(prompt, answer)
        budget = fit_image(*read_size(image), PixelBudget.of(self.processor), num_text_tokens, self.max_length)
        pixels = self._pixels(image, budget)
        return self.renderer.encode(prompt, answer, pixels.num_tokens), pixels

    def blank(self) -> dict[str, torch.Tensor]:
        """One white image in which nothing is trained: what a rank computes where it has no sample, as others have one.

        It weighs nothing in the step, and its gradient is 0.
        """
        from PIL import Image

        pixels = self._pixels(Image.new("RGB", (BLANK_SIDE, BLANK_SIDE), "white"), BLANK)
        ids = self.renderer.encode(DEFAULT_PROMPT, "", pixels.num_tokens).input_ids
        return stack_inputs([ids], [pixels], self.renderer, "right") | {
            "labels": pad([[IGNORED] * len(ids)], IGNORED, "right")
        }

    def _pixels(self, image: AnyImage, budget: PixelBudget) -> Pixels:
        if self.cache:
            return look_up(image, self.processor, budget, self.cache)
        return image_to_pixels(open_upright(image), self.processor, budget)

    def _leave_out(self, sample: Mapping[str, Any], error: ImageError) -> None:
        logger.warning("left out of its batch: %s: %s", sample.get("source", "a sample"), error)
        if self.on_bad_image:
            self.on_bad_image(sample, error)
