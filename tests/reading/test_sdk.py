"""What the official SDK sends: sizes worked out by hand from its source; engines/test_sdk_images.py asks the SDK itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawing import draw_line
from PIL import Image, ImageChops

from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.reading.sdk import as_sent, pixels_as_sent, sdk_size


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((56, 140), (56, 140)),  # 2 x 7,840 pixels are within 12,544 and 71,372,800
        ((60, 150), (56, 140)),  # to the nearest multiples of 28
        ((28, 28), (84, 84)),  # 12,544 / 2 = 79.2 squared, and up to the next multiple
        (
            (10, 1000),
            (28, 812),
        ),  # no row at all to the nearest; so enlarged: 0.79 x 1,000 is 28.3 columns of 28, and up
        ((6000, 6000), (5964, 5964)),  # 71,372,800 / 2 = 5,973.8 squared, and down
    ],
)
def test_sizes(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert sdk_size(*size) == resized


def test_the_image_is_resized_and_has_lost_something() -> None:
    line = draw_line("amber", (150, 60)).convert("RGB")
    sent = as_sent(line)
    assert sent.size == (140, 56)
    resized = line.resize((140, 56), Image.Resampling.BICUBIC)
    difference = ImageChops.difference(sent, resized).convert("L").getextrema()
    assert 0 < difference[1] < 80  # type: ignore[operator]


def test_pixels_keep_the_size_that_was_sent(processor: Any, tmp_path: Path) -> None:
    draw_line("amber", (150, 60)).save(tmp_path / "a.png")
    pixels = pixels_as_sent(str(tmp_path / "a.png"), PromptRenderer(processor))
    assert pixels.grid_thw.tolist() == [[1, 4, 10]]
