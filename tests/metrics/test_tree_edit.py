"""The distance against its definition, written as plainly as it can be, on small trees of every shape."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest

from glm_ocr_finetune.metrics.tree_edit import Tree, tree_distance, tree_work

Node = tuple[int, tuple["Node", ...]]  # a label and the children
Forest = tuple[Node, ...]


def random_tree(rng: random.Random, nodes: int, deep: float) -> Node:
    """With ``deep`` at 1 each node hangs below the last one, at 0 anywhere."""
    labels: list[int] = [rng.randrange(5)]
    children: list[list[int]] = [[]]
    for node in range(1, nodes):
        siblings = children[node - 1 if rng.random() < deep else rng.randrange(node)]
        siblings.insert(rng.randint(0, len(siblings)), node)
        labels.append(rng.randrange(5))
        children.append([])

    def whole(node: int) -> Node:
        return labels[node], tuple(whole(child) for child in children[node])

    return whole(0)


def random_table(rng: random.Random) -> Node:
    rows = [tuple((rng.randrange(5), ()) for _ in range(rng.randint(0, 4))) for _ in range(rng.randint(1, 4))]
    return 0, tuple((0, row) for row in rows)


def postorder(tree: Node) -> tuple[list[int], list[int]]:
    """Labels, and the number of the leftmost leaf below each node."""
    labels: list[int] = []
    first: list[int] = []

    def walk(node: Node) -> None:
        start = len(labels)
        for child in node[1]:
            walk(child)
        labels.append(node[0])
        first.append(start)

    walk(tree)
    return labels, first


def cost(one: int, other: int) -> float:
    return min(1.0, abs(one - other) / 3)


@cache
def size(forest: Forest) -> int:
    return sum(1 + size(children) for _, children in forest)


@cache
def defined(one: Forest, other: Forest) -> float:
    if not one or not other:
        return size(one) + size(other)
    (label, below), (other_label, other_below) = one[-1], other[-1]
    return min(
        defined(one[:-1] + below, other) + 1,
        defined(one, other[:-1] + other_below) + 1,
        defined(one[:-1], other[:-1]) + defined(below, other_below) + cost(label, other_label),
    )


def computed(one: Node, other: Node) -> float:
    (labels, tree), (other_labels, other_tree) = postorder(one), postorder(other)
    rename = np.array([[cost(a, b) for b in other_labels] for a in labels])
    return tree_distance(tree, other_tree, rename)


@pytest.mark.parametrize("deep", [0, 0.5, 0.9, 1])
def test_any_trees(deep: float) -> None:
    rng = random.Random(1)
    for _ in range(80):
        one, other = (random_tree(rng, rng.randint(1, 12), deep) for _ in range(2))
        assert computed(one, other) == pytest.approx(defined((one,), (other,)), abs=1e-9)


def test_tables() -> None:
    rng = random.Random(2)
    for _ in range(150):
        one, other = random_table(rng), random_table(rng)
        assert computed(one, other) == pytest.approx(defined((one,), (other,)), abs=1e-9)
        assert computed(other, one) == pytest.approx(computed(one, other), abs=1e-9)


def grid(rows: int, columns: int) -> Tree:
    return postorder((0, ((0, ((0, ()),) * columns),) * rows))[1]


def test_work_of_a_table_is_three_for_each_cell_and_row_at_most() -> None:
    for rows, columns in ((1, 1), (1, 50), (50, 1), (7, 9)):
        nodes = 1 + rows * (columns + 1)
        assert nodes < tree_work(grid(rows, columns)) <= 3 * nodes


def test_work_of_a_deep_tree_grows_faster_than_its_nodes() -> None:
    comb: Node = (0, ())
    for _ in range(100):
        comb = (0, ((0, ()), comb))
    assert tree_work(postorder(comb)[1]) > 10_000
