"""Twelve faults, each made for real on a run that is under way or resumed: what happens, and that nothing is lost.

The table is printed (``pytest -s``). Runs are forked from this process, which has imported everything; the two of ranks
are started by torchrun. That a disk is full is a limit on the size of files, which libraries cannot tell from one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from drawing import WORDS, write_lines

from glm_ocr_finetune.training.checkpoints import checkpoints_in, damage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="fork and prlimit are Linux's")]

ROOT = Path(__file__).parents[2]
STEPS = 12
FORK = multiprocessing.get_context("fork")


class Run:
    """A run of twelve steps with a checkpoint after every second."""

    def __init__(self, folder: Path, data: Path, *flags: str, within: Callable[[], None] = lambda: None) -> None:
        self.output, self.log = folder / "out", folder / "log"
        fixed = {"model_name": "tiny", "dataset_name": data, "output_dir": self.output, "max_steps": STEPS}
        fixed |= {"save_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 2, "report_to": "none"}
        fixed |= {"gradient_accumulation_steps": 1, "eval_strategy": "no", "disable_tqdm": True}
        given = [word for name, value in fixed.items() for word in (f"--{name}", str(value))]
        self.words = ["train", *given, "--resume_from_checkpoint", "auto", *flags]
        self.within = within

    def start(self) -> BaseProcess:
        self.log.unlink(missing_ok=True)
        self.process = FORK.Process(target=self._work)
        self.process.start()
        return self.process

    def _work(self) -> None:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.setpgid(0, 0)
        from glm_ocr_finetune.cli import main

        self.within()
        code = main(self.words)
        sys.stdout.flush()
        os._exit(code)

    def until(self, seen: Callable[[], bool]) -> None:
        wait(seen, self.process.is_alive, self.said)

    def end(self) -> int:
        self.process.join(timeout=300)
        assert self.process.exitcode is not None, f"hangs: {self.said()[-2000:]}"
        return self.process.exitcode

    def run(self) -> int:
        self.start()
        return self.end()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def has(self, step: int) -> bool:
        return (self.output / f"checkpoint-{step}").is_dir()

    def whole(self) -> list[str]:
        return [path.name for path in checkpoints_in(self.output) if not damage(path)]

    def result(self) -> bytes:
        return (self.output / f"checkpoint-{STEPS}" / "model.safetensors").read_bytes()


def wait(seen: Callable[[], bool], alive: Callable[[], bool], said: Callable[[], str]) -> None:
    for _ in range(60_000):
        if seen():
            return
        assert alive(), f"ended too early: {said()[-2000:]}"
        time.sleep(0.005)
    raise AssertionError(f"not seen in five minutes: {said()[-2000:]}")


def told(fault: str, run: Run, code: int | None) -> None:
    """A row of the table."""
    lines = [line for line in run.said().splitlines() if line.strip()]
    sys.stdout.write(f"\n| {fault} | exit {code} | {lines[-1][:300]} | {', '.join(run.whole())} |\n")
    assert "Traceback" not in run.said(), run.said()[-3000:]


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    import glm_ocr_finetune.train  # noqa: F401 - before the first fork


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_lines(folder, "train", [f"{word} {number}" for number in range(2) for word in WORDS])
    return folder


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights after the twelve steps of a run that nothing happened to."""
    run = Run(tmp_path_factory.mktemp("whole"), data)
    assert run.run() == 0, run.said()
    return run.result()


