"""The automatic split into training and evaluation rows.

Keys are arrays of (number of rows, 16) uint8, one key a row: a million of them take 16 MB.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

KEY_BYTES = 16


def split_rows(keys: NDArray[np.uint8], eval_fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide rows so that rows with equal keys (identical images) stay on one side.

    Returns the sorted row indices of the training
    and of the evaluation side, both of shape (n,). About ``eval_fraction`` of the rows are
    evaluation rows, at least one when the fraction is above 0 and there are two different keys; the
    training side is never empty. A key's place in the order depends on nothing but the seed and the
    key itself, so neither the machine, the process nor a library version changes the split.

    Raises ``UserError`` for a fraction outside [0, 1).
    """
    if not 0 <= eval_fraction < 1:
        raise UserError(f"--eval_split_size is {eval_fraction:g}; expected 0 (no split) or more, and below 1.")
    first, numbers = numbered(keys)
    chosen = np.zeros(len(first), dtype=bool)
    if eval_fraction > 0 and len(first) > 1:
        target = min(max(1, round(eval_fraction * len(keys))), len(keys) - 1)
        chosen[_choose_groups(_shuffled(keys[first], seed), np.bincount(numbers), target)] = True
    in_eval = chosen[numbers]
    return np.flatnonzero(~in_eval), np.flatnonzero(in_eval)


def numbered(keys: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row in which each different key comes first, number of each row's key); keys are numbered as bytes are sorted."""
    order = _sorted(keys)
    ordered = keys[order]
    begins = np.ones(len(keys), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.cumsum(begins) - 1
    return order[begins], numbers


def joined(keys: NDArray[np.uint8], groups: pa.Array) -> NDArray[np.uint8]:
    """One key a row, equal for all rows that share a key or a group, directly or through others.

    A row without a group, that shares its key with none that has one, keeps its key.

    Args:
        groups: a name a row, or null.
    """
    encoded = groups.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if not names:
        return keys
    of_row = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    first, numbers = numbered(keys)
    grouped = np.flatnonzero(of_row >= 0)
    of_key = np.full(len(first), -1, np.int64)
    of_key[numbers[grouped[::-1]]] = of_row[grouped[::-1]]  # the first group that a key comes with
    several = grouped[of_row[grouped] != of_key[numbers[grouped]]]
    roots = _roots(len(names), zip(of_key[numbers[several]].tolist(), of_row[several].tolist(), strict=True))
    digests = b"".join(blake2b(names[root].encode(), digest_size=KEY_BYTES).digest() for root in roots)
    own = of_key[numbers]
    table = np.frombuffer(digests, np.uint8).reshape(-1, KEY_BYTES)
    return np.where((own >= 0)[:, None], table[own], keys)


def _roots(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The one that stands for each of ``count`` things, after the things of each pair were joined."""
    parent = list(range(count))

    def root(thing: int) -> int:
        while parent[thing] != thing:
            parent[thing] = parent[parent[thing]]  # halves the way for the next
            thing = parent[thing]
        return thing

    for one, other in pairs:
        parent[root(one)] = root(other)
    return [root(thing) for thing in range(count)]


def _sorted(keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The order of keys as bytes are sorted; equal ones stay in theirs."""
    halves = np.ascontiguousarray(keys).view(">u8").reshape(-1, KEY_BYTES // 8)
    return np.lexsort([half.astype(np.uint64) for half in halves.T[::-1]]) if len(keys) else np.arange(0)


def _shuffled(keys: NDArray[np.uint8], seed: int) -> NDArray[np.int64]:
    """Numbers of different keys in the order of their digests under the seed."""
    salt = str(seed).encode() + b":"
    digests = b"".join(blake2b(salt + key.tobytes(), digest_size=KEY_BYTES).digest() for key in keys)
    return _sorted(np.frombuffer(digests, np.uint8).reshape(-1, KEY_BYTES))


def _choose_groups(order: NDArray[np.int64], sizes: NDArray[np.int64], target: int) -> list[int]:
    """The groups, taken in order, that fit into ``target`` rows; the smallest one when none fits."""
    chosen, room = [], target
    for group in order:
        if sizes[group] <= room:
            chosen.append(int(group))
            room -= int(sizes[group])
        if room == 0:
            break
    return chosen or [int(order[np.argmin(sizes[order])])]
