"""The scripts of examples/cluster as far as they go without a cluster."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from drawing import WORDS, draw_line

from glm_ocr_finetune.parse import train_options

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "cluster"
DEMO = ROOT / "glm_ocr_finetune" / "assets" / "demo"


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


SRUN = """#!/bin/bash
shift  # --kill-on-bad-exit
for rank in 0 1; do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NTASKS=2 SLURM_NNODES=1 "$@" & echo $! >> "$TASKS"
done
worst=0
for task in $(cat "$TASKS"); do wait $task; code=$?; [ $code -gt $worst ] && worst=$code; done
exit $worst
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && echo localhost || echo "asked for: scontrol $*"
"""


@pytest.mark.slow
def test_a_training_job_that_is_warned_queues_again_and_goes_on(tmp_path: Path) -> None:
    """srun and scontrol are stand-ins: two processes here, whose codes are handed on as Slurm hands them on."""
    path = command_on_path(tmp_path)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    tasks, output = tmp_path / "tasks", tmp_path / "out"
    environment = os.environ | {"PATH": path, "TASKS": str(tasks), "SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "n1"}
    words = ["--model_name", "tiny", "--max_samples", "8", "--save_strategy", "no", "--eval_strategy", "no"]
    words += ["--report_to", "none", "--logging_steps", "1", "--learning_rate", "1e-3"]
    script = ["bash", str(EXAMPLES / "train.slurm"), str(DEMO), str(output), *words, "--max_steps"]
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen([*script, "5000"], env=environment, stdout=log, stderr=log)
    said = (tmp_path / "log").read_text
    while "step 2" not in said():
        assert job.poll() is None, said()
        time.sleep(0.2)
    for task in tasks.read_text().split():
        os.kill(int(task), signal.SIGUSR1)
    began = time.monotonic()
    assert job.wait(timeout=300) == 0
    sys.stdout.write(f"\n{time.monotonic() - began:.1f} s from the signal to the end of the job\n{said()[-600:]}\n")
    assert "exit code 75: job 4711 queues again" in said()
    assert "asked for: scontrol requeue 4711" in said()
    (checkpoint,) = output.glob("checkpoint-*")
    step = int(checkpoint.name.rpartition("-")[2])
    tasks.unlink()
    again = subprocess.run([*script, str(step + 2)], env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "asked for" not in again.stdout
    assert f"step {step + 2}" in again.stderr
    assert f"step {step} " not in again.stderr


@pytest.mark.parametrize("name", ["slurm.sh", "hf_jobs.sh", "train.slurm", "train_hf_jobs.sh"])
def test_the_scripts_can_be_parsed(name: str) -> None:
    subprocess.run(["bash", "-n", str(EXAMPLES / name)], check=True)


def test_the_ray_script_compiles() -> None:
    source = (EXAMPLES / "ray_data.py").read_text(encoding="utf-8")
    compile(source, "ray_data.py", "exec")
    assert len(source.splitlines()) < 110


def test_the_sky_file_names_what_it_uses() -> None:
    task = yaml.safe_load((EXAMPLES / "train.sky.yaml").read_text(encoding="utf-8"))
    assert set(task) == {"name", "resources", "envs", "file_mounts", "setup", "run"}
    assert all(f"${name}" in json.dumps(task) or f"${{{name}}}" in json.dumps(task) for name in task["envs"])
    words = shlex.split(task["run"].replace("\\\n", " "))
    flags = {word.removeprefix("--") for word in words[words.index("train") :] if word.startswith("--")}
    assert flags <= {name for one in train_options() for name in (one.name, *one.also)}


def test_what_the_container_copies_is_there() -> None:
    lines = (EXAMPLES / "Containerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
