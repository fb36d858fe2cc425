"""How fast does this project train beside plain TRL, LLaMA-Factory and ms-swift, and with how much memory?

    python -m benchmarks.training_speed --data DATA --model full-size --threads 2 --output speed.json \\
        --llamafactory_python VENV/bin/python

DATA is a folder with ``manifest.jsonl`` (``image``, ``text``). ``--model`` is a checkpoint from ``full_size.py``, or
``tiny``; one that is not fp32 is copied to fp32 first, for a bf16 checkpoint would make LLaMA-Factory compute in
bf16. ``peers/setup_llamafactory.sh`` makes VENV. ms-swift joins with ``--systems ours trl llamafactory ms_swift`` and
an environment of its own; it names special tokens by number, so that it cannot train ``tiny``. Arguments that are not
listed go to this project's training.

A few measured steps stand for a whole run, because the steps of a phase are alike. Every round draws other rows and
trains each system on the same ones, one after the other: the peers for one epoch, ours for two, of which the first
encodes every image and the second finds it encoded. From that:

- A phase is measured in tokens a second (padding not counted), over its steps without the very first one of the
  run, which warms up. An epoch over the rows then takes their tokens by that pace. (Counting samples instead would
  flatter whoever happens to have its longest lines in the first batch.)
- A run of E epochs takes E times the peers' epoch; ours takes its first epoch and E - 1 times its later one.
- The ratio is that of these times in one round; its spread is the smallest and the largest over the rounds.

Left out is what happens once, before the first step: its seconds are listed as "start". Ours forms batches from the
few rows of a round only, so lengths are grouped less well than in a real run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .peers.recording import Settings
from .peers.running import RUNNERS, run_peer

EPOCHS = (3, 10)


@dataclass(frozen=True)
class Run:
    """What one run of one system showed.

    Attributes:
        first_epoch_s: seconds of an epoch over the rows at the pace of the first epoch.
        later_epoch_s: the same at the pace of the second one; the peers have none and repeat the first.
        samples: rows of an epoch.
        padding: share of the computed positions that are padding.
        start_s: seconds from the start of the process to the first step.
        peak_gb: largest resident memory while training.
        major_faults: pages read from the disk while training, because the memory was full.
        steps: the record as it was written.
    """

    system: str
    mode: str
    round: int
    first_epoch_s: float
    later_epoch_s: float
    samples: int
    padding: float
    start_s: float
    peak_gb: float
    major_faults: int
    steps: list[dict[str, Any]]

    def run_s(self, epochs: int) -> float:
        """Seconds of a run of ``epochs`` epochs over the rows."""
        return self.first_epoch_s + (epochs - 1) * self.later_epoch_s

    def samples_per_s(self, epochs: int) -> float:
        """Samples a second over such a run."""
        return epochs * self.samples / self.run_s(epochs)


def draw_rows(data: Path, count: int, seed: int, folder: Path) -> Path:
    """Copy ``count`` random rows of a data set, with their images, to ``folder``."""
    rows = [json.loads(line) for line in (data / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    drawn = random.Random(seed).sample(rows, count)
    folder.mkdir(parents=True)
    for index, row in enumerate(drawn):
        image = f"{index:04d}{Path(row['image']).suffix}"
        shutil.copyfile(data / row["image"], folder / image)
        row["image"] = image
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in drawn)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    return folder


def in_fp32(model_name: str, folder: Path) -> Path:
    """The checkpoint directory, or a copy of it in fp32 when its weights are of another type."""
    import torch
    from safetensors.torch import load_file, save_file

    from glm_ocr_finetune.model.loading import load_config, resolve_model_path

    source = Path(resolve_model_path(model_name))
    if load_config(str(source)).dtype == torch.float32:
        return source
    shutil.copytree(source, folder)
    for file in folder.glob("*.safetensors"):
        save_file({name: tensor.float() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}), encoding="utf-8")
    return folder


def pace(steps: list[dict[str, Any]]) -> float:
    """Tokens a second."""
    return sum(step["tokens"] for step in steps) / sum(step["seconds"] for step in steps)


def read_record(file: Path, system: str, mode: str, round_: int) -> Run:
    """The record of a runner, as times of an epoch."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    events = {row["event"]: row for row in rows}
    steps = [row for row in rows if row["event"] == "step"]
    first, later = [s for s in steps if s["epoch"] == 1], [s for s in steps if s["epoch"] == 2]
    tokens = sum(step["tokens"] for step in first)
    first_epoch_s = tokens / pace(first[1:])
    return Run(
        system=system,
        mode=mode,
        round=round_,
        first_epoch_s=first_epoch_s,
        later_epoch_s=tokens / pace(later) if later else first_epoch_s,
        samples=sum(step["samples"] for step in first),
        padding=1 - sum(step["tokens"] for step in steps) / sum(step["slots"] for step in steps),
        start_s=events["begin"]["seconds"],
        peak_gb=events["end"]["peak_gb"],
        major_faults=events["end"]["major_faults"],
        steps=steps,
    )