def test_a_disk_that_is_full_at_a_save(data: Path, undisturbed: bytes, tmp_path: Path) -> None:
    run = Run(tmp_path, data)
    process = run.start()
    run.until(lambda: run.has(4))
    resource.prlimit(int(process.pid or 0), resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
    code = run.end()
    told("disk full at a save", run, code)
    assert code == 2
    whole = run.whole()
    assert "checkpoint-4" in whole
    assert f"the newest whole checkpoint is {run.output / whole[-1]}" in run.said()
    assert not list(run.output.glob("_checkpoint-*"))
    assert run.run() == 0
    assert run.result() == undisturbed


def test_a_cache_that_is_deleted(data: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = Run(tmp_path, data, "--cache_vision_features", "disk")
    run.start()
    run.until(lambda: run.has(4))
    shutil.rmtree(tmp_path / "cache")
    code = run.end()
    told("cache deleted", run, code)
    assert code == 0
    assert run.result() == undisturbed


def test_a_cache_that_cannot_be_written(data: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/sys")  # not even root can
    run = Run(tmp_path, data, "--cache_vision_features", "auto")
    code = run.run()
    told("cache read-only", run, code)
    assert code == 0
    assert run.result() == undisturbed


def test_the_newest_checkpoint_is_cut_off(data: Path, undisturbed: bytes, tmp_path: Path) -> None:
    run = Run(tmp_path, data)
    process = run.start()
    run.until(lambda: run.has(6))
    process.kill()
    process.join()
    newest = checkpoints_in(run.output)[-1]
    with (newest / "optimizer.pt").open("r+b") as file:
        file.truncate(100_000)
    code = run.run()
    told("newest checkpoint cut off", run, code)
    assert code == 0
    assert f"{newest.name} is passed over (optimizer.pt is cut off)" in run.said()
    assert run.result() == undisturbed


def test_other_data_on_resuming(data: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(data, tmp_path / "data"))
    run = Run(tmp_path, here)
    process = run.start()
    run.until(lambda: run.has(6))
    process.kill()
    process.join()
    before = run.whole()
    file = next(here.glob("*.jsonl"))
    file.write_text(file.read_text(encoding="utf-8").replace(WORDS[0], "other"), encoding="utf-8")
    code = run.run()
    told("other data on resuming", run, code)
    assert code == 2
    assert "the training data differ from those of" in run.said()
    assert run.whole() == before


def poison() -> None:
    """Make the loss of the fifth step NaN, as a faulty kernel would."""
    from glm_ocr_finetune.training.trainer import GlmOcrTrainer

    plain, calls = GlmOcrTrainer.compute_loss, []

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = plain(self, *args, **kwargs)
        calls.append(1)
        return loss * float("nan") if len(calls) == 5 else loss

    GlmOcrTrainer.compute_loss = broken  # type: ignore[method-assign]


def test_a_batch_without_numbers(data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, data, within=poison)
    code = run.run()
    told("NaN batch", run, code)
    assert code == 0
    assert "step 5: the loss and gradient is not finite; the weights stay as they are" in run.said()


def test_an_image_that_becomes_unreadable(data: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(data, tmp_path / "data"))
    run = Run(tmp_path, here, "--cache_vision_features", "off", "--num_train_epochs", "3", "--max_steps", "-1")
    run.start()
    run.until(lambda: run.has(2))
    for image in sorted(here.rglob("*.png"))[:2]:
        image.write_bytes(image.read_bytes()[:200])
    code = run.end()
    told("image unreadable in the middle", run, code)
    assert code == 0
    listed = [json.loads(line) for line in (run.output / "set_aside.jsonl").read_text("utf-8").splitlines()]
    assert len(listed) == 2


def test_a_worker_that_is_killed(data: Path, undisturbed: bytes, tmp_path: Path) -> None:
    run = Run(tmp_path, data, "--dataloader_num_workers", "2", "--dataloader_prefetch_factor", "1")
    process = run.start()
    run.until(lambda: run.has(4))
    (worker, *_) = children_of(int(process.pid or 0))
    os.kill(worker, signal.SIGKILL)
    code = run.end()
    told("worker killed", run, code)
    assert code == 2
    assert f"the newest whole checkpoint is {run.output / run.whole()[-1]}" in run.said()
    assert run.run() == 0
    assert run.result() == undisturbed


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def jump() -> None:
    """Set the clock that programs ask back by a day, from the tenth question after training began on, then forward."""
    plain, asked = time.time, []

    def other() -> float:
        asked.append(1)
        return plain() + (0 if len(asked) < 40 else -86_400 if len(asked) < 80 else 86_400)

    time.time = other


def test_a_clock_that_jumps(data: Path, undisturbed: bytes, tmp_path: Path) -> None:
    run = Run(tmp_path, data, within=jump)
    code = run.run()
    told("clock jumps", run, code)
    assert code == 0
    assert run.result() == undisturbed


def test_the_output_folder_is_removed(data: Path, undisturbed: bytes, tmp_path: Path) -> None:
    run = Run(tmp_path, data)
    run.start()
    run.until(lambda: run.has(4))
    shutil.rmtree(run.output)
    code = run.end()
    told("output folder removed", run, code)
    assert code == 0
    assert run.whole()[-1] == f"checkpoint-{STEPS}"
    assert run.result() == undisturbed


class Ranks:
    """The same run on two ranks of torchrun."""

    def __init__(self, folder: Path, data: Path, *flags: str, launcher: tuple[str, ...] = ()) -> None:
        self.of_one = Run(folder, data, *flags)
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *launcher]
        launch += [str(ROOT / "finetune.py")]
        with self.of_one.log.open("w") as log:
            self.group = subprocess.Popen(
                [sys.executable, *launch, *self.of_one.words[1:]],
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        wait(lambda: self.of_one.has(4), lambda: self.group.poll() is None, self.of_one.said)


@pytest.mark.parametrize(("name", "most_s"), [("SIGKILL", 30), ("SIGSTOP", 90)])
def test_one_rank_is_killed_or_stopped(data: Path, tmp_path: Path, name: str, most_s: float) -> None:
    ranks = Ranks(tmp_path, data, "--ddp_timeout", "20")
    began, processes = time.monotonic(), children_of(ranks.group.pid)
    os.kill(processes[1], getattr(signal, name))
    try:
        code = ranks.group.wait(timeout=most_s + 60)
    finally:
        ranks.group.kill()
        for left in (one for one in processes if Path(f"/proc/{one}").exists()):
            os.kill(left, signal.SIGKILL)
    took = time.monotonic() - began
    sys.stdout.write(f"\n| one rank: {name} | exit {code} after {took:.0f} s | | {', '.join(ranks.of_one.whole())} |\n")
    assert code != 0
    assert took < most_s
    assert "checkpoint-4" in ranks.of_one.whole()


def test_torchrun_starts_again_and_goes_on(data: Path, tmp_path: Path) -> None:
    ranks = Ranks(tmp_path, data, "--max_steps", "16", launcher=("--max-restarts", "1"))
    os.kill(children_of(ranks.group.pid)[1], signal.SIGKILL)
    code = ranks.group.wait(timeout=600)
    said = ranks.of_one.said()
    sys.stdout.write(f"\n| rank killed, --max-restarts 1 | exit {code} | | {', '.join(ranks.of_one.whole())} |\n")
    assert code == 0, said[-3000:]
    assert said.count("\nstep 1 ") == 1  # "trained to step 16" follows the last
    assert said.count("\nstep 16 ") == 1
