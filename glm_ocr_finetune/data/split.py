"""The automatic split into training and evaluation rows."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def split_rows(keys: Sequence[bytes], eval_fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide rows so that rows with equal keys (identical images) stay on one side.

    ``keys`` has one entry a row, up to 64 bytes each. Returns the sorted row indices of the training
    and of the evaluation side, both of shape (n,). About ``eval_fraction`` of the rows are
    evaluation rows, at least one when the fraction is above 0 and there are two different keys; the
    training side is never empty. A key's place in the order depends on nothing but the seed and the
    key itself, so neither the machine, the process nor a library version changes the split.

    Raises ``UserError`` for a fraction outside [0, 1).
    """
    import numpy as np

    if not 0 <= eval_fraction < 1:
        raise UserError(f"--eval_split_size is {eval_fraction:g}; expected 0 (no split) or more, and below 1.")
    numbering: dict[bytes, int] = {}
    groups = np.fromiter((numbering.setdefault(key, len(numbering)) for key in keys), np.int64, len(keys))
    chosen = np.zeros(len(numbering), dtype=bool)
    if eval_fraction > 0 and len(numbering) > 1:
        target = min(max(1, round(eval_fraction * len(keys))), len(keys) - 1)
        chosen[_choose_groups(_shuffled(numbering, seed), np.bincount(groups).tolist(), target)] = True
    in_eval = chosen[groups]
    return np.flatnonzero(~in_eval), np.flatnonzero(in_eval)


def joined(keys: Sequence[bytes], groups: Sequence[str | None]) -> list[bytes]:
    """One key a row, equal for all rows that share a key or a group, directly or through others."""
    parent: dict[bytes | str, bytes | str] = {}

    def root(name: bytes | str) -> bytes | str:
        while (above := parent.setdefault(name, name)) != name:
            parent[name] = parent[above]  # halves the way for the next
            name = above
        return name

    for key, group in zip(keys, groups, strict=True):
        if group is not None:
            parent[root(key)] = root(group)
    found = (root(key) for key in keys)
    return [blake2b(name.encode(), digest_size=16).digest() if isinstance(name, str) else name for name in found]


def _shuffled(numbering: dict[bytes, int], seed: int) -> list[int]:
    """Group numbers in the order of their keys' digests under the seed."""
    salt = str(seed).encode()
    ordered = sorted(numbering, key=lambda key: blake2b(salt + b":" + key, digest_size=16).digest())
    return [numbering[key] for key in ordered]


def _choose_groups(order: Sequence[int], sizes: Sequence[int], target: int) -> list[int]:
    """The groups, taken in order, that fit into ``target`` rows; the smallest one when none fits."""
    chosen, room = [], target
    for group in order:
        if sizes[group] <= room:
            chosen.append(group)
            room -= sizes[group]
        if room == 0:
            break
    return chosen or [min(order, key=lambda group: sizes[group])]
