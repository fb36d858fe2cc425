"""The notebook runs from its first cell to its last on a CPU, and what it shows came from such a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

CLONE = Path(__file__).parents[1]
FILE = CLONE / "notebooks" / "finetune.ipynb"
NOTEBOOK = json.loads(FILE.read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
# What IPython gives a cell, as far as the notebook uses it.
HEAD = """
import subprocess, sys, types
shown = types.SimpleNamespace(display=lambda *_: None, Image=lambda filename: open(filename, "rb").read(),
                              SVG=lambda filename: open(filename, "rb").read())
sys.modules["IPython"] = sys.modules["IPython.display"] = shown
"""


def as_python(source: str) -> str:
    """A cell in plain Python: lines that begin with ``!`` are commands."""
    return re.sub(
        r"^( *)!(.*)$", lambda line: f"{line[1]}subprocess.run({line[2]!r}, shell=True, check=True)", source, flags=re.M
    )


def test_every_cell_runs(tmp_path: Path) -> None:
    """In a process and a folder of its own, as Jupyter does it; 103 s of processor time."""
    program = tmp_path / "cells.py"
    program.write_text("\n".join([HEAD, *(as_python("".join(cell["source"])) for cell in CODE)]), encoding="utf-8")
    command = tmp_path / "bin" / "glm-ocr-finetune"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m glm_ocr_finetune "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    paths = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(CLONE), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["verdict"] == "better"
    assert summary["samples"] == 50
    assert (tmp_path / "export" / "model.safetensors").is_file()
    assert "vllm serve" in done.stdout + done.stderr


def test_its_outputs_are_those_of_one_run_in_order() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    said = [json.dumps(cell["outputs"]) for cell in CODE]
    assert not any('"output_type": "error"' in one for one in said)
    assert "tiny, on the CPU" in said[1]
    assert "reads better than the base" in said[5]
    assert "vllm serve" in said[-1]
    assert not re.search(r"/(root|home|tmp|work)/", "".join(said))


def test_its_cells_are_short() -> None:
    assert max(len(cell["source"]) for cell in CODE) <= 16
