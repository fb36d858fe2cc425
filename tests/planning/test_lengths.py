"""The longest sequence of a run: what was given, else what the data needs and the device holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from glm_ocr_finetune.args import DEFAULT_LENGTH, DataArguments, ModelArguments
from glm_ocr_finetune.data.lengths import Fitted, Shapes, fit, settle
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.planning.lengths import device_memory, fits_device, fitting_of
from glm_ocr_finetune.training_args import TrainingArguments

BUDGET = PixelBudget(6_272, 4_816_896)
TINY = ModelArguments(model_name="tiny-random")


def arguments(folder: Path, **given: Any) -> TrainingArguments:
    return TrainingArguments(output_dir=str(folder), report_to="none", **given)


def pages(count: int, text_tokens: int = 600) -> Shapes:
    return Shapes(*(np.full(count, value, np.int32) for value in (3508, 2480, text_tokens)))


def fitted(count: int) -> Fitted:
    return fit(pages(count), BUDGET, None)


def test_what_was_given_is_kept(tmp_path: Path) -> None:
    found = fitting_of(TINY, DataArguments(), arguments(tmp_path, max_length=DEFAULT_LENGTH))
    assert isinstance(found, partial)
    assert (found.func, found.keywords) == (fit, {"max_length": DEFAULT_LENGTH, "may_lower": True})
    found = fitting_of(TINY, DataArguments(max_pixels=10_000), arguments(tmp_path))
    assert isinstance(found, partial)
    assert (found.func, found.keywords["may_lower"]) == (settle, False)


def test_pages_fit_this_machine_with_the_tiny_model(tmp_path: Path) -> None:
    settled = fitting_of(TINY, DataArguments(), arguments(tmp_path))(pages(8), BUDGET)
    assert settled.budget == BUDGET
    assert settled.max_length == 6645
    assert not settled.too_long.any()


def test_a_proposal_for_another_gpu_does_not_ask_this_machine(tmp_path: Path) -> None:
    nowhere = ModelArguments(model_name="nowhere/at-all")
    found = fitting_of(nowhere, DataArguments(plan="8GB"), arguments(tmp_path))(pages(8), BUDGET)
    assert (found.budget, found.max_length) == (BUDGET, 6645)


def test_a_device_is_full_at_some_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest batch decides, as it is trained: halved, it fits where the whole one does not."""
    monkeypatch.setattr("glm_ocr_finetune.planning.lengths.device_memory", lambda on_gpu: 4_000_000_000)
    four = fits_device(TINY, arguments(tmp_path, per_device_train_batch_size=4))
    sixteen = fits_device(TINY, arguments(tmp_path, per_device_train_batch_size=64))
    assert four(fitted(64))
    assert not sixteen(fitted(64))
    assert sixteen(fitted(2))


def test_nothing_fits_where_nothing_is_kept(tmp_path: Path) -> None:
    assert not fits_device(TINY, arguments(tmp_path))(fit(pages(3, 5000), BUDGET, 2048))


def test_the_memory_of_a_machine_is_shared_by_its_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_memory(on_gpu=False) == psutil.virtual_memory().total
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert device_memory(on_gpu=False) == psutil.virtual_memory().total // 4
