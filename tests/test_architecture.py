"""Imports go downward only, and each folder or module of the package has a row in the table."""

from __future__ import annotations

import ast
from pathlib import Path

import glm_ocr_finetune

PACKAGE = Path(glm_ocr_finetune.__file__).parent

# From the top down, one row a room: what stands in a row may import from the rows below it only.
LAYERS = (
    {"__init__", "__main__"},
    {"cli"},
    {"doctor"},
    {"demo", "tuned"},
    {"train", "evaluate", "infer", "export", "mtp"},
    {"planning"},
    {"exporting"},
    {"training"},
    {"reading"},
    {"report"},
    {"data"},
    {"model"},
    {"vision"},
    {"readers"},
    {"metrics"},
    {"inputs"},
    {"parse"},
    {"training_args"},
    {"argument_checks"},
    {"sft_arguments", "near_misses", "data_sets", "command_args"},
    {"args"},
    {"argument_fields"},
    {"messages", "progress"},
    {"charts", "folders", "network", "ranks"},
    {"errors"},
)
DEPTH = {room: depth for depth, rooms in enumerate(LAYERS) for room in rooms}

# The names that users import are handed on by name, on demand: importing args must not import torch.
ON_DEMAND = {("args", "training_args")}


def rooms() -> dict[str, list[Path]]:
    """Folder or top-level module -> its files."""
    found: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(file)
    return found


def imported(file: Path, levels: int) -> set[str]:
    """First names of what a file imports relatively, ``levels`` folders up."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == levels:
            names |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return names


def acyclic(edges: dict[str, set[str]]) -> bool:
    edges = dict(edges)
    while free := [name for name, targets in edges.items() if not targets & set(edges)]:
        for name in free:
            del edges[name]
    return not edges


def test_every_room_has_a_row() -> None:
    assert set(rooms()) == set(DEPTH)


def test_imports_go_downward_only() -> None:
    wrong = [
        f"{room} -> {target}"
        for room, files in rooms().items()
        for file in files
        for target in imported(file, len(file.relative_to(PACKAGE).parts))
        if target != room and (room, target) not in ON_DEMAND and DEPTH[target] <= DEPTH[room]
    ]
    assert not wrong


def test_modules_of_a_folder_do_not_import_each_other_in_a_circle() -> None:
    for room, files in rooms().items():
        if (PACKAGE / room).is_dir():
            names = {file: file.stem for file in files if file.parent == PACKAGE / room}
            edges = {name: imported(file, 1) - {name} for file, name in names.items()}
            assert acyclic(edges), room


def test_nothing_imports_from_the_packages_own_init() -> None:
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        own = "from " + "." * len(file.relative_to(PACKAGE).parts) + " import"
        assert own not in text
        assert "from glm_ocr_finetune" not in text
