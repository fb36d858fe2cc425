"""Runs that are killed with SIGKILL at random moments, saving included, and resumed: do they end with the same weights?

``python -m benchmarks.killed`` trains the tiny model without interruption, then again while it kills the process
``--kills`` times, every second time while a checkpoint is being written; each time the same command is typed again.
What is compared, bit by bit, is the saved result and the fp32 weights, optimizer and schedule of the last checkpoint.

The processes are forked from one that has imported everything, so that most of the time goes into training.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from glm_ocr_finetune.training.checkpoints import checkpoints_in, damage, name_of

DEMO = Path(__file__).parents[1] / "glm_ocr_finetune" / "assets" / "demo"
METHODS: dict[str, tuple[str, ...]] = {
    "full": (),
    "LoRA": ("--use_lora", "True"),
    "4-bit": ("--use_lora", "True", "--load_in_4bit", "True"),
}
STEPS, SAVE_EVERY = 24, 2
FORK = multiprocessing.get_context("fork")


def words(output: Path, method: str) -> list[str]:
    """The command, the same for the first time and after each kill."""
    fixed = {
        "model_name": "tiny",
        "dataset_name": DEMO,
        "output_dir": output,
        "max_samples": 30,
        "max_steps": STEPS,
        "save_steps": SAVE_EVERY,
        "save_total_limit": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "resume_from_checkpoint": "auto",
    }
    given = [word for name, value in fixed.items() for word in (f"--{name}", str(value))]
    return ["train", *given, *METHODS[method]]


def work(argv: Sequence[str], log: Path) -> None:
    """Be the command, with what it says at the end of a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from glm_ocr_finetune.cli import main

    code = main(argv)
    sys.stdout.flush()
    os._exit(code)


def start(output: Path, method: str) -> multiprocessing.process.BaseProcess:
    output.parent.mkdir(parents=True, exist_ok=True)
    process = FORK.Process(target=work, args=(words(output, method), output.with_suffix(".log")))
    process.start()
    return process


def finish(output: Path, method: str) -> float:
    """Run to the end; the seconds it took."""
    began = time.monotonic()
    process = start(output, method)
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"exit code {process.exitcode}:\n{output.with_suffix('.log').read_text('utf-8')[-3000:]}")
    return time.monotonic() - began


@dataclass
class Tally:
    """What came of the kills of one method."""

    loading: int = 0
    training: int = 0
    saving: int = 0
    damaged: list[str] = field(default_factory=list)
    runs: int = 0
    equal: int = 0

    @property
    def kills(self) -> int:
        return self.loading + self.training + self.saving

    def row(self, method: str) -> str:
        return (
            f"| {method} | {self.kills} | {self.loading} | {self.training} | {self.saving} | {len(self.damaged)}"
            f" | {self.equal} of {self.runs} |"
        )


def saves(output: Path) -> bool:
    return any(output.glob("_checkpoint-*"))


def newest(output: Path) -> int:
    have = checkpoints_in(output)
    return int(have[-1].name.rpartition("-")[2]) if have else 0


def kill_once(output: Path, method: str, tally: Tally, draw: random.Random, usual: float, while_saving: bool) -> bool:
    """Start or go on, and kill; False when the run has ended before."""
    had, process, log = newest(output), start(output, method), output.with_suffix(".log")
    said = log.stat().st_size if log.exists() else 0
    deadline = time.monotonic() + (3600 if while_saving else draw.random() * usual)
    while process.is_alive() and time.monotonic() < deadline and not (while_saving and saves(output)):
        time.sleep(0.001)
    time.sleep(draw.random() * (0.03 if while_saving else 0.0))
    process.kill()
    process.join()
    if process.exitcode == 0:
        return False
    in_training = "samples:" in log.read_text("utf-8")[said:]
    where = "saving" if saves(output) else "training" if in_training else "loading"
    setattr(tally, where, getattr(tally, where) + 1)
    tally.damaged += [f"{path.name}: {why}" for path in checkpoints_in(output) if (why := damage(path))]
    if newest(output) < had:
        tally.damaged.append(f"the newest checkpoint was {had} and is {newest(output)}")
    return True


def same(one: Path, other: Path) -> bool:
    """Whether results and last checkpoints are equal in every bit that training goes on from."""
    last = name_of(STEPS)
    name = "model.safetensors" if (one / "model.safetensors").is_file() else "adapter_model.safetensors"
    files = (name, f"{last}/{name}", f"{last}/scheduler.pt", f"{last}/optimizer.pt")
    return all(_content(one / file) == _content(other / file) for file in files)


def _content(file: Path) -> object:
    if file.suffix != ".pt":
        return file.read_bytes()
    return repr(_as_bytes(torch.load(file, weights_only=True)))


def _as_bytes(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: _as_bytes(one) for key, one in value.items()}
    return [_as_bytes(one) for one in value] if isinstance(value, list | tuple) else value


def killed(method: str, kills: int, folder: Path) -> Tally:
    """Kill so many times, over as many runs as that takes."""
    tally, draw = Tally(), random.Random(method)
    usual = finish(folder / "whole", method)
    while tally.kills < kills:
        tally.runs += 1
        output = folder / f"killed-{tally.runs}"
        while tally.kills < kills and kill_once(output, method, tally, draw, usual, tally.kills % 2 == 1):
            print(f"{method}: {tally}", file=sys.stderr, flush=True)
        finish(output, method)
        tally.equal += same(folder / "whole", output)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    import glm_ocr_finetune.train  # noqa: F401 - before the first fork

    print("| trained | kills | while loading | in a step | while saving | damaged | equal |")
    print("|---|---|---|---|---|---|---|")
    for method in args.methods:
        with tempfile.TemporaryDirectory() as folder:
            print(killed(method, args.kills, Path(folder)).row(method), flush=True)


if __name__ == "__main__":
    main()
