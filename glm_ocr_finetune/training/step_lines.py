"""What a run says of its steps: a line an evaluation, and where it is between two of them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK, PrinterCallback

from ..progress import Line, Pace, duration, progress

if TYPE_CHECKING:
    from transformers import Trainer

logger = logging.getLogger(__name__)

LOGGED_BY_DEFAULT = 10  # --logging_steps of TRL; who gives another wants to see each


class StepLines(TrainerCallback):
    """In place of the bars and dictionaries of transformers; what is logged is theirs as before.

    Attributes:
        base_cer: corpus CER of the base on the evaluation samples, once it is known.
        closing_s: seconds that the reading at the end takes, as far as is known.
    """

    def __init__(self) -> None:
        self.base_cer: float | None = None
        self.closing_s = 0.0
        self.loss: float | None = None
        self.drafts: float | None = None
        self._line = Line("training", "steps", Pace(0), live=False, plain=False)
        self._open = contextlib.ExitStack()

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.close()
        training = progress(
            "training",
            state.max_steps,
            "steps",
            done=state.global_step,
            shown=state.is_world_process_zero,
            live=not args.disable_tqdm,
            plain=False,
        )
        self._line = self._open.enter_context(training)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self._line.at(state.global_step)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._line.what = "evaluating"
        self._line.show()

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "train_runtime" in logs:
            self._conclude(state, logs["train_runtime"])
        if "loss" not in logs:
            return
        self.loss, self.drafts = logs["loss"], logs.get("mtp_acceptance_1")
        self._line.note = "  ".join(self._losses())
        asked = args.logging_steps != LOGGED_BY_DEFAULT
        if not control.should_evaluate and (asked or self._line.is_due()):
            self._say(state, self._losses())

    def evaluated(self, state: TrainerState, metrics: Mapping[str, float], best: bool, reading_s: float) -> None:
        """Say what an evaluation gave; reading took so many seconds, and the one at the end will too."""
        self.closing_s, self._line.what = reading_s, "training"
        self._line.pace.mark(state.global_step)
        self._say(state, [*self._losses(), *in_words(metrics, self.base_cer), *(["best"] if best else [])])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """Take the live line away, however the run has ended."""
        self._open.close()

    def _losses(self) -> list[str]:
        drafts = [] if self.drafts is None else [f"drafts accepted {percent(self.drafts)}"]
        return ([] if self.loss is None else [f"loss {self.loss:.2g}"]) + drafts

    def _say(self, state: TrainerState, parts: list[str]) -> None:
        if not state.is_world_process_zero:
            return
        left = self._line.pace.left_s
        if left is not None and state.global_step < state.max_steps:
            parts = [*parts, f"{duration(left + self.closing_s)} left"]
        logger.info("%s", "  ".join([f"step {state.global_step}", *parts]))
        self._line.was_said()

    def _conclude(self, state: TrainerState, seconds: float) -> None:
        self.close()
        if state.is_world_process_zero:
            loss = "" if self.loss is None else f"; last loss {self.loss:.2g}"
            logger.info("trained to step %d in %s%s", state.global_step, duration(seconds), loss)


def in_words(metrics: Mapping[str, float], base_cer: float | None) -> list[str]:
    """The figures of an evaluation: error rate beside the base's, loops, and answers without an end if there are any.

    Args:
        metrics: as they are logged: ``eval_cer``, ``eval_repetition_rate``, ``eval_stop_rate``, ``eval_loss``.
    """
    cer, loops, stops = (metrics.get(f"eval_{name}") for name in ("cer", "repetition_rate", "stop_rate"))
    if cer is None:
        return [f"evaluation loss {metrics['eval_loss']:.2g}"] if "eval_loss" in metrics else []
    beside = "" if base_cer is None else f" (base {percent(base_cer)})"
    parts = [f"CER {percent(cer)}{beside}"]
    parts += [] if loops is None else [f"loops {percent(loops)}"]
    return parts + ([] if stops is None or stops == 1 else [f"stops {percent(stops)}"])


def percent(share: float) -> str:
    """A share as a percentage, to a tenth, below one to a hundredth."""
    value = 100 * share
    return f"{round(value, 2 if abs(value) < 1 else 1):g} %"


def take_the_place_of_bars(trainer: Trainer, lines: StepLines) -> None:
    """Remove what transformers shows its progress with: bars, dictionaries, a table in notebooks."""
    for one in (PrinterCallback, DEFAULT_PROGRESS_CALLBACK):
        trainer.remove_callback(one)
    trainer.add_callback(lines)
