"""Lines of text that tests draw themselves."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WORDS = ("amber", "birch", "cedar", "delta", "ember", "flint", "grove", "haven", "inlet", "jetty", "knoll", "larch")


def write_lines(folder: Path, name: str, texts: Sequence[str], labels: Sequence[str] | None = None) -> Path:
    """Draw texts as images in a folder and list them in ``name``.jsonl, with other labels where such are given."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for index, (text, label) in enumerate(zip(texts, labels or texts, strict=True)):
        image = f"images/{name}-{index}.png"
        width = max(140, 14 + round(ImageFont.load_default(28).getlength(text)))
        draw_line(text, (width, 56)).save(folder / image)
        rows.append(json.dumps({"image": image, "text": label}) + "\n")
    file = folder / f"{name}.jsonl"
    file.write_text("".join(rows))
    return file


def sample_entries(rng: random.Random, count: int) -> list[str]:
    """Different texts of two words and a number, which the tiny model reads at a CER of 0.05 when they are drawn."""
    entries: dict[str, None] = {}
    while len(entries) < count:
        entries[f"{rng.choice(WORDS)} {rng.choice(WORDS)} {rng.randint(10, 999)}"] = None
    return list(entries)


def draw_line(text: str, size: tuple[int, int] = (140, 56)) -> Image.Image:
    """A line of text, black on white; size is (width, height) in pixels."""
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).text((6, 10), text, fill=0, font=ImageFont.load_default(28))
    return image
