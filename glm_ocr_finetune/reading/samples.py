"""Reading a set of samples, each with its truth beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.collate import answer_of, prompt_of
from ..inputs.images import ImageError
from ..inputs.prompt import PromptRenderer
from ..metrics import Reading
from ..vision.cache import VisionCache
from ..vision.encoder import VisionEncoder
from ..vision.pixels import Pixels, read_pixels
from .generate import Generated, Request, generate_all, longest_first

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


PREDICTIONS_FILE = "predictions.jsonl"


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
) -> list[Reading]:
    """Read every sample, longest first and in batches of like length.

    Args:
        samples: N samples in the form of ``format_for_vlm``.
        lengths: N sequence lengths in tokens, for the order.
        max_new_tokens: longest answer; by default :func:`answer_limit` of each truth, whatever is read beside it.
        encoder: gives the image features, the cached ones without work.

    Returns:
        N readings in the order of the samples; under torchrun each rank reads a share, and all get all.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object
    from tqdm import tqdm

    state = PartialState()
    encoder = encoder or VisionEncoder()
    requests = requests_of(samples, lengths, renderer, max_new_tokens, encoder.cache)
    mine = longest_first(requests)[state.process_index :: state.num_processes]
    readings: list[tuple[int, Reading]] = []
    these = [requests[index] for index in mine]
    answers = generate_all(model, renderer, these, batch_size, repetition_penalty, encoder)
    shown = progress and state.is_main_process
    for position, answer in tqdm(answers, total=len(mine), desc="reading", unit=" images", disable=not shown):
        index = mine[position]
        readings.append((index, reading_of(samples[index], index, _readable(samples[index], answer))))
    everybodys = gather_object(readings) if state.num_processes > 1 else readings
    return [reading for _, reading in sorted(everybodys, key=lambda pair: pair[0])]


def requests_of(
    samples: Dataset,
    lengths: Sequence[int],
    renderer: PromptRenderer,
    max_new_tokens: int | None,
    cache: VisionCache | None = None,
) -> list[Request]:
    """What is to be read of each sample, its answer as long as ``max_new_tokens`` or twice its truth and more."""
    requests = []
    for index, sample in enumerate(samples):
        num_answer_tokens = len(renderer.answer_ids(answer_of(sample)))
        requests.append(
            Request(
                pixels=partial(_pixels, samples, index, renderer, cache),
                prompt=prompt_of(sample),
                num_tokens=int(lengths[index]) - num_answer_tokens,
                max_new_tokens=max_new_tokens or answer_limit(num_answer_tokens),
            )
        )
    return requests


def _pixels(samples: Dataset, index: int, renderer: PromptRenderer, cache: VisionCache | None) -> Pixels:
    return read_pixels(samples[index]["images"][0], renderer, cache)


def _readable(sample: Mapping[str, Any], answer: Generated | ImageError) -> Generated | None:
    if isinstance(answer, Generated):
        return answer
    logger.warning("scored as read empty: %s: %s", sample.get("source", "a sample"), answer)
    return None


def reading_of(sample: Mapping[str, Any], index: int, answer: Generated | None = None) -> Reading:
    source = str(sample.get("source", index))
    image = sample["images"][0]
    return Reading(
        id=source,
        truth=answer_of(sample),
        prediction=answer.text if answer else "",
        stopped=answer.stopped if answer else None,
        num_tokens=len(answer.token_ids) + int(answer.stopped) if answer else None,
        prompt=prompt_of(sample),
        source=source.rsplit(":", 1)[0],
        image=image.get("path") if isinstance(image, dict) else None,
        document=sample.get("group"),
        region=image.get("region") if isinstance(image, dict) else None,
    )


def write_predictions(readings: Iterable[Reading], file: Path) -> None:
    """One JSON object a line: id, image, text (the truth), prediction, prompt, source, stopped, num_tokens, document, region."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as handle:
        for reading in readings:
            row = asdict(reading)
            row["text"] = row.pop("truth")
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
