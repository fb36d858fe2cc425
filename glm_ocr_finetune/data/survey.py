"""What is known of the rows of a split before any image is decoded: lengths, and what cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inputs.images import ImageError, check_complete, content_key, read_size
from ..inputs.labels import clean_label
from ..inputs.processor import PixelBudget
from ..inputs.prompt import PromptRenderer
from ..readers import problem_in_words
from ..readers.rows import image_of
from ..vision.pixels import TooLong, fit_image

if TYPE_CHECKING:
    from datasets import Dataset


HEADERS_AT_ONCE = 64  # rows whose encoded images are held together while their headers are read


@dataclass(frozen=True)
class SetAside:
    """A row that is not trained on, where it came from, and why."""

    source: str
    reason: str
    detail: str = ""


@dataclass
class Survey:
    """What is known of the rows of a split before any image is decoded.

    Attributes:
        kept: row numbers that are used, int64, ascending.
        num_tokens: sequence length of each kept row, after shrinking, int32.
        num_image_tokens: how many of them are image tokens, int32.
        shrunk: whether the image of each kept row is shrunk to fit ``max_length``, bool.
        longest_unshrunk: tokens of the longest sequence, had no image been shrunk.
        keys: the group of each kept row, or else the digest of its encoded image, when asked for.
        set_aside: the other rows.
    """

    kept: np.ndarray
    num_tokens: np.ndarray
    num_image_tokens: np.ndarray
    shrunk: np.ndarray
    longest_unshrunk: int
    keys: list[bytes]
    set_aside: list[SetAside]


def survey(
    rows: Dataset, renderer: PromptRenderer, max_length: int | None, default_prompt: str, with_keys: bool = False
) -> Survey:
    """Look at every row once, images by their headers only, and decide what is kept."""
    budget = PixelBudget.of(renderer.processor)
    kept, tokens, image_tokens, shrunk, keys, aside, longest = [], [], [], [], [], [], 0
    for index, row in _iterate(rows):
        try:
            text, full, fitted = _measure(row, renderer, budget, max_length, default_prompt)
        except _Rejected as rejected:
            aside.append(SetAside(row["source"], rejected.reason, rejected.detail))
            continue
        kept.append(index)
        tokens.append(text + fitted)
        image_tokens.append(fitted)
        shrunk.append(fitted < full)
        longest = max(longest, text + full)
        if with_keys:
            keys.append(row["group"].encode() if row["group"] else content_key(row["image"]))
    return Survey(
        kept=np.array(kept, dtype=np.int64),
        num_tokens=np.array(tokens, np.int32),
        num_image_tokens=np.array(image_tokens, np.int32),
        shrunk=np.array(shrunk, bool),
        longest_unshrunk=longest,
        keys=keys,
        set_aside=aside,
    )


class _Rejected(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def _iterate(rows: Dataset) -> Iterator[tuple[int, dict[str, Any]]]:
    from tqdm import tqdm

    progress = tqdm(total=len(rows), desc="looking at the samples", unit=" rows", disable=len(rows) < 5000)
    for start in range(0, len(rows), HEADERS_AT_ONCE):
        batch = rows[start : start + HEADERS_AT_ONCE]
        size = len(batch["source"])
        yield from ((start + i, {name: values[i] for name, values in batch.items()}) for i in range(size))
        progress.update(size)
    progress.close()


def _measure(
    row: Mapping[str, Any], renderer: PromptRenderer, budget: PixelBudget, max_length: int | None, default_prompt: str
) -> tuple[int, int, int]:
    """Text tokens of a row, image tokens as it is, and image tokens after the image was shrunk to fit."""
    if row["problem"]:
        raise _Rejected(row["problem"], problem_in_words(row))
    label = clean_label(row["text"])
    if label.text is None:
        raise _Rejected(str(label.reason))
    prompt = row["prompt"] or default_prompt
    try:
        image = image_of(row)
        height, width = read_size(image)
        check_complete(image)
        text_tokens = renderer.num_text_tokens(prompt, label.text)
        fitted = fit_image(height, width, budget, text_tokens, max_length)
    except ImageError as error:
        raise _Rejected(error.reason, str(error)) from error
    except TooLong as error:
        raise _Rejected("too_long", str(error)) from error
    return text_tokens, budget.num_image_tokens(height, width), fitted.num_image_tokens(height, width)
