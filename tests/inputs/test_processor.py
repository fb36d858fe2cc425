"""The pixel budget: read from the checkpoint, changed where asked, and carried in what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.processor import PixelBudget, load_processor, save_processor, set_pixel_budget

OWN = PixelBudget(6_272, 4_816_896)  # of zai-org/GLM-OCR, and of the tiny model


def test_a_budget_counts_pixels_and_not_frames(tiny_random: Path) -> None:
    processor = load_processor(tiny_random)
    assert PixelBudget.of(processor) == OWN
    assert processor.image_processor.size["longest_edge"] == 2 * OWN.max_pixels


def test_what_is_given_changes_and_the_rest_stays(tiny_random: Path) -> None:
    assert PixelBudget.of(load_processor(tiny_random, max_pixels=100_352)) == PixelBudget(OWN.min_pixels, 100_352)
    assert PixelBudget.of(load_processor(tiny_random, min_pixels=784)) == PixelBudget(784, OWN.max_pixels)


def test_tokens_follow_the_budget(tiny_random: Path) -> None:
    # figures of the real processor: 768 x 768 -> 729 tokens, 1240 x 1754 -> 2772
    assert [OWN.num_image_tokens(768, 768), OWN.num_image_tokens(1754, 1240)] == [729, 2772]
    small = PixelBudget(784, 28 * 28 * 10)
    assert small.num_image_tokens(768, 768) <= 10


@pytest.mark.parametrize(("least", "most"), [(0, None), (None, 783), (2000, 1000)])
def test_a_budget_that_no_image_meets_is_refused(tiny_random: Path, least: int | None, most: int | None) -> None:
    with pytest.raises(UserError, match="--min_pixels .* and --max_pixels .* leave no room"):
        set_pixel_budget(load_processor(tiny_random), least, most)


def test_the_budget_travels_with_what_is_saved(tiny_random: Path, tmp_path: Path) -> None:
    save_processor(load_processor(tiny_random, max_pixels=100_352), tmp_path)
    assert PixelBudget.of(load_processor(tmp_path)).max_pixels == 100_352
    older = json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert older["size"]["longest_edge"] == 2 * 100_352
    assert older["processor_class"] == "Glm46VProcessor"
