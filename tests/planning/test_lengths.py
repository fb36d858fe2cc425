"""Which rule settles the longest sequence of a run, and whether a run fits the device it is on."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil
import pytest

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.data.lengths import Shapes, fit, settle
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.planning import lengths
from glm_ocr_finetune.planning.lengths import device_memory, fits_device, fitting_of, settle_checkpointing


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


def test_whole_pages_fit_this_machine_with_the_tiny_model() -> None:
    pages = Shapes(*(np.full(8, value, np.int32) for value in (3508, 2480, 600)))
    budget = PixelBudget(6_272, 4_816_896)
    settled = fitting_of(ModelArguments(model_name="tiny-random"), DataArguments("data"), arguments())(pages, budget)
    assert (settled.budget, settled.max_length) == (budget, 6645)
    assert not settled.too_long.any()


def on_gpu(monkeypatch: pytest.MonkeyPatch, gigabytes: float, **given: Any) -> TrainingArguments:
    """Arguments as they are settled on a GPU of a size, and the samples' memory settled on them."""
    monkeypatch.setattr(lengths, "device_memory", lambda on_gpu: int(gigabytes * 1e9))
    settled = arguments(**given)
    if not given:
        settled.settle_checkpointing(True, "saves GPU memory")

    class Samples:
        train_tokens = np.full(8, 300)
        train_image_tokens = np.full(8, 150)
        stream = None

    settle_checkpointing(ModelArguments(model_name="tiny-random"), settled, Samples())  # type: ignore[arg-type]
    return settled


def test_activations_are_recomputed_only_where_the_gpu_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = on_gpu(monkeypatch, 80)
    assert roomy.gradient_checkpointing is False
    assert "of this GPU's 80 GB" in roomy.origins["gradient_checkpointing"]
    assert getattr(roomy, "activation_checkpointing", False) is False
    assert on_gpu(monkeypatch, 0.9).gradient_checkpointing is True


def test_what_the_user_said_of_checkpointing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_gpu(monkeypatch, 80, gradient_checkpointing=True).gradient_checkpointing is True
    if hasattr(TrainingArguments, "activation_checkpointing"):  # from transformers 5.20 on
        assert on_gpu(monkeypatch, 80, activation_checkpointing=True).gradient_checkpointing is True
