"""From samples to the tensors of a batch: images resized to their budget, sequences padded, labels by position."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_PROMPT_FORMAT
from ..errors import UserError
from ..inputs.images import ImageError, open_upright, read_size
from ..inputs.processor import PixelBudget
from ..inputs.prompt import IGNORED, Encoded, PromptRenderer
from ..vision.cache import VisionCache
from ..vision.pixels import Pixels, fit_image, image_to_pixels, look_up
from .stack import pad, stack_inputs

if TYPE_CHECKING:
    import torch
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)


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

    ``pad_to_multiple_of`` (1: not at all) rounds the length of a batch up.
    """

    def __init__(
        self,
        processor: Glm46VProcessor,
        prompt_format: str = DEFAULT_PROMPT_FORMAT,
        max_length: int | None = None,
        on_bad_image: Callable[[Mapping[str, Any], ImageError], None] | None = None,
        cache: VisionCache | None = None,
    ) -> None:
        self.processor = processor
        self.renderer = PromptRenderer(processor, prompt_format)
        self.max_length = max_length
        self.on_bad_image = on_bad_image
        self.cache = cache
        self.pad_to_multiple_of = 1

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
        multiple = self.pad_to_multiple_of
        batch = stack_inputs([one.input_ids for one in encoded], pixels, self.renderer, "right", multiple)
        return batch | {"labels": pad([one.labels for one in encoded], IGNORED, "right", multiple)}

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
