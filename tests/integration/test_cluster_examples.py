"""The scripts of examples/cluster as far as they go without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drawing import WORDS, draw_line

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"


def command_on_path(folder: Path) -> str:
    """A PATH on which the command glm-ocr-finetune is this package."""
    program = folder / "bin" / "glm-ocr-finetune"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m glm_ocr_finetune "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.slow
def test_the_tasks_of_a_slurm_array_read_everything_between_them(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for index, word in enumerate(WORDS[:5]):
        draw_line(word).save(tmp_path / "in" / ("deep" if index % 2 else "") / f"{index}.png")
    path = command_on_path(tmp_path)
    script = ["bash", str(EXAMPLES / "slurm.sh"), "tiny", str(tmp_path / "in"), str(tmp_path / "out")]
    for task in ("1", "2"):
        env = os.environ | {"PATH": path, "SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2"}
        subprocess.run([*script, "--max_new_tokens", "16"], check=True, env=env)
        assert (tmp_path / "out" / "journals" / f"{task}-of-2.jsonl").is_file()
    rows = [json.loads(line) for line in (tmp_path / "out" / "readings.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {Path(row["id"]).name: row["text"] for row in rows} == {f"{i}.png": word for i, word in enumerate(WORDS[:5])}


@pytest.mark.parametrize("name", ["slurm.sh", "hf_jobs.sh"])
def test_the_scripts_can_be_parsed(name: str) -> None:
    subprocess.run(["bash", "-n", str(EXAMPLES / name)], check=True)


def test_the_ray_script_compiles() -> None:
    source = (EXAMPLES / "ray_data.py").read_text(encoding="utf-8")
    compile(source, "ray_data.py", "exec")
    assert len(source.splitlines()) < 110
