"""Ranks that share out weights, gradients and optimizer train, read and save as one process does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sharded_runs import DEEPSPEED_PYTHON, SHARDING, TRAINED, compared, logged, tensors, train
from skips import NO_DEEPSPEED


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def skip_without_deepspeed(sharding: str) -> None:
    if sharding.startswith("ZeRO") and not DEEPSPEED_PYTHON:
        pytest.skip(NO_DEEPSPEED)


@pytest.mark.slow
@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("sharding", SHARDING)
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_that_share_give_what_one_gives(folder: Path, trained: str, sharding: str, ranks: int) -> None:
    """Sums of fp32 are made in another order; 1e-5 is five times and more of what that comes to over twelve steps.

    Adapters begin at 0, and so do many of their gradients: there Adam divides noise by its own size, and single
    weights differ by more.
    """
    skip_without_deepspeed(sharding)
    found = compared(folder, trained, sharding, ranks)
    assert found.same_names
    assert max(found.loss, found.gradient, found.evaluation) < 1e-5
    assert found.weights < {"full": 1e-5, "LoRA": 1e-2}[trained]
    assert found.saved <= 1  # of the fp32 weights that differ in the last bit, a few are rounded the other way
    assert (found.base_read, found.tuned_read) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharding", "ranks", "then"), [("DDP", 2, 1), ("FSDP2", 2, 2), ("FSDP2", 2, 4), ("ZeRO-2", 2, 2), ("ZeRO-3", 2, 2)]
)
def test_a_run_continues_with_as_many_ranks_or_others(tmp_path: Path, sharding: str, ranks: int, then: int) -> None:
    """With as many to the bit; with others, of which each has more or fewer batches of the same steps, but for rounding."""
    skip_without_deepspeed(sharding)
    every_five = ("--eval_strategy", "no", "--save_steps", "5")
    run = train(tmp_path / "run", "full", sharding, ranks, *every_five)
    again = train(
        tmp_path / "again", "full", sharding, then, *every_five, "--resume_from_checkpoint", str(run / "checkpoint-5")
    )
    expected, found = (tensors(one / "checkpoint-12") for one in (run, again))
    if then == ranks:
        assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert logged(again, "loss") == pytest.approx(logged(run, "loss"), rel=1e-5)
