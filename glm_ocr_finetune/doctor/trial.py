"""A program: the tiny model is trained for a step and read with, in a folder of its own; JSON on standard output."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WORDS = ("amber", "birch", "cedar", "dahlia")
SIZE = (140, 56)  # width, height in pixels; as the lines that the tiny model was trained on


def try_everything(folder: Path) -> dict[str, Any]:
    """Seconds of training and reading, what was read of ``WORDS``, and on a GPU whether samples need no padding."""
    import torch

    from ..training.attention import variable_length_attention
    from ..tuned import finetune

    lines = [(draw(word), word) for word in WORDS]
    started = time.monotonic()
    tuned = finetune(
        lines,
        model="tiny",
        output_dir=folder / "run",
        max_steps=1,
        eval_strategy="no",
        gradient_accumulation_steps=1,
        report_to="none",
    )
    trained = time.monotonic()
    read = tuned.read([image for image, _ in lines])
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    return {
        "training_s": trained - started,
        "reading_s": time.monotonic() - trained,
        "read": read,
        "variable_length": variable_length_attention(device or torch.device("cpu")) is not None,
    }


def draw(word: str) -> Image.Image:
    """A word, black on white."""
    image = Image.new("L", SIZE, 255)
    ImageDraw.Draw(image).text((6, 10), word, fill=0, font=ImageFont.load_default(28))
    return image


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.stdout.write(json.dumps(try_everything(Path(place))) + "\n")
