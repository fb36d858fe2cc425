"""Imports go downward only, and each module has a place in the table."""

from __future__ import annotations

import ast
from pathlib import Path

import glm_ocr_finetune

PACKAGE = Path(glm_ocr_finetune.__file__).parent

# From the bottom up: a module may import from lower layers, and from its own.
LAYERS = {
    "words": {"errors", "text", "tokens", "curves"},
    "leaves": {
        "args",
        "training_args",
        "prompt",
        "images",
        "regions",
        "colours",
        "pdf_pages",
        "split",
        "batching",
        "arithmetic",
        "readers",
        "metrics",
        "parse",
        "settings",
    },
    "parts": {
        "processor",
        "mtp",
        "checkpoint",
        "tiny",
        "model",
        "vision_cache",
        "vision_encoder",
        "attention",
        "forward",
        "memory",
        "cache_choice",
        "collate",
        "data",
        "generate",
    },
    "workflows": {
        "callbacks",
        "dry_run",
        "plan",
        "trainer",
        "train",
        "infer",
        "evaluate",
        "judge",
        "suspects",
        "report",
        "demo",
    },
    "doors": {"cli", "__main__", "__init__"},
}
ORDER = {module: level for level, modules in enumerate(LAYERS.values()) for module in modules}


def modules() -> dict[str, list[Path]]:
    """Top-level module or sub-package name -> its files."""
    found: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(file)
    return found


def imported(file: Path) -> set[str]:
    """Names of this package's top-level modules that a file imports, anywhere in it."""
    depth = len(file.relative_to(PACKAGE).parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return names


def test_every_module_has_a_layer() -> None:
    assert set(modules()) == set(ORDER)


def test_imports_go_downward_only() -> None:
    wrong = [
        f"{module} -> {target}"
        for module, files in modules().items()
        for file in files
        for target in imported(file)
        if ORDER[target] > ORDER[module]
    ]
    assert not wrong


# args hands TrainingArguments on by name, on demand: importing args must not import torch.
ON_DEMAND = {("args", "training_args")}


def test_there_are_no_cycles() -> None:
    edges = {
        module: {t for file in files for t in imported(file) if t != module and (module, t) not in ON_DEMAND}
        for module, files in modules().items()
    }
    while free := [module for module, targets in edges.items() if not targets & set(edges)]:
        for module in free:
            del edges[module]
    assert not edges


def test_nothing_imports_from_the_packages_own_init() -> None:
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        own = "from " + "." * len(file.relative_to(PACKAGE).parts) + " import"
        assert own not in text
        assert "from glm_ocr_finetune" not in text
