"""Lines, regions and pages of made-up words, drawn by Pillow."""

from __future__ import annotations

import json
import random
import textwrap
from pathlib import Path
from typing import Any

from ..flops import KINDS, Sample, mixed

COUNTS = {"cuda": {"line": 80, "page": 20}, "cpu": {"line": 8, "page": 2}}
SYLLABLES = [onset + vowel + coda for onset in "bdfgklmnprst" for vowel in "aeiou" for coda in ("", "n", "r", "s")]
MARGIN, LEADING = 4, 1.25
FONT_SIZES = (28, 24, 20, 17, 14, 12, 10)


def write_data(folder: Path, device: str) -> None:
    """``line`` and ``page``, and ``mixed``: three lines and a region, which go into one batch."""
    for kind, count in COUNTS[device].items():
        write_samples(folder / kind, shapes(kind, count, device))
    together = [*shapes("line", 3, device), *shapes("region", 1, device)]
    write_samples(folder / "mixed", together)


def shapes(kind: str, count: int, device: str) -> list[Sample]:
    """Sizes as in ``benchmarks.flops``; on a CPU a quarter of either side and an eighth of the text."""
    samples = mixed(kind, count, seed=list(KINDS).index(kind))
    if device == "cuda":
        return samples
    return [Sample(quarter(one.height), quarter(one.width), one.label_tokens // 8 + 1) for one in samples]


def quarter(pixels: int) -> int:
    """A quarter of it as a multiple of 28, two of them at least."""
    return max(2, round(pixels / 112)) * 28


def write_samples(folder: Path, samples: list[Sample]) -> None:
    """Images and their ``manifest.jsonl``."""
    folder.mkdir(parents=True)
    draw, rows = random.Random(0), []
    for index, sample in enumerate(samples):
        text, name = words(sample.label_tokens, draw), f"{index:04d}.png"
        draw_text(text, sample.width, sample.height).save(folder / name)
        rows.append(json.dumps({"image": name, "text": text}) + "\n")
    (folder / "manifest.jsonl").write_text("".join(rows), encoding="utf-8")


def words(syllables: int, draw: random.Random) -> str:
    """So many syllables in words of up to three."""
    made = []
    while syllables > 0:
        length = min(draw.randint(1, 3), syllables)
        made.append("".join(draw.choices(SYLLABLES, k=length)))
        syllables -= length
    return " ".join(made)


def draw_text(text: str, width: int, height: int) -> Any:
    """A text, black on white, as large as it fits; what does not fit at the smallest size is cut off."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (width, height), 255)
    for size in FONT_SIZES:
        font = ImageFont.load_default(size)
        columns = max(1, int((width - 2 * MARGIN) / font.getlength("n")))
        rows = textwrap.wrap(text, columns)
        if len(rows) * size * LEADING <= height - 2 * MARGIN:
            break
    ImageDraw.Draw(image).multiline_text((MARGIN, MARGIN), "\n".join(rows), fill=0, font=font)
    return image


def texts(folder: Path) -> list[str]:
    """All texts that were drawn."""
    manifests = sorted(folder.glob("*/manifest.jsonl"))
    return [json.loads(row)["text"] for file in manifests for row in file.read_text(encoding="utf-8").splitlines()]
