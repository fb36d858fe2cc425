"""Which samples make up which batch: by count or by tokens, at random or by length, the same for the same seed.

The order depends on nothing but the seed and the epoch, so a resumed run continues with the batches that the
uninterrupted one would have seen, and every rank works out the same batches and takes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEGABATCH = 50  # batches that are sorted by length together; transformers' LengthGroupedSampler uses the same number


class BatchPlan:
    """Batches of sample numbers for one rank, as a torch batch sampler.

    With ``batch_size`` every batch has that many samples (the last one of an epoch may have fewer). With
    ``tokens_per_batch`` a batch has as many samples of like length as fit; then the batches are made once and only
    their order changes from epoch to epoch, so that an epoch always has the same number of steps.

    Args:
        lengths: (num_samples,) sequence lengths in tokens.
        batch_size: samples in a batch; used when ``tokens_per_batch`` is None.
        tokens_per_batch: most tokens in a batch; a longer sample is a batch of its own.
        by_length: put samples of like length together, within stretches of ``MEGABATCH`` batches.
        shuffled: False for the order of the data set in every epoch.
        drop_last: leave out the last batch of an epoch when it has fewer than ``batch_size`` samples.
        epoch: tells the number of the epoch that begins, from 0.
        rank, num_ranks: this process takes every ``num_ranks``-th batch; the first batches are repeated where the
            count does not divide, so that all ranks make the same number of steps and nothing is left out.
    """

    def __init__(
        self,
        lengths: NDArray[np.int32],
        batch_size: int,
        tokens_per_batch: int | None,
        by_length: bool,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        num_ranks: int = 1,
        shuffled: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.lengths, self.batch_size, self.tokens_per_batch = lengths, batch_size, tokens_per_batch
        self.by_length, self.seed, self.epoch = by_length, seed, epoch
        self.rank, self.num_ranks = rank, num_ranks
        self.shuffled, self.drop_last = shuffled, drop_last
        self._packed = _pack_by_tokens(lengths, tokens_per_batch, seed) if tokens_per_batch else None
        if drop_last and not self.num_batches:
            raise UserError(
                f"--dataloader_drop_last leaves no batch: {len(lengths)} samples, --per_device_train_batch_size {batch_size}"
            )

    def __len__(self) -> int:
        return -(-self.num_batches // self.num_ranks)

    @property
    def num_batches(self) -> int:
        """Batches of an epoch, over all ranks, without repeats."""
        if self._packed is not None:
            return len(self._packed)
        samples = len(self.lengths)
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    @property
    def ends_with_a_repeat(self) -> bool:
        """Whether the last batch of this rank is one that another rank has already."""
        return 0 < self.num_batches % self.num_ranks <= self.rank

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.batches(self.epoch())
        missing = -len(batches) % self.num_ranks
        batches += [batches[i % len(batches)] for i in range(missing)]
        return iter(batches[self.rank :: self.num_ranks])

    def batches(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch, in the order in which the ranks take them in turn."""
        rng = np.random.default_rng((self.seed, epoch))
        if self._packed is not None:
            return [self._packed[i] for i in rng.permutation(len(self._packed))]
        order = rng.permutation(len(self.lengths)) if self.shuffled else np.arange(len(self.lengths))
        order = order[: self.num_batches * self.batch_size]  # all of them, unless the last batch is dropped
        if not self.by_length:
            return _cut(order, self.batch_size)
        batches: list[list[int]] = []
        for stretch in _cut(order, self.batch_size * MEGABATCH):
            batches += _cut(np.array(sorted(stretch, key=lambda i: -int(self.lengths[i]))), self.batch_size)
        return [batches[i] for i in rng.permutation(len(batches))]


def _cut(order: NDArray[np.int64], size: int) -> list[list[int]]:
    return [order[start : start + size].tolist() for start in range(0, len(order), size)]


def _pack_by_tokens(lengths: NDArray[np.int32], most: int, seed: int) -> list[list[int]]:
    """Batches of like length, each of at most ``most`` tokens; equal lengths are mixed at random."""
    shuffled = np.random.default_rng(seed).permutation(len(lengths))
    batches: list[list[int]] = []
    room = 0
    for index in shuffled[np.argsort(-lengths[shuffled], kind="stable")].tolist():
        if room < lengths[index]:
            batches.append([])
            room = most
        batches[-1].append(index)
        room -= int(lengths[index])
    return batches
