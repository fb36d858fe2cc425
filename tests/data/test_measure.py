"""Rows are measured once: each file opened once, in processes or not, and what was measured is kept and checked."""

from __future__ import annotations

import builtins
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import draw_line, write_lines

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data import measure as module
from glm_ocr_finetune.data.measure import Measured, measure
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.images import content_key, inspect_image, read_size
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.readers import load_rows

TEXTS = [f"line {number} " + "word " * (number % 7) for number in range(30)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_lines(tmp_path / "set", "train", TEXTS)
    return tmp_path / "set"


@pytest.fixture
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each image file of the folder is opened."""
    counts: Counter[str] = Counter()
    original = builtins.open

    def counting(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file).endswith(".png"):
            counts[Path(file).name] += 1
        return original(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", counting)
    return counts


def measured(folder: Path, processor: Any, **renderer: Any) -> Measured:
    rows = load_rows(str(folder), split="train")
    return measure(rows, PromptRenderer(processor, **renderer), "Text Recognition:")


def test_what_is_measured_is_what_images_and_renderer_say(folder: Path, processor: Any) -> None:
    found, renderer = measured(folder, processor), PromptRenderer(processor)
    for row, text in enumerate(TEXTS):
        image = str(folder / "images" / f"train-{row}.png")
        assert (found.heights[row], found.widths[row]) == read_size(image)
        assert found.key(row) == content_key(image)
        ids = renderer.encode("Text Recognition:", text.strip(), num_image_tokens=1).input_ids
        assert found.text_tokens[row] == len(ids) - 1
    assert found.rejected == {}


def test_each_file_is_opened_once_by_the_survey(folder: Path, processor: Any, opened: Counter[str]) -> None:
    measured(folder, processor)
    assert len(opened) == len(TEXTS)
    assert set(opened.values()) == {1}


def test_the_second_run_opens_nothing(
    folder: Path, processor: Any, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured(folder, processor)
    opened.clear()
    monkeypatch.setattr(module, "measure_row", lambda *_: pytest.fail("measured again"))
    second = measured(folder, processor)
    assert not opened
    for name in module.ARRAYS:
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("change", ["text", "image", "format", "gone"])
def test_what_changes_a_measure_is_noticed(folder: Path, processor: Any, change: str) -> None:
    first = measured(folder, processor)
    image = folder / "images" / "train-3.png"
    if change == "text":
        rows = (folder / "train.jsonl").read_text(encoding="utf-8").replace("line 3 ", "another text in line 3 ")
        (folder / "train.jsonl").write_text(rows, encoding="utf-8")
    elif change == "image":
        draw_line("other", (300, 80)).save(image)
    elif change == "gone":
        image.unlink()
    second = measured(folder, processor, **({"prompt_format": "no_think"} if change == "format" else {}))
    assert (first.text_tokens[3] != second.text_tokens[3]) == (change != "image")
    assert (first.key(3) != second.key(3)) == (change in ("image", "gone"))
    assert set(second.rejected) == ({3} if change == "gone" else set())


def test_processes_measure_the_same(folder: Path, processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, renderer = load_rows(str(folder), split="train"), PromptRenderer(processor)
    (folder / "images" / "train-17.png").write_bytes(b"no image")
    alone = module._measure_all(rows, renderer, "Text Recognition:")
    monkeypatch.setattr(module, "ROWS_OF_A_TASK", 7)
    monkeypatch.setattr(module, "PARALLEL_FROM", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    together = module._measure_all(rows, renderer, "Text Recognition:")
    for name in module.ARRAYS:
        assert np.array_equal(getattr(alone, name), getattr(together, name))
    assert alone.rejected == together.rejected
    assert list(alone.rejected) == [17]


def test_a_cut_file_of_an_earlier_run_is_measured_again(folder: Path, processor: Any, tmp_path: Path) -> None:
    first = measured(folder, processor)
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(measured(folder, processor).keys, first.keys)


def test_a_cache_that_cannot_be_written_costs_time_only(
    folder: Path, processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(measured(folder, processor).heights) == len(TEXTS)


def test_a_cached_epoch_opens_no_image_and_an_uncached_one_opens_each_once(
    folder: Path, processor: Any, opened: Counter[str]
) -> None:
    from glm_ocr_finetune import load_model
    from glm_ocr_finetune.data.collate import VLMDataCollator
    from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache
    from glm_ocr_finetune.vision.encoder import VisionEncoder, backbone_of

    renderer = PromptRenderer(processor)
    splits = load_splits(DataArguments(str(folder)), renderer, 2048, 0, evaluate=False)
    batches = [[splits.train[i] for i in range(start, start + 6)] for start in range(0, 30, 6)]
    opened.clear()
    for batch in batches:
        VLMDataCollator(renderer, 2048)(batch)
    assert set(opened.values()) == {1}
    assert len(opened) == len(TEXTS)
    model, _ = load_model("tiny-random")
    cache = VisionCache("test", MemoryStore(1e9))
    collator, encoder = VLMDataCollator(renderer, 2048, cache=cache), VisionEncoder(cache)
    for batch in batches:
        encoder.features(backbone_of(model), collator(batch))
    opened.clear()
    for batch in batches:
        assert "pixel_values" not in collator(batch)
    assert not opened


def test_rows_whose_prompt_spells_a_control_token_are_set_aside(folder: Path, processor: Any) -> None:
    image = "images/train-0.png"
    rows = [
        {"image": image, "text": "a", "prompt": "<|image|> x"},
        {"image": image, "text": "b", "prompt": "read </think>"},
    ]
    rows.append({"image": image, "text": "c", "prompt": "read this"})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = measured(folder, processor)
    assert {row: reason for row, (reason, _) in found.rejected.items()} == {
        0: "control_token_in_prompt",
        1: "control_token_in_prompt",
    }
    assert "<|image|>" in found.rejected[0][1]


def test_inspecting_equals_its_parts_for_bytes_and_pictures(folder: Path) -> None:
    image = draw_line("amber")
    data = (folder / "images" / "train-1.png").read_bytes()
    for one in (image, data, {"bytes": data, "path": None}):
        assert inspect_image(one) == (read_size(one), content_key(one))
