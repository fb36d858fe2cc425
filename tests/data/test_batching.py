"""Batches: everything once an epoch, the same for a seed, shared out over ranks, and hardly any padding."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from glm_ocr_finetune.data.batching import BatchPlan
from glm_ocr_finetune.errors import UserError

LENGTHS = np.random.default_rng(0).integers(20, 400, 1003).astype(np.int32)


def plan(epoch: int = 0, rank: int = 0, num_ranks: int = 1, seed: int = 1, **how: object) -> BatchPlan:
    settings: dict[str, object] = {"batch_size": 4, "tokens_per_batch": None, "by_length": False} | how
    return BatchPlan(LENGTHS, seed=seed, epoch=lambda: epoch, rank=rank, num_ranks=num_ranks, **settings)  # type: ignore[arg-type]


def padding(batches: list[list[int]]) -> float:
    """Share of padded positions when each batch is padded to its longest."""
    whole = sum(len(batch) * LENGTHS[batch].max() for batch in batches)
    return 1 - LENGTHS[list(chain(*batches))].sum() / whole


HOW = [{}, {"by_length": True}, {"tokens_per_batch": 1200}]


@pytest.mark.parametrize("how", HOW, ids=str)
def test_every_sample_once_and_as_many_batches_as_said(how: dict[str, object]) -> None:
    for epoch in range(3):
        batches = list(plan(epoch, **how))
        assert sorted(chain(*batches)) == list(range(len(LENGTHS)))
        assert len(batches) == len(plan(epoch, **how))


@pytest.mark.parametrize("how", HOW, ids=str)
def test_seed_and_epoch_decide(how: dict[str, object]) -> None:
    assert list(plan(1, **how)) == list(plan(1, **how))
    assert list(plan(1, **how)) != list(plan(2, **how))
    assert list(plan(1, **how)) != list(plan(1, seed=2, **how))


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_share_the_batches_of_one_process(how: dict[str, object], num_ranks: int) -> None:
    shares = [list(plan(rank=rank, num_ranks=num_ranks, **how)) for rank in range(num_ranks)]
    assert len({len(share) for share in shares}) == 1
    together = list(chain(*zip(*shares, strict=True)))
    alone = list(plan(**how))
    assert together[: len(alone)] == alone
    assert together[len(alone) :] == alone[: len(together) - len(alone)]


def test_like_lengths_are_put_together() -> None:
    assert padding(list(plan())) > 0.25
    assert padding(list(plan(by_length=True))) < 0.05
    assert padding(list(plan(tokens_per_batch=1200))) < 0.05


def test_tokens_are_kept_to_but_for_samples_that_are_longer_themselves() -> None:
    sizes = [(len(batch), int(LENGTHS[batch].sum())) for batch in plan(tokens_per_batch=390)]
    assert all(tokens <= 390 or count == 1 for count, tokens in sizes)
    assert max(count for count, _ in sizes) > 3


def test_without_shuffling_the_order_is_that_of_the_data_set_in_every_epoch() -> None:
    assert list(chain(*plan(0, shuffled=False))) == list(range(len(LENGTHS)))
    assert list(plan(0, shuffled=False)) == list(plan(1, shuffled=False))


@pytest.mark.parametrize("how", [{}, {"by_length": True}, {"shuffled": False}], ids=str)
def test_an_incomplete_last_batch_may_be_left_out(how: dict[str, object]) -> None:
    batches = list(plan(drop_last=True, **how))
    assert [len(batch) for batch in batches] == [4] * (len(LENGTHS) // 4)
    assert len(batches) == len(plan(drop_last=True, **how))
    assert len(set(chain(*batches))) == len(LENGTHS) // 4 * 4


def test_leaving_out_the_only_batch_is_an_error() -> None:
    with pytest.raises(UserError, match="--dataloader_drop_last leaves no batch: 1003 samples"):
        plan(drop_last=True, batch_size=2000)
