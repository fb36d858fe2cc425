"""A plan for GLM-OCR itself needs neither a network nor a download, and says how lengths were counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_ocr_finetune.args import DEFAULT_MODEL
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.planning.memory import Method, list_weights, skeleton
from glm_ocr_finetune.planning.shapes import BY_BYTES, SHAPES, known_of

Run = Callable[..., tuple[int, str, str]]


def test_the_shapes_are_those_of_the_published_checkpoint(shared: Path) -> None:
    ours = json.loads(SHAPES.read_text(encoding="utf-8"))
    config = json.loads((shared / "glm-ocr" / "config.json").read_text(encoding="utf-8"))
    size = json.loads((shared / "glm-ocr" / "preprocessor_config.json").read_text(encoding="utf-8"))["size"]
    for part in ("text_config", "vision_config"):
        assert ours[part].items() <= config[part].items()
    assert (2 * ours["min_pixels"], 2 * ours["max_pixels"]) == (size["shortest_edge"], size["longest_edge"])
    assert DEFAULT_MODEL in ours["source"]


def test_the_shapes_have_the_published_number_of_parameters() -> None:
    """1,107.4 million as transformers loads it; the multi-token-prediction layer is not among them."""
    known = known_of(DEFAULT_MODEL, None, None)
    weights = list_weights(skeleton(known.config, Method((), None)))
    assert sum(weight.size for weight in weights) == pytest.approx(1107.4e6, rel=1e-4)


def test_lengths_are_counted_in_bytes_and_it_is_said() -> None:
    known = known_of(DEFAULT_MODEL, None, 7840)
    assert known.note == BY_BYTES
    assert PixelBudget.of(known.processor) == PixelBudget(6272, 7840)
    for text in ("amber", "Straße", "日本語", "ខ្មែរ"):
        assert len(known.processor.tokenizer(text, add_special_tokens=False)["input_ids"]) == len(text.encode())


def test_a_model_that_is_here_is_counted_as_it_is() -> None:
    known = known_of("tiny-random", None, None)
    assert (known.note, known.config.text_config.hidden_size) == ("", 192)


def test_another_model_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(UserError, match="neither a directory nor reachable on the hub"):
        known_of("someone/not-here", None, None)


def test_a_plan_for_the_default_model_works_without_a_network(line_folder: Path, tmp_path: Path, run: Run) -> None:
    began = time.process_time()
    words = ("--dataset_name", line_folder, "--report_to", "none", "--output_dir", tmp_path / "out")
    code, out, err = run("train", *words, "--plan", "8GB")
    assert code == 0
    assert time.process_time() - began < 60  # seconds of this process's work; no waiting for a network
    assert BY_BYTES in err
    assert "-> LoRA, rank 8" in out
    assert not (tmp_path / "out").exists()
