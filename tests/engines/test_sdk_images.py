"""What ``evaluate --like sdk`` makes of an image is what the SDK itself makes of it, bit for bit."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from pathlib import Path

import pytest
from drawing import draw_line
from exports import engine

from glm_ocr_finetune.inputs.images import open_upright
from glm_ocr_finetune.reading.sdk import REPETITION_PENALTY, as_sent, sdk_size

pytestmark = pytest.mark.engines


def digest(path: str) -> list[object]:
    image = as_sent(open_upright(path))
    return [*image.size, hashlib.sha256(image.tobytes()).hexdigest()]


def test_sizes_and_pixels_are_the_sdks(tmp_path: Path) -> None:
    rng = random.Random(3)
    sizes = [(rng.randint(3, 90), rng.randint(10, 2000)) for _ in range(200)]
    sizes += [(rng.randint(20, 9000), rng.randint(20, 9000)) for _ in range(200)]
    images = [str(tmp_path / f"{width}.png") for width in (40, 333, 1001)]
    for path in images:
        draw_line("12 March", (int(Path(path).stem), 57)).convert("RGB").save(path)
    (tmp_path / "order.json").write_text(json.dumps({"sizes": sizes, "images": images}))
    program = Path(__file__).with_name("sizes_by_sdk.py")
    python = engine("sdk") / "bin" / "python"
    subprocess.run([python, program, tmp_path / "order.json", tmp_path / "answers.json"], check=True)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers["sizes"] == [list(sdk_size(*size)) for size in sizes]
    assert answers["images"] == [digest(path) for path in images]
    assert answers["penalty"] == REPETITION_PENALTY
