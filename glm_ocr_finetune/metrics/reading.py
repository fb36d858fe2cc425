"""One image read once: the truth, what the model wrote, and how the writing ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """A truth and its prediction, with what is known about how the prediction came about.

    Attributes:
        id: names the sample; unique within one scored set.
        truth: the transcription of the data set.
        prediction: the text that the model (or any other system) wrote.
        stopped: True when the text ended by a stop token, False when it was cut off, None when unknown.
        num_tokens: generated tokens, the stop token included; None when unknown.
        prompt: the instruction that was asked, for the summary by prompt.
        source: the data set or file that the sample comes from, for the summary by source.
        image: path of the image, to find the sample again.
        region: the part of the image that was read, as [x, y] points in pixels; None for all of it.
        document: what the image was cut from; intervals resample documents, since the lines of one page err together.
    """

    id: str
    truth: str
    prediction: str
    stopped: bool | None = None
    num_tokens: int | None = None
    prompt: str | None = None
    source: str | None = None
    image: str | None = None
    document: str | None = None
    region: Sequence[Sequence[float]] | None = None