def measure(args: argparse.Namespace, system: str, mode: str, round_: int, data: Path, model: Path) -> Run:
    """Run one system in a process of its own, with empty caches."""
    python = {"llamafactory": args.llamafactory_python, "ms_swift": args.ms_swift_python}.get(system, sys.executable)
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(
            data=data.resolve(),
            model=str(model.resolve()),
            mode=mode,
            record=Path(scratch) / "record.jsonl",
            scratch=Path(scratch) / "output",
            steps=args.steps,
            epochs=2 if system == "ours" else 1,
            batch_size=args.batch_size,
            seed=args.seed,
            threads=args.threads,
        )
        run_peer(system, python, settings, args.passed_on if system == "ours" else ())
        return read_record(settings.record, system, mode, round_)


def spread(values: list[float], digits: int = 2) -> str:
    """Median, smallest and largest."""
    median = statistics.median(values)
    return f"{median:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratios(runs: list[Run], system: str, mode: str, epochs: int) -> list[float]:
    """How many times as fast as ``system`` ours is over ``epochs`` epochs, in each round."""
    time = {(run.system, run.round): run.run_s(epochs) for run in runs if run.mode == mode}
    return [time[system, round_] / time["ours", round_] for name, round_ in sorted(time) if name == system]


def table(runs: list[Run]) -> str:
    """A Markdown table: the median over the rounds, with smallest and largest."""
    lines = [
        "| mode | system | samples/s, 3 epochs | 10 epochs | ours is faster, 3 epochs | 10 epochs | padding | peak GB | major faults | start s |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for mode, system in dict.fromkeys((run.mode, run.system) for run in runs):
        mine = [run for run in runs if (run.mode, run.system) == (mode, system)]
        compared = system != "ours" and any(run.system == "ours" and run.mode == mode for run in runs)
        cells = [
            mode,
            system,
            *(spread([run.samples_per_s(epochs) for run in mine], 3) for epochs in EPOCHS),
            *(spread(ratios(runs, system, mode, epochs)) if compared else "" for epochs in EPOCHS),
            f"{statistics.mean(run.padding for run in mine):.1%}",
            f"{max(run.peak_gb for run in mine):.2f}",
            f"{max(run.major_faults for run in mine)}",
            f"{statistics.median(run.start_s for run in mine):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def phases(runs: list[Run]) -> str:
    """Seconds of an epoch of ours by phase."""
    lines = []
    for mode in dict.fromkeys(run.mode for run in runs if run.system == "ours"):
        mine = [run for run in runs if (run.system, run.mode) == ("ours", mode)]
        first, later = (
            [run.first_epoch_s / run.samples for run in mine],
            [run.later_epoch_s / run.samples for run in mine],
        )
        lines.append(f"ours, {mode}: {spread(first)} s a sample in the first epoch, {spread(later)} in later ones")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--modes", nargs="+", choices=("lora", "full"), default=["lora", "full"])
    parser.add_argument("--systems", nargs="+", choices=list(RUNNERS), default=["ours", "trl", "llamafactory"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="steps an epoch, the first one of a run warming up")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--llamafactory_python", help="Python of the environment of setup_llamafactory.sh")
    parser.add_argument("--ms_swift_python", help="Python of the environment of setup_ms_swift.sh")
    parser.add_argument("--output", type=Path, required=True, help="JSON: every step, written after every run")
    args, others = parser.parse_known_args()
    args.passed_on = others
    if args.steps < 2:
        parser.error("--steps must be at least 2: the first step warms up")
    if "llamafactory" in args.systems and not args.llamafactory_python:
        parser.error("--llamafactory_python is missing; or leave llamafactory out of --systems")
    if "ms_swift" in args.systems and not args.ms_swift_python:
        parser.error("--ms_swift_python is missing; or leave ms_swift out of --systems")
    settings = ("modes", "systems", "rounds", "steps", "batch_size", "threads", "seed", "passed_on")
    facts = {name: getattr(args, name) for name in settings}
    facts |= {"data": args.data.name, "model": Path(args.model).name, "cores": os.cpu_count()}
    facts |= {"machine": platform.machine(), "python": platform.python_version()}
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as scratch:
        model = in_fp32(args.model, Path(scratch) / "fp32")
        for mode in args.modes:
            for round_ in range(args.rounds):
                rows = args.steps * args.batch_size
                data = draw_rows(args.data, rows, args.seed + round_, Path(scratch) / f"{mode}-{round_}")
                for system in args.systems:
                    runs.append(measure(args, system, mode, round_, data, model))
                    last = runs[-1]
                    print(f"{mode}, round {round_ + 1}, {system}: {last.run_s(3) / 3:.1f} s an epoch of 3", flush=True)
                    found = {"facts": facts, "runs": [asdict(run) for run in runs]}
                    args.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"\n{table(runs)}\n\n{phases(runs)}")


if __name__ == "__main__":
    main()
