"""The house in order: every module has its test file, nothing is too long, and what stands outside still imports."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import glm_ocr_finetune

PACKAGE = Path(glm_ocr_finetune.__file__).parent
CLONE = PACKAGE.parent
TESTS = Path(__file__).parent
LONGEST_MODULE, LONGEST_FUNCTION = 400, 50  # lines

# Modules without a test file of their own name -> where they are tested, or why they need none.
WITHOUT_A_FILE = {
    "__main__": "one line; the commands of the README are run with it (test_readme.py)",
    "command_args": "test_args.py, and the command in integration/test_exports.py",
    "argument_fields": "with the arguments that are made of it: test_args.py",
    "reading/results": "a record and the line of it: reading/test_many.py",
    "data/sides": "what splits are made of: data/test_splits.py, data/test_mixture.py",
    "demo": "takes a minute: its recipe is a user's of train and report (integration/test_commands.py)",
    "errors": "one class without code, and one line",
    "evaluate": "a workflow: integration/test_judged_runs.py",
    "export": "a workflow: integration/test_exports.py",
    "exporting/fresh": "a program that exporting/test_proof.py starts",
    "infer": "a workflow: integration/test_commands.py",
    "train": "a workflow: integration/, invariant/",
    "inputs/colours": "every kind of image file: inputs/test_images.py",
    "inputs/geometry": "constants, compared with the processor's in inputs/test_processor.py",
    "inputs/pdf_pages": "with the reader of PDF files: readers/test_pdf_pages.py",
    "inputs/special_tokens": "a list, compared with the real one in model/test_tiny.py",
    "inputs/image_files": "inputs/test_images.py",
    "metrics/comparison": "with the intervals it is made of: metrics/test_bootstrap.py",
    "metrics/definitions": "a table: metrics/test_scores.py works out every row by hand",
    "metrics/reading": "a dataclass without code",
    "planning/propose": "with the plan that it makes: planning/test_plan.py",
    "readers/*": "by format, from files as their tools write them: readers/test_*.py",
    "report/*": "by what they make, files and the page: report/test_report_*.py",
    "training/cache_choice": "invariant/test_no_work_twice.py",
    "training/forward": "invariant/test_no_work_twice.py",
    "training/trainer_parts": "training/test_trainer.py",
    "training/verdict": "integration/test_judged_runs.py",
}


def modules() -> dict[str, Path]:
    """Name within the package, with slashes -> file; without the ``__init__`` that only hand names on."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {file.relative_to(PACKAGE).with_suffix("").as_posix(): file for file in files if file.stem != "__init__"}


def test_file_of(module: str) -> Path:
    folder, _, name = module.rpartition("/")
    return TESTS / folder / f"test_{name}.py"


test_file_of.__test__ = False  # type: ignore[attr-defined]


def test_every_module_has_a_test_file_or_a_reason() -> None:
    missing = [name for name in modules() if not test_file_of(name).is_file()]
    unexplained = [name for name in missing if not any(fnmatchcase(name, pattern) for pattern in WITHOUT_A_FILE)]
    assert unexplained == [], "write tests/FOLDER/test_MODULE.py, or add the module with the reason to WITHOUT_A_FILE"


def test_no_reason_is_left_over() -> None:
    """A pattern that covers no module without a file has to go, and a file that it names has to be there."""
    missing = [name for name in modules() if not test_file_of(name).is_file()]
    for pattern, reason in WITHOUT_A_FILE.items():
        assert any(fnmatchcase(name, pattern) for name in missing), pattern
        for word in reason.replace(",", " ").replace(":", " ").split():
            if "/" in word or word.endswith(".py"):
                assert any(TESTS.glob(word.strip("()").rstrip("/"))), (pattern, word)


def test_every_test_file_of_a_module_s_folder_tests_something_here() -> None:
    """A test file beside no module of its name says in its folder's name (integration, invariant) what it is for."""
    folders = {"", *(folder.name for folder in PACKAGE.iterdir() if folder.is_dir())} - {"assets", "__pycache__"}
    assert {path.parent.name for path in TESTS.rglob("test_*.py")} - folders <= {
        "tests",
        "benchmarks",
        "fuzzing",
        "integration",
        "invariant",
        "engines",
    }


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function, its docstring and decorators left out."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            first = node.body[min(int(has_docstring), len(node.body) - 1)]
            header = node.body[0].lineno - node.lineno
            yield node.name, header + (node.end_lineno or 0) - first.lineno + 1


def test_no_module_and_no_function_is_too_long() -> None:
    lengths = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in modules().items()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}
    inside = ((name, function, lines) for name, file in modules().items() for function, lines in functions(file))
    assert [found for found in inside if found[2] > LONGEST_FUNCTION] == []


def imports_of(file: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every ``from glm_ocr_finetune... import name`` in a file, wherever it stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "glm_ocr_finetune":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("folder", ["benchmarks", "pretraining", "docs"])
def test_what_stands_outside_the_package_still_finds_its_names(folder: str) -> None:
    wanted = {(file.name, *found) for file in (CLONE / folder).rglob("*.py") for found in imports_of(file)}
    assert wanted
    for file, module, name in sorted(wanted):
        found = importlib.import_module(module)
        is_module = (PACKAGE.parent / module.replace(".", "/") / f"{name}.py").is_file()
        assert hasattr(found, name) or is_module, f"{folder}/{file}: {module} has no {name}"
