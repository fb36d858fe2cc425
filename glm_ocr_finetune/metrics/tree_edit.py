"""The edit distance of two ordered trees: inserting or deleting a node costs 1, renaming one 0 to 1.

Source: K. Zhang and D. Shasha, Simple fast algorithms for the editing distance between trees and related problems,
SIAM Journal on Computing 18 (1989). Their inner loop, over the nodes of the second tree, is a few numpy operations
here, over all subtrees that lie beside each other at once: for tables, over all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]
Indices = NDArray[np.intp]
# N nodes numbered in postorder: for each, the number of the leftmost leaf below it (of a leaf: its own).
# The subtree of node n is then first[n] to n.
Tree = Sequence[int]


def tree_distance(one: Tree, other: Tree, rename: Costs) -> float:
    """The least cost of turning one tree into the other.

    Args:
        rename: cost of renaming each node of ``one`` (M) to each of ``other`` (N), shape ``(M, N)``, at most 1.
    """
    between = _leaf_distances(one, other, rename)
    levels = [_Level.of(other, roots) for roots in _roots_by_height(other)]
    for roots in _roots_by_height(one):
        for root in roots:
            for level in levels:
                _compare_subtree(one, root, level, rename, between)
    return float(between[-1, -1])


def tree_work(tree: Tree) -> int:
    """Nodes that the comparison visits in this tree; the time of a pair grows with the product of both."""
    return len(tree) + sum(root - tree[root] + 1 for roots in _roots_by_height(tree) for root in roots)


def _roots_by_height(tree: Tree) -> list[list[int]]:
    """The key roots that are no leaves, those without another below them first; in each list, none lies in another.

    A key root is the topmost node over a leftmost leaf: the root of the tree, and each node that is not the first
    child. A pair of other nodes is measured on the way to the pair of their key roots.
    """
    topmost = {first: node for node, first in enumerate(tree)}
    by_height: list[list[int]] = []
    open_roots: list[tuple[int, int]] = []
    for root in sorted(node for first, node in topmost.items() if node != first):
        height = 0
        while open_roots and open_roots[-1][0] >= tree[root]:
            height = max(height, open_roots.pop()[1] + 1)
        open_roots.append((root, height))
        if height == len(by_height):
            by_height.append([])
        by_height[height].append(root)
    return by_height


def _leaf_distances(one: Tree, other: Tree, rename: Costs) -> Costs:
    """Distances of all pairs of subtrees of which one is a leaf; the others are not yet known."""
    between = np.zeros_like(rename)
    _fill_leaves(between, one, other, rename)
    _fill_leaves(between.T, other, one, rename.T)
    return between


def _fill_leaves(between: Costs, leaves: Tree, subtrees: Tree, rename: Costs) -> None:
    """A leaf becomes a subtree by renaming it to the node where that costs least and inserting all the others."""
    rows = np.array([node for node, first in enumerate(leaves) if node == first], dtype=np.intp)
    costs = rename[rows]
    for node, first in enumerate(subtrees):
        between[rows, node] = costs[:, first : node + 1].min(axis=1) + (node - first)


@dataclass(frozen=True)
class _Level:
    """Subtrees beside each other as one row of places: for each subtree one for nothing, then one for each node.

    Attributes:
        nodes: the node of each place that has one, shape ``(K,)``; ``places``: those places.
        before: for each node, the place just before its subtree begins.
        path: indices into ``nodes`` of those whose subtree begins where the whole does.
        inserted: cost of inserting everything up to a place, shape ``(places,)``.
        steps: pairs of a distance and the cost of inserting that many nodes before each place; infinite over a border.
    """

    nodes: Indices
    places: Indices
    before: Indices
    path: Indices
    inserted: Costs
    steps: tuple[tuple[int, Costs], ...]

    @classmethod
    def of(cls, tree: Tree, roots: Sequence[int]) -> _Level:
        sizes = [root - tree[root] + 1 for root in roots]
        nodes = np.concatenate([np.arange(tree[root], root + 1) for root in roots])
        inserted = np.concatenate([np.arange(size + 1) for size in sizes])
        places = np.flatnonzero(inserted)
        first = np.array(tree, dtype=np.intp)[nodes]
        start = np.repeat([tree[root] for root in roots], sizes)
        distances = [2**power for power in range((max(sizes)).bit_length())]
        steps = tuple((d, np.where(inserted[d:] >= d, float(d), np.inf)) for d in distances)
        path = np.flatnonzero(first == start)
        return cls(nodes, places, places - 1 - (nodes - first), path, inserted.astype(np.float64), steps)


def _compare_subtree(one: Tree, root: int, level: _Level, rename: Costs, between: Costs) -> None:
    """Measure the subtree of ``root``, and those along its left edge, against all of the level, into ``between``."""
    start = one[root]
    forests = np.empty((root - start + 2, len(level.inserted)))
    forests[0] = level.inserted
    for row, node in enumerate(range(start, root + 1), 1):
        matched = forests[one[node] - start, level.before] + between[node, level.nodes]
        if one[node] == start:
            path = level.path
            matched[path] = forests[row - 1, level.places[path] - 1] + rename[node, level.nodes[path]]
        forest = forests[row - 1] + 1
        forest[level.places] = np.minimum(forest[level.places], matched)
        for distance, cost in level.steps:
            np.minimum(forest[distance:], forest[:-distance] + cost, out=forest[distance:])
        forests[row] = forest
        if one[node] == start:
            between[node, level.nodes[path]] = forest[level.places[path]]
