"""Batches: positions, padding, budgets, and what gives way when a sample is too long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import draw_line
from PIL import Image

from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.samples import format_for_vlm
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import ImageError
from glm_ocr_finetune.inputs.processor import PixelBudget, load_processor, set_pixel_budget
from glm_ocr_finetune.inputs.prompt import IGNORED, PromptRenderer
from glm_ocr_finetune.vision.pixels import SHRINK_FLOOR, TooLong, fit_image

BUDGET = PixelBudget(6272, 4816896)


def sample(text: str, size: tuple[int, int] = (140, 56), **more: Any) -> dict[str, Any]:
    return format_for_vlm({"image": draw_line("abc", size), "text": text, **more})


def test_batch_holds_what_the_processor_makes(processor: Any) -> None:
    """The whole batch equals the processor's own output for the same text, but for the labels."""
    collator = VLMDataCollator(PromptRenderer(processor))
    samples = [sample("one"), sample("three", (200, 56))]
    batch = collator(samples)
    text = [collator.renderer.prompt_text("Text Recognition:") + answer + "<|user|>" for answer in ("one", "three")]
    images = [row["images"][0].convert("RGB") for row in samples]
    expected = processor(images=images, text=text, return_tensors="pt", padding=True, padding_side="right")
    for name in ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw", "pixel_values"):
        torch.testing.assert_close(batch[name], expected[name].to(batch[name].dtype), msg=name)


def test_only_answer_and_stop_token_are_trained(processor: Any) -> None:
    collator = VLMDataCollator(PromptRenderer(processor))
    batch = collator([sample("one"), sample("three")])
    for labels, ids, answer in zip(batch["labels"], batch["input_ids"], ("one", "three"), strict=True):
        trained = labels[labels != IGNORED].tolist()
        assert trained == collator.renderer.answer_ids(answer)
        positions = (labels != IGNORED).nonzero().flatten()
        assert ids[positions].tolist() == trained
    assert int((batch["attention_mask"] == 0).sum()) == 2
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()


def test_a_sample_s_own_prompt_wins(processor: Any) -> None:
    collator = VLMDataCollator(PromptRenderer(processor))
    batch = collator([sample("x", prompt="Table Recognition:")])
    assert "Table Recognition:" in processor.tokenizer.decode(batch["input_ids"][0])


def test_image_that_fits_keeps_its_budget() -> None:
    assert fit_image(560, 560, BUDGET, 30, 2048) is BUDGET
    assert fit_image(5600, 5600, BUDGET, 30, None) is BUDGET


@pytest.mark.parametrize(("height", "width"), [(560, 560), (56, 2800), (1754, 1240), (700, 100)])
def test_image_is_shrunk_just_below_the_length(height: int, width: int) -> None:
    full = BUDGET.num_image_tokens(height, width)
    limit = 30 + int(full * 0.6)
    fitted = fit_image(height, width, BUDGET, 30, limit).num_image_tokens(height, width)
    assert SHRINK_FLOOR * full <= fitted <= limit - 30


def test_below_the_floor_the_sample_is_set_aside() -> None:
    with pytest.raises(TooLong, match="30 tokens of text and 400 of image exceed --max_length 100"):
        fit_image(560, 560, BUDGET, 30, 100)


def test_text_alone_over_the_length_is_set_aside() -> None:
    with pytest.raises(TooLong, match="2100 tokens of text"):
        fit_image(56, 140, BUDGET, 2100, 2048)


def test_shrunk_batch_keeps_the_whole_label(processor: Any) -> None:
    collator = VLMDataCollator(PromptRenderer(processor), max_length=130)
    label = "a label of some length"
    batch = collator([sample(label, (560, 280))])
    assert batch["input_ids"].shape[1] <= 130
    trained = batch["labels"][batch["labels"] != IGNORED].tolist()
    assert trained == collator.renderer.answer_ids(label)
    assert int((batch["input_ids"] == collator.renderer.image_token_id).sum()) == len(batch["pixel_values"]) // 4


def test_image_that_turns_out_unreadable_is_left_out_and_reported(processor: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    draw_line("abc").save(broken)
    broken.write_bytes(broken.read_bytes()[:150])
    reported: list[tuple[str, str]] = []
    collator = VLMDataCollator(
        PromptRenderer(processor), on_bad_image=lambda row, error: reported.append((row["source"], error.reason))
    )
    bad = format_for_vlm({"image": {"bytes": None, "path": str(broken)}, "text": "x", "source": "rows:7"})
    assert collator([sample("fine"), bad])["input_ids"].shape[0] == 1
    assert reported == [("rows:7", "unreadable_image")]
    assert (collator([bad])["labels"] == IGNORED).all()  # it weighs nothing in its step


def test_pixel_budget_bounds_the_image(tiny_random: Path) -> None:
    processor = load_processor(tiny_random, max_pixels=28 * 28 * 20)
    assert PixelBudget.of(processor) == PixelBudget(6272, 15680)
    assert len(VLMDataCollator(PromptRenderer(processor))([sample("x", (560, 560))])["pixel_values"]) // 4 <= 20


@pytest.mark.parametrize(("least", "most"), [(0, 100), (100, 99), (None, 100), (-1, None)])
def test_impossible_pixel_budget(tiny_random: Path, least: int | None, most: int | None) -> None:
    with pytest.raises(UserError, match="leave no room for an image"):
        set_pixel_budget(load_processor(tiny_random), least, most)


def test_label_zero_is_a_label_and_none_is_none() -> None:
    row = format_for_vlm({"image": Image.new("L", (9, 9)), "label": 0})
    assert row["completion"][0]["content"][0]["text"] == "0"
    with pytest.raises(UserError, match="a sample needs 'image'"):
        format_for_vlm({"image": Image.new("L", (9, 9)), "label": None})


def test_image_too_thin(processor: Any) -> None:
    with pytest.raises(ImageError, match="2000"):
        VLMDataCollator(PromptRenderer(processor)).encode(sample("x", (2000, 1)))
