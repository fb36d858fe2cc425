"""Which rule settles the longest sequence of a run, and whether a run fits the device it is on."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil
import pytest

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.data.lengths import fit, settle
from glm_ocr_finetune.planning import lengths
from glm_ocr_finetune.planning.lengths import device_memory, fits_device, fitting_of


def arguments(**given: Any) -> TrainingArguments:
    return TrainingArguments(output_dir="out", report_to="none", **given)


def fitted(tokens: int, too_long: bool = False) -> Any:
    """Eight samples alike."""

    class Eight:
        too_long = np.full(8, False)
        tokens = np.full(8, 0)
        image_tokens = np.full(8, 0)

    eight = Eight()
    eight.too_long, eight.tokens = np.full(8, too_long), np.full(8, tokens)
    eight.image_tokens = np.full(8, tokens // 2)
    return eight


def test_a_length_that_was_given_is_kept_and_else_it_is_settled() -> None:
    model_args, data_args = ModelArguments(model_name="tiny-random"), DataArguments("data")
    given = fitting_of(model_args, data_args, arguments(max_length=500))
    assert (given.func, given.keywords) == (fit, {"max_length": 500, "may_lower": True})
    assert fitting_of(model_args, data_args, arguments()).func is settle
    own_budget = fitting_of(model_args, DataArguments("data", max_pixels=100_352), arguments())
    assert own_budget.keywords["may_lower"] is False


def test_a_plan_for_another_gpu_does_not_ask_this_machine() -> None:
    rule = fitting_of(ModelArguments(model_name="tiny-random"), DataArguments("data", plan="8GB"), arguments())
    assert rule.keywords["fits"](fitted(10**9))


def test_samples_fit_until_their_memory_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "device_memory", lambda on_gpu: 4 * 10**9)
    fits = fits_device(ModelArguments(model_name="tiny-random"), arguments())
    assert fits(fitted(300))
    assert not fits(fitted(300_000))
    assert not fits(fitted(300, too_long=True))  # nothing would be left to train on


def test_processes_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = psutil.virtual_memory().total
    assert device_memory(on_gpu=False) == whole
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert device_memory(on_gpu=False) == whole // 4
