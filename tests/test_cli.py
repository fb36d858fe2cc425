"""The command: an overview, help at once, one line for a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from glm_ocr_finetune.cli import COMMANDS

Run = Callable[..., tuple[int, str, str]]
CLONE = Path(__file__).parents[1]


def test_the_overview_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")] == list(COMMANDS)
    assert run()[0] == 2


def test_version(run: Run) -> None:
    assert run("--version") == (0, version("glm-ocr-finetune") + "\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: glm-ocr-finetune {command}")
    assert "--output" in out or "--image" in out


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from glm_ocr_finetune.cli import main; main(['train', '--help'])\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CLONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("file", "command"), [("finetune.py", "train"), ("inference.py", "infer")])
def test_the_given_names_are_the_commands(run: Run, file: str, command: str) -> None:
    env = os.environ | {"COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, str(CLONE / file), "--help"], cwd=CLONE, capture_output=True, text=True, env=env
    )
    assert done.stdout.startswith(f"usage: {file}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        _, expected, _ = run(command, "--help")
    assert [line for line in done.stdout.splitlines() if line.startswith("  --")] == [
        line for line in expected.splitlines() if line.startswith("  --")
    ]


def test_a_mistake_is_one_line_and_code_2(run: Run) -> None:
    code, out, err = run("report", "--run", "a", "--tuned", "b")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
