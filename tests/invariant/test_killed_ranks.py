"""Two ranks that are killed, at any moment, lose nothing; and where one dies the others end soon after."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_ocr_finetune.training.checkpoints import checkpoints_in, damage

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "glm_ocr_finetune" / "assets" / "demo"
KILLS = int(os.environ.get("KILLS", "5"))
STEPS = max(40, 4 * KILLS)


class Run:
    """finetune.py on two ranks, its words in a file."""

    def __init__(self, output: Path, log: Path, *flags: str) -> None:
        self.output, self.log = output, log
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(ROOT / "finetune.py")]
        words = ["--model_name", "tiny", "--dataset_name", str(DEMO), "--max_samples", "44", "--report_to", "none"]
        words += ["--max_steps", str(STEPS), "--save_steps", "4", "--save_total_limit", "3", "--logging_steps", "1"]
        words += ["--eval_strategy", "no", "--learning_rate", "1e-3", "--disable_tqdm", "True"]
        if any(damage(checkpoint) is None for checkpoint in checkpoints_in(output)):
            words += ["--resume_from_checkpoint", "True"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with log.open("w") as opened:
            self.group = subprocess.Popen(
                [sys.executable, *launch, "--output_dir", str(output), *words, *flags],
                env=environment,
                stdout=opened,
                stderr=opened,
            )

    def ranks(self) -> list[int]:
        children = Path(f"/proc/{self.group.pid}/task/{self.group.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def steps(self) -> int:
        return self.log.read_text(errors="replace").count("  loss ")

    def saves(self) -> bool:
        return any(self.output.glob("_checkpoint-*.partial/*"))

    def wait_for(self, seen: Callable[[], bool]) -> bool:
        """Whether it was seen before the run ended; looked for as often as the processor allows."""
        for _ in range(120_000):
            if seen():
                return True
            if self.group.poll() is not None:
                return False
            time.sleep(0.005)
        self.kill_all()
        raise AssertionError(f"not seen in ten minutes: {self.log.read_text()[-2000:]}")

    def kill_all(self) -> None:
        for pid in [*self.ranks(), self.group.pid]:
            os.kill(pid, signal.SIGKILL)
        self.group.wait()


def finish(run: Run) -> list[bytes]:
    """The saved weights of a run that ends by itself, in bf16, and those of its last checkpoint, in fp32."""
    assert run.group.wait(timeout=300) == 0, run.log.read_text()[-3000:]
    last = checkpoints_in(run.output)[-1]
    assert last.name == f"checkpoint-{STEPS}"
    files = [path for folder in (run.output, last) for path in folder.glob("*model.safetensors")]
    assert len(files) == 2
    return [file.read_bytes() for file in files]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [(), ("--use_lora", "True"), ("--use_lora", "True", "--load_in_4bit", "True")],
    ids=["full", "LoRA", "4-bit"],
)
def test_two_ranks_killed_at_random_moments_end_with_the_same_weights(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Every second time while a checkpoint is being written, else somewhere between two losses."""
    expected = finish(Run(tmp_path / "whole", tmp_path / "whole.log", *flags))
    draw, killed = random.Random(len(flags)), []
    for number in range(KILLS):
        run = Run(tmp_path / "killed", tmp_path / f"{number}.log", *flags)
        at_least = draw.randint(1, 8)  # a checkpoint is written every 4 steps
        while_saving = number % 2 == 1
        assert run.wait_for(lambda run=run, n=at_least: run.steps() >= n)  # type: ignore[misc]
        if while_saving:
            assert run.wait_for(run.saves)
        time.sleep(draw.random() * (0.02 if while_saving else 0.3))
        run.kill_all()
        killed.append((run.steps(), run.saves(), [path.name for path in checkpoints_in(run.output)]))
    sys.stdout.write(f"killed (losses seen in this sitting, in the middle of saving, checkpoints): {killed}\n")
    assert finish(Run(tmp_path / "killed", tmp_path / "last.log", *flags)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--fsdp", "True")], ids=["DDP", "FSDP2"])
@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_rank_dies_the_run_ends(tmp_path: Path, flags: tuple[str, ...], rank: int) -> None:
    run = Run(tmp_path / "run", tmp_path / "log", *flags)
    assert run.wait_for(lambda: run.steps() >= 6)
    os.kill(run.ranks()[rank], signal.SIGKILL)
    died = time.monotonic()
    try:
        assert run.group.wait(timeout=60) != 0
    finally:
        run.group.kill()
    sys.stdout.write(f"ended {time.monotonic() - died:.1f} s after rank {rank} was killed\n")
    assert [path.name for path in checkpoints_in(run.output)][0] == "checkpoint-4"
