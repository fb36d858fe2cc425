"""The memory count at its seams: what autograd keeps, what each moment holds, and how it grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from glm_ocr_finetune.model.loading import load_config
from glm_ocr_finetune.planning.memory import BF16, FP32, Batch, Estimate, Method, Saving, saved_bytes

FROZEN = ("vision tower", "multi-modal projector")


@pytest.fixture(scope="module")
def estimate(tiny_random: Path) -> Estimate:
    return Estimate(load_config(str(tiny_random)), Method(FROZEN, None))


def test_what_autograd_keeps_of_known_operations() -> None:
    layer = nn.Linear(8, 8, bias=False)
    rows = torch.randn(5, 8, requires_grad=True)
    assert saved_bytes(lambda: layer(rows), layer) == 5 * 8 * FP32  # its input; the weight is a parameter
    assert saved_bytes(lambda: rows.sigmoid(), layer) == 5 * 8 * FP32  # its output
    assert saved_bytes(lambda: rows + 1, layer) == 0
    both: Any = lambda: (rows * rows).sum()  # noqa: E731
    assert saved_bytes(both, layer) == 5 * 8 * FP32  # one storage, kept twice


def test_twice_the_tokens_keep_twice_as_much(estimate: Estimate) -> None:
    once, twice = (estimate.memory(Batch(n * 500, n * 300, n * 100), Saving()) for n in (1, 2))
    assert twice.activations == pytest.approx(2 * once.activations, rel=1e-6)
    assert (twice.frozen, twice.optimizer) == (once.frozen, once.optimizer)


def test_full_fine_tuning_holds_four_numbers_for_each_trained_weight(estimate: Estimate) -> None:
    memory = estimate.memory(Batch(500, 300, 100), Saving())
    trained = sum(weight.size for weight in estimate.weights if weight.trained)
    assert memory.trained + memory.gradients + memory.optimizer == 4 * FP32 * trained
    assert memory.frozen == BF16 * sum(weight.size for weight in estimate.weights if not weight.trained)


def test_gradients_of_an_earlier_batch_count_while_the_next_one_runs(estimate: Estimate) -> None:
    alone, after = (estimate.memory(Batch(5000, 300, 100), Saving(accumulates=value)) for value in (False, True))
    assert "gradients" in after.moments["the backward pass begins"]
    assert "gradients" not in alone.moments["the backward pass begins"]
    assert after.peak >= alone.peak
