"""The model that is exported and served, and what it reads before that."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from drawing import sample_entries, write_lines
from serving import ENGINES, Line

from glm_ocr_finetune.cli import main

LINES = int(os.environ.get("ENGINES_LINES", "20"))
BUDGET = 7_000  # pixels: 56 x 140 and wider is above it
MAX_TOKENS = 160


def engine(name: str) -> Path:
    path = ENGINES / name
    if not path.exists():
        pytest.skip(f"{path} is missing; tests/engines/setup.sh FOLDER sets the engines up")
    return path


def tuned(folder: Path, *more: str) -> Path:
    """The tiny model tuned on lines drawn here, half of which are above its pixel budget."""
    lines = folder / "lines"
    write_lines(lines, "train", sample_entries(random.Random(1), 60))
    write_lines(lines, "test", sample_entries(random.Random(2), LINES))
    output = folder / "run"
    code = main(
        [*("train", "--model_name", "tiny", "--dataset_name", str(lines), "--eval_split", "test"),
         *("--max_pixels", str(BUDGET), "--num_train_epochs", "2", "--report_to", "none", "--disable_tqdm", "True"),
         *("--output_dir", str(output)), *more]
    )  # fmt: skip
    assert code == 0
    return output


def exported(run: Path, engine_name: str, folder: Path) -> Path:
    output = folder / engine_name
    assert main(["export", "--model", str(run), "--for", engine_name, "--output_dir", str(output)]) == 0
    return output


def readings(model: Path, run: Path, like_sdk: bool = False, fitted: Path | None = None) -> list[Line]:
    """What a model in fp32 reads of the run's evaluation lines, one at a time.

    Args:
        fitted: a folder for the lines at the size they are read at, so that nobody resizes them any more.
    """
    from glm_ocr_finetune.exporting.proof_images import of_run
    from glm_ocr_finetune.inputs.prompt import PromptRenderer
    from glm_ocr_finetune.model.loading import load_for_reading
    from glm_ocr_finetune.reading.generate import Request, generate_all
    from glm_ocr_finetune.reading.sdk import REPETITION_PENALTY, pixels_as_sent
    from glm_ocr_finetune.vision.pixels import read_pixels

    loaded, processor, style = load_for_reading(str(model), device_map="cpu")
    renderer = PromptRenderer(processor, style)
    pixels_of = pixels_as_sent if like_sdk else read_pixels
    lines = []
    for one in of_run(run)[:LINES]:
        image = fit(one.image, renderer, fitted / f"{len(lines)}.png") if fitted else one.image
        request = Request(lambda image=image: pixels_of(image, renderer), one.prompt, 0, MAX_TOKENS)
        penalty = REPETITION_PENALTY if like_sdk else 1.0
        _, answer = next(iter(generate_all(loaded, renderer, [request], 1, penalty)))
        path = image["path"] if isinstance(image, dict) else image
        lines.append(Line(Path(str(path)), one.prompt, answer.token_ids, answer.text, answer.stopped))
    return lines


def fit(image: Any, renderer: Any, file: Path) -> str:
    """The image as a file at its final size, by Pillow."""
    from glm_ocr_finetune.inputs.images import open_upright, smart_size
    from glm_ocr_finetune.inputs.processor import PixelBudget

    budget, upright = PixelBudget.of(renderer.processor), open_upright(image)
    height, width = smart_size(upright.height, upright.width, budget.min_pixels, budget.max_pixels)
    upright.resize((width, height)).save(file)
    return str(file)
