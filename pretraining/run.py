"""What the stages share: processes, a clock, a log and files to resume from."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def join_processes() -> int:
    """Join the other processes that ``torchrun`` started, if it did. Returns this one's rank."""
    torch.set_num_threads(1)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("gloo")
        return dist.get_rank()
    return 0


@dataclass
class Run:
    """One stage: its directory, its time budget, and how much of it is spent, over all sittings."""

    directory: Path
    stage: str
    minutes: float
    rank: int
    step: int = 0
    spent_s: float = 0.0
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    @property
    def state_file(self) -> Path:
        return self.directory / f"{self.stage}.pt"

    def elapsed_s(self) -> float:
        return self.spent_s + time.monotonic() - self.started

    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1, the same in every process."""
        share = torch.tensor(self.elapsed_s() / (60 * self.minutes))
        if dist.is_initialized():
            dist.broadcast(share, 0)
        return float(share)

    def log(self, **values: Any) -> None:
        """Append one line of numbers to ``<stage>.jsonl`` and print it."""
        if self.rank:
            return
        rounded = {k: round(float(v), 4) for k, v in values.items()}
        row = json.dumps({"step": self.step, "s": round(self.elapsed_s())} | rounded)
        print(row, flush=True)
        with (self.directory / f"{self.stage}.jsonl").open("a") as file:
            file.write(row + "\n")

    def save(self, parts: dict[str, Any]) -> None:
        """Write what :meth:`resume` reads, from the first process only, replacing the old file at once.

        ``parts`` are modules, optimisers (whose state is taken) and plain numbers.
        """
        self.saved = time.monotonic()
        if self.rank:
            return
        state = {k: v.state_dict() if hasattr(v, "state_dict") else v for k, v in parts.items()}
        partial = self.state_file.with_suffix(".partial")
        torch.save(state | {"step": self.step, "spent_s": self.elapsed_s()}, partial)
        partial.replace(self.state_file)

    def save_if_due(self, parts: dict[str, Any], every_s: float = 60) -> None:
        """Save when the last time is ``every_s`` seconds ago."""
        if time.monotonic() - self.saved > every_s:
            self.save(parts)

    def state_of(self, stage: str) -> dict[str, Any]:
        """What another stage saved last."""
        state: dict[str, Any] = torch.load(self.directory / f"{stage}.pt", weights_only=True)
        return state

    def resume(self) -> dict[str, Any] | None:
        """The state of an earlier sitting, or nothing."""
        if not self.state_file.exists():
            return None
        state = self.state_of(self.stage)
        self.step, self.spent_s = state["step"], state["spent_s"]
        return state
