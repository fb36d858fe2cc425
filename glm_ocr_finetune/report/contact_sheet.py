"""One picture of a dozen samples with their labels: what the model is shown, and what it is to answer.

An SVG whose texts are HTML, so that a browser shapes every script and wraps long labels.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.samples import Sample, sample_of
from ..inputs.images import ImageError
from .pictures import thumbnail

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLES, COLUMNS = 12, 2
WIDTH, HEIGHT, GAP = 640, 300, 16  # of one sample, in pixels
PICTURE_HEIGHT = 170
MOST_CHARACTERS = 600  # of a label; more lines than fit are hidden

STYLE = (
    "div{box-sizing:border-box;font:14px/1.35 system-ui,sans-serif;color:#111827}"
    f".card{{width:{WIDTH}px;height:{HEIGHT}px;padding:10px;background:#fff;border:1px solid #d1d5db;border-radius:6px;"
    "overflow:hidden;display:flex;flex-direction:column;gap:6px}"
    f".picture{{height:{PICTURE_HEIGHT}px;display:flex;align-items:center;justify-content:center;background:#f3f4f6}}"
    f".picture img{{max-width:100%;max-height:{PICTURE_HEIGHT}px}}"
    ".label{flex:1;overflow:hidden;white-space:pre-wrap;overflow-wrap:anywhere}"
    ".small{font-size:11px;color:#6b7280;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}"
)


def write_contact_sheet(samples: Dataset, image_tokens: np.ndarray | None, file: Path, most: int = SAMPLES) -> int:
    """Draw samples from all over the data set; returns how many.

    Args:
        samples: rows as :func:`~..data.samples.sample_of` takes them.
        image_tokens: (N,) of each sample; None where nobody counted them.
        most: samples that are drawn; 0 for all of them.
    """
    chosen = np.unique(np.linspace(0, len(samples) - 1, most or len(samples)).round().astype(int)).tolist()
    cards = [_card(sample_of(samples[i]), None if image_tokens is None else int(image_tokens[i])) for i in chosen]
    rows = -(-len(cards) // COLUMNS)
    width, height = GAP + COLUMNS * (WIDTH + GAP), GAP + rows * (HEIGHT + GAP)
    body = "".join(_placed(card, index) for index, card in enumerate(cards))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#e5e7eb"/>{body}</svg>\n',
        encoding="utf-8",
    )
    return len(cards)


def _placed(card: str, index: int) -> str:
    x, y = GAP + index % COLUMNS * (WIDTH + GAP), GAP + index // COLUMNS * (HEIGHT + GAP)
    return f'<foreignObject x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}">{card}</foreignObject>'


def _card(sample: Sample, num_image_tokens: int | None) -> str:
    height, width = sample.size or (0, 0)
    facts = f"{width} x {height} pixels"
    if num_image_tokens is not None:
        facts += f", {num_image_tokens:,} image tokens"
    return (
        '<div xmlns="http://www.w3.org/1999/xhtml" class="card">'
        f'<div class="picture">{_picture(sample)}</div>'
        f'<div class="label" dir="auto">{_printable(sample.text[:MOST_CHARACTERS])}</div>'
        f'<div class="small">{_printable(sample.prompt.splitlines()[0])} · {facts} · {_printable(sample.source)}</div>'
        "</div>"
    )


def _picture(sample: Sample) -> str:
    try:
        made = thumbnail(sample.image)
    except ImageError as error:
        return _printable(str(error))
    return f'<img src="{made.uri}" alt=""/>'


def _printable(text: str) -> str:
    """Text that XML may hold: control characters become U+FFFD."""
    return escape(
        "".join(char if char in "\n\t" or char >= " " and char not in "\ufffe\uffff" else "\ufffd" for char in text)
    )
