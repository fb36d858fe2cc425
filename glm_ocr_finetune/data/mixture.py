"""Which samples of which data set are trained on, and which are held out: shares, repeats, and what leaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..readers.rows import counted
from .sides import Side, keys_of, numbers_of
from .split import split_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


def divide(
    sides: Sequence[Side], fraction: float, seed: int
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Positions among the kept rows of each side that may be trained on, and those that are held out.

    The same fraction of each data set is held out, but nothing of replays and where an evaluation split is named.
    Identical images, and rows of one group, are all held out or none; what is held out of one data set is not trained
    on from another.
    """
    keys = keys_of(sides)
    held = [
        split_rows(part, 0.0 if side.data_set.is_replay or side.data_set.args.eval_split else fraction, seed)[1]
        for side, part in zip(sides, keys, strict=True)
    ]
    if len(sides) == 1:
        return [np.setdiff1d(np.arange(len(sides[0])), held[0])], held
    numbers = numbers_of(keys)
    kept_back = np.concatenate([part[some] for part, some in zip(numbers, held, strict=True)])
    return [np.flatnonzero(~np.isin(part, kept_back)) for part in numbers], held


def shares_to_counts(sizes: Sequence[int], shares: Sequence[float | None]) -> list[int]:
    """Samples of each data set in an epoch: as many as there are, or by shares so that no sample is left out."""
    given = [share for share in shares if share is not None]
    if not given:
        return list(sizes)
    whole = max(size / share for size, share in zip(sizes, given, strict=True))
    return [max(size, round(whole * share)) for size, share in zip(sizes, given, strict=True)]


def draw(sides: Sequence[Side], available: Sequence[NDArray[np.int64]], seed: int) -> list[NDArray[np.int64]]:
    """Positions to train on of each side, from those available: repeated, or for a replay chosen, at random."""
    main = [index for index, side in enumerate(sides) if not side.data_set.is_replay]
    counts = shares_to_counts([len(available[i]) for i in main], [sides[i].data_set.share for i in main])
    wanted = dict(zip(main, counts, strict=True))
    drawn = []
    for index, (side, positions) in enumerate(zip(sides, available, strict=True)):
        count = wanted.get(index) or max(1, round((side.data_set.share or 0) * sum(counts)))
        if not len(positions) or (count == len(positions) and not side.data_set.is_replay):
            drawn.append(positions)
            continue
        drawn.append(positions[np.resize(np.random.default_rng(seed).permutation(len(positions)), count)])
    return drawn


def _times(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == 1 or 0.01 <= share <= 0.99 else f"{share:.2%}"


def described(sides: Sequence[Side], drawn: Sequence[NDArray[np.int64]]) -> list[str]:
    """A line for each of several data sets: its samples in an epoch, their share, and how often each comes."""
    if len(sides) == 1:
        return []
    total = sum(map(len, drawn))
    lines = []
    for side, positions in zip(sides, drawn, strict=True):
        different = len(np.unique(positions))
        repeated = f", each {_times(len(positions) / different)} times" if len(positions) > different else ""
        kind = "replay of " if side.data_set.is_replay else ""
        lines.append(
            f"{kind}{side.data_set.name}: {counted(len(positions), 'sample')} to train on, "
            f"{_percent(len(positions) / total)} of all ({different:,} different{repeated})"
        )
    return lines


def leaks(
    trained: Sequence[Side],
    drawn: Sequence[NDArray[np.int64]],
    judged: Sequence[Side],
    held: Sequence[NDArray[np.int64]],
) -> str | None:
    """A line on evaluation samples whose image or group is trained on too; None where there is none.

    Args:
        judged, held: the sides and positions that are evaluated on.
    """
    numbers = numbers_of(keys_of([*trained, *judged]))
    seen = np.concatenate([part[some] for part, some in zip(numbers, drawn, strict=False)])
    count, first = 0, ""
    for side, part, some in zip(judged, numbers[len(trained) :], held, strict=True):
        shared = some[np.isin(part[some], seen)]
        first = first or (side.sources(shared[:1])[0] if len(shared) else "")
        count += len(shared)
    if not count:
        return None
    total = sum(map(len, held))
    return (
        f"{count} of {counted(total, 'evaluation sample')} share their image or page with samples that are trained on, "
        f"which flatters the scores; the first is {first}"
    )
