"""One sample, as a row of a split holds it or as ``format_for_vlm`` dresses it for TRL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..args import DEFAULT_PROMPT
from ..errors import UserError
from ..inputs.images import AnyImage, read_size
from ..inputs.labels import clean_label
from ..inputs.prompt import messages_for
from ..readers.columns import TEXT_COLUMNS
from ..readers.rows import image_of


@dataclass(frozen=True)
class Sample:
    """An image with its transcription, and what the survey has learned of the image.

    Attributes:
        size: (height, width) in pixels of the upright image; None when it was not surveyed.
        key: 16 bytes that are equal for identical images; None when it was not surveyed.
        group: the page or document that it was cut from; None when nothing is known of it.
    """

    image: AnyImage
    text: str
    prompt: str
    source: str
    size: tuple[int, int] | None = None
    key: bytes | None = None
    group: str | None = None

    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels; read from the image's header where the survey has not. Raises ImageError."""
        return self.size or read_size(self.image)


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row of :class:`~.splits.Splits`, or of one that :func:`format_for_vlm` made."""
    if "completion" in row:
        prompt, answer = (_texts_of(row[name]) for name in ("prompt", "completion"))
        source = str(row.get("source", "a sample"))
        return Sample(row["images"][0], answer, prompt, source, group=row.get("group"))
    size = (row["height"], row["width"]) if row.get("height") else None
    return Sample(image_of(row), row["text"], row["prompt"], row["source"], size, row.get("key"), row.get("group"))


def _texts_of(messages: list[dict[str, Any]]) -> str:
    (turn,) = messages
    return "".join(part["text"] for part in turn["content"] if part["type"] == "text")


def format_for_vlm(sample: Mapping[str, Any], prompt: str = DEFAULT_PROMPT) -> dict[str, Any]:
    """A row with an image and a transcription in TRL's prompt/completion form.

    Args:
        sample: a row with ``image`` and ``label``, ``text`` or ``ground_truth`` (others in
            ``readers.columns.TEXT_COLUMNS``); its own ``prompt`` wins over the argument.

    Returns:
        ``images`` (a list of one image as found, with its ``region`` where the row has one), ``prompt`` and
        ``completion`` (one chat message each), and ``source`` and ``group`` where the row has them.

    Raises:
        UserError: no image or no transcription is there. A label of 0 or "0" is a transcription.
    """
    found = next((sample[name] for name in TEXT_COLUMNS if sample.get(name) is not None), None)
    if found is None or sample.get("image") is None:
        raise UserError(f"a sample needs 'image' and one of {', '.join(TEXT_COLUMNS)}; found: {', '.join(sample)}")
    label = clean_label(found)
    if label.text is None:
        raise UserError(f"a sample's label {str(found)[:40]!r} is no transcription: {label.reason}")
    row = {
        "images": [image_of(sample)],
        "prompt": messages_for(sample.get("prompt") or prompt),
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": label.text}]}],
    }
    return row | {name: sample[name] for name in ("source", "group") if name in sample}
