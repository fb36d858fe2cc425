"""Evaluations within a share of the training time: which samples are read, and how often.

What a reading costs is known once the base was read, what a step costs after some steps. From then on an evaluation
is due at every 2, 4, 8, ... times ``--eval_steps``, the smallest that keeps the share. Values that the user gave stand;
then only the cost is said.
"""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerState

from ..ranks import is_main_process

if TYPE_CHECKING:
    from .judge import Judge

logger = logging.getLogger(__name__)

SHARE = 0.1
WARM_UP, MEASURED = 2, 10  # steps that are not counted, and steps from which the pace is taken
MOST_SAMPLES, FEWEST_SAMPLES = 200, 25
MOST_TOKENS = 40_000  # of text in the samples that are read: 200 lines of 200 tokens, or 40 pages of 1,000
SCHEDULE_FILE = "schedule.json"


def how_many(text_tokens: np.ndarray, asked: int | None) -> int:
    """How many of the first samples are read.

    Args:
        text_tokens: (N,) tokens of prompt and label of each sample, in the order in which they are drawn.
        asked: ``--eval_samples``; None when it was not given.
    """
    if asked is not None:
        return min(asked, len(text_tokens))
    affordable = int(np.searchsorted(np.cumsum(text_tokens), MOST_TOKENS, side="right"))
    return min(len(text_tokens), MOST_SAMPLES, max(FEWEST_SAMPLES, affordable))


class EvaluateWithinShare(TrainerCallback):
    """Makes evaluations rarer, by doubling their distance, until they take at most ``SHARE`` of the training time.

    Args:
        judge: has read ``reading``; what it chose is kept beside its readings, so that a resumed run keeps to it.
        may_change: False where the user gave ``--eval_steps``; then the cost is only said.
    """

    def __init__(self, judge: Judge, reading: str, may_change: bool) -> None:
        self.judge, self.may_change = judge, may_change
        self.cost_s = judge.seconds.get(reading, 0.0)
        self.file = judge.file(reading).parent / SCHEDULE_FILE
        self.steps: deque[float] = deque(maxlen=MEASURED)
        self.num_steps, self.decided, self.last = 0, False, 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if self.may_change and state.global_step and (every := remembered(self.file)):
            state.eval_steps, self.decided = every, True
        self.last = _now()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        now = _now() if self.num_steps < WARM_UP + MEASURED else time.perf_counter()
        self.num_steps += 1
        if self.num_steps > WARM_UP:
            self.steps.append(now - self.last)
        self.last = now
        if not self.decided and self.cost_s and len(self.steps) == MEASURED:
            self._decide(state)

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        now = _now()
        dearer = now - self.last > 1.5 * self.cost_s  # the loss is computed as well, over all evaluation samples
        self.cost_s, self.last = max(self.cost_s, now - self.last), now
        is_last = state.global_step >= state.max_steps
        if self.steps and not is_last and bool(broadcast_object_list([dearer])[0]):
            self._decide(state)

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.last = _now()

    def _decide(self, state: TrainerState) -> None:
        """Settle ``state.eval_steps`` by the pace of the last steps; rank 0 decides for all."""
        step_s = max(statistics.median(self.steps), 1e-6)
        before = int(state.eval_steps)
        every = rarer(before, self.cost_s, step_s, state.max_steps) if self.may_change else before
        every = int(broadcast_object_list([every])[0])
        if every != before or not self.decided:
            self._say(before, every, step_s, state.max_steps)
        if is_main_process():
            self.file.write_text(json.dumps({"eval_steps": every}) + "\n", encoding="utf-8")
        state.eval_steps, self.decided = every, True

    def _say(self, before: int, every: int, step_s: float, max_steps: int) -> None:
        due = f"every {every} steps" if every < max_steps else "at the end"
        instead = f" instead of every {before}" if every != before else ""
        share = self.cost_s / (min(every, max_steps) * step_s)
        logger.info(
            "evaluated %s%s: that takes %.3g s for %d samples, a step %.2g s, so %.0f %% of the training time "
            "(--eval_samples and --eval_steps choose otherwise)",
            *(due, instead, self.cost_s, len(self.judge.samples), step_s, 100 * share),
        )


def rarer(every: int, cost_s: float, step_s: float, max_steps: int) -> int:
    """``every`` doubled until an evaluation takes ``SHARE`` of the steps before it, or none is left but the last."""
    while cost_s > SHARE * every * step_s and every < max_steps:
        every *= 2
    return every


def remembered(file: Path) -> int | None:
    """What an earlier sitting of the run chose; None when it chose nothing, or its file is damaged."""
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["eval_steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
