"""What happens beside the training loop: leaving in order on a signal, and the picture of the loss."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments as HfTrainingArguments

from ..charts import draw_curves
from ..folders import LOSS_CURVE_FILE
from ..vision.encoder import VisionEncoder, backbone_of

logger = logging.getLogger(__name__)


class SaveOnSignal(TrainerCallback):
    """On Ctrl-C or SIGTERM: finish the step, save a checkpoint, leave. A second signal leaves at once.

    ``received`` is the number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.received = None
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        logger.warning("%s: finishing this step, then saving a checkpoint", signal.Signals(number).name)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def on_step_end(
        self, args: HfTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.received is not None:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._restore()


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
