"""What happens beside the training loop: leaving in order on a signal, and the picture of the loss."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState
from transformers.training_args import TrainingArguments as HfTrainingArguments

from ..charts import draw_curves
from ..folders import LOSS_CURVE_FILE
from ..ranks import greatest
from ..vision.encoder import VisionEncoder, backbone_of

logger = logging.getLogger(__name__)

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # SIGUSR1 is Slurm's word before the time is over
OF_MACHINES = ("SIGTERM", "SIGUSR1")  # a scheduler or a spot machine sends these, a person at a terminal the others
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: a failure that is not one, the same command may be started again
SAME_SIGNAL_S = 2.0  # a launcher passes on what the terminal has already sent to every process


def exit_code_of(number: int) -> int:
    """What a process says that a signal has ended after it saved: ``TRY_AGAIN``, or 128 and the signal as shells do."""
    return TRY_AGAIN if signal.Signals(number).name in OF_MACHINES else 128 + number


class SaveOnSignal(TrainerCallback):
    """On a signal to any rank: all ranks finish the step, save a checkpoint and leave. A second one leaves at once.

    SIGTERM after SIGUSR1 is no second one: a scheduler warns with the one and ends the job with the other.

    ``stopped_by`` is the number of the signal that ended training, on all ranks alike; None while none did.
    """

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._received = 0
        self._when = 0.0
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.stopped_by, self._received = None, 0
        if threading.current_thread() is not threading.main_thread():
            return  # where Python allows no handlers
        for name in SIGNALS:
            number = getattr(signal, name, None)  # Windows has two of them
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):  # as nohup sets it
                continue
            self._previous[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if not self._received:
            self._received, self._when = number, time.monotonic()
            logger.warning("%s: finishing this step, then saving a checkpoint; once more leaves at once", name)
        elif name == "SIGTERM" and signal.Signals(self._received).name == "SIGUSR1":
            self._received, self._when = number, time.monotonic()
            logger.warning("SIGTERM after SIGUSR1: the checkpoint is still being saved")
        elif time.monotonic() - self._when > SAME_SIGNAL_S:
            logger.warning("%s again: leaving without a checkpoint of this step", name)
            self.restore()
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def restore(self) -> None:
        """Give the signals back to whoever had them before training."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def on_step_end(
        self, args: HfTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        (number,) = greatest(self._received)
        if number:
            self.stopped_by = number
            control.should_save = True
            control.should_training_stop = True
            if state.is_world_process_zero and not self._received:
                logger.warning("%s on another rank: saving a checkpoint and leaving", signal.Signals(number).name)
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.restore()


class ReleaseTower(TrainerCallback):
    """Moves the vision tower off the GPU after an epoch in which every image came from the cache.

    It comes back by itself when an image has to be encoded after all.
    """

    def __init__(self, encoder: VisionEncoder) -> None:
        self.encoder = encoder

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.encoder.live = 0

    def on_epoch_end(self, args: HfTrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        visual = backbone_of(kwargs["model"]).visual
        if self.encoder.live == 0 and visual.device.type == "cuda":
            visual.to("cpu")
            torch.cuda.empty_cache()
            logger.info("every image is in the cache: the vision tower has left the GPU")


class DrawLoss(TrainerCallback):
    """Keeps ``loss.svg`` beside the checkpoints up to date."""

    def _draw(self, args: HfTrainingArguments, state: TrainerState) -> None:
        if not state.is_world_process_zero:
            return
        curves = {
            "training loss": [(row["step"], row["loss"]) for row in state.log_history if "loss" in row],
            "evaluation loss": [(row["step"], row["eval_loss"]) for row in state.log_history if "eval_loss" in row],
        }
        if any(curves.values()):
            (Path(args.output_dir) / LOSS_CURVE_FILE).write_text(
                draw_curves(curves, x_label="step", y_label="loss"), encoding="utf-8"
            )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._draw(args, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._draw(args, state)


def evaluations_since_best(state: TrainerState) -> int:
    """How many evaluations there were after the best one; from the log, which a resumed run has too."""
    best = state.best_global_step or 0
    return sum("eval_loss" in row and row["step"] > best for row in state.log_history)


def remember_callbacks(state: TrainerState, callbacks: Iterable[Any]) -> None:
    """Put the state of callbacks that have one into the state of the run, as transformers does when it saves."""
    known = state.stateful_callbacks
    for one in callbacks:
        if isinstance(one, ExportableState):
            name = type(one).__name__
            known[name] = [*known[name], one.state()] if isinstance(known.get(name), list) else one.state()
