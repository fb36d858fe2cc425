"""Reading a set of samples, each with its truth beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.samples import Sample, sample_of
from ..inputs.images import ImageError
from ..inputs.prompt import PromptRenderer
from ..metrics import Reading
from ..progress import track
from ..ranks import gather, my_share
from ..vision.cache import VisionCache
from ..vision.encoder import VisionEncoder
from ..vision.pixels import read_pixels
from .generate import Generated, Request, generate_all, longest_first
from .sdk import pixels_as_sent

if TYPE_CHECKING:
    from datasets import Dataset

    from .speculative import Speculation

logger = logging.getLogger(__name__)


def answer_limit(num_answer_tokens: int) -> int:
    """Tokens that an answer may take in an evaluation: twice the truth's and 64 more, so that loops end."""
    return 2 * num_answer_tokens + 64


def read_samples(
    model: Any,
    renderer: PromptRenderer,
    samples: Dataset,
    lengths: Sequence[int],
    batch_size: int | None = None,
    max_new_tokens: int | None = None,
    repetition_penalty: float = 1.0,
    progress: bool = True,
    encoder: VisionEncoder | None = None,
    like_sdk: bool = False,
    speculation: Speculation | None = None,
) -> list[Reading]:
    """Read every sample, longest first and in batches of like length.

    Args:
        samples: N rows of :class:`~..data.splits.Splits`.
        lengths: N sequence lengths in tokens, for the order.
        max_new_tokens: longest answer; by default :func:`answer_limit` of each truth, whatever is read beside it.
        encoder: gives the image features, the cached ones without work.
        like_sdk: read the images as the official SDK sends them; its repetition penalty is for the caller to give.
        speculation: reads the same with drafts, and counts them.

    Returns:
        N readings in the order of the samples; under torchrun each rank reads a share, and all get all.
    """
    encoder = encoder or VisionEncoder()
    requests = requests_of(samples, lengths, renderer, max_new_tokens, encoder.cache, like_sdk)
    mine = my_share(longest_first(requests))
    readings: list[tuple[int, Reading]] = []
    these = [requests[index] for index in mine]
    answers = generate_all(model, renderer, these, batch_size, repetition_penalty, encoder, speculation=speculation)
    for position, answer in track(answers, "reading", len(mine), "images", shown=progress):
        index = mine[position]
        sample = sample_of(samples[index])
        readings.append((index, reading_of(sample, _readable(sample, answer))))
    return [reading for _, reading in sorted(gather(readings), key=lambda pair: pair[0])]


def requests_of(
    samples: Dataset,
    lengths: Sequence[int],
    renderer: PromptRenderer,
    max_new_tokens: int | None,
    cache: VisionCache | None = None,
    like_sdk: bool = False,
) -> list[Request]:
    """What is to be read of each sample, its answer as long as ``max_new_tokens`` or twice its truth and more."""
    requests = []
    for index, sample in enumerate(map(sample_of, samples)):
        num_answer_tokens = len(renderer.answer_ids(sample.text))
        requests.append(
            Request(
                pixels=(
                    partial(pixels_as_sent, sample.image, renderer)
                    if like_sdk
                    else partial(read_pixels, sample.image, renderer, cache, size=sample.size, key=sample.key)
                ),
                prompt=sample.prompt,
                num_tokens=int(lengths[index]) - num_answer_tokens,
                max_new_tokens=max_new_tokens or answer_limit(num_answer_tokens),
            )
        )
    return requests


def _readable(sample: Sample, answer: Generated | ImageError) -> Generated | None:
    if isinstance(answer, Generated):
        return answer
    logger.warning("scored as read empty: %s: %s", sample.source, answer)
    return None


def reading_of(sample: Sample, answer: Generated | None = None) -> Reading:
    """A sample beside what was read of it; as read empty when nothing was."""
    return Reading(
        id=sample.source,
        truth=sample.text,
        prediction=answer.text if answer else "",
        stopped=answer.stopped if answer else None,
        num_tokens=len(answer.token_ids) + int(answer.stopped) if answer else None,
        prompt=sample.prompt,
        source=sample.source.rsplit(":", 1)[0],
        image=sample.image.get("path") if isinstance(sample.image, dict) else None,
        document=sample.group,
        region=sample.image.get("region") if isinstance(sample.image, dict) else None,
    )


def write_predictions(readings: Iterable[Reading], file: Path) -> None:
    """One JSON object a line: id, image, text (the truth), prediction, prompt, source, stopped, num_tokens, document, region."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as handle:
        for reading in readings:
            row = asdict(reading)
            row["text"] = row.pop("truth")
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
