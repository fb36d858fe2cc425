"""What a run does when its loss or its gradient is not finite any more: it stops, and none of it is kept as a result."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from ..errors import UserError
from ..ranks import greatest
from .sharding import part_here

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

STEPS = 3  # in a row that end a run; fewer may be the fault of one sample, and the weights do not move on them
NAMED = 8  # rows that a message names


class Diverged(UserError):
    """Training has no finite loss, gradient or weights any more; nothing was saved of what came of it."""


class StopOnDivergence(TrainerCallback):
    """Ends training after ``STEPS`` steps in a row without a finite loss and gradient, on all ranks alike.

    Args:
        rows: gives the sources of the samples of the step that has just been made.

    Attributes:
        verdict: what is wrong with the run; None while all is well.
    """

    def __init__(self, rows: Callable[[], Sequence[str]]) -> None:
        self.rows = rows
        self.verdict: str | None = None
        self._in_a_row = 0
        self._loss_is_finite: Tensor | None = None
        self._gradient_is_finite = True

    def see_loss(self, loss: Tensor) -> None:
        """Look at the loss of a batch; nothing waits for the device."""
        finite = torch.isfinite(loss.detach()).all()
        self._loss_is_finite = finite if self._loss_is_finite is None else self._loss_is_finite & finite

    def see_gradient(self, norm: Any) -> bool:
        """Look at the norm of the gradient of a step; False when the weights must not move by it."""
        self._gradient_is_finite = norm is None or math.isfinite(float(norm))
        return self._gradient_is_finite

    def see_evaluation(self, loss: float, step: int, control: TrainerControl) -> None:
        """Look at an evaluation loss; one that is not finite ends the run at once."""
        if not math.isfinite(loss):
            self.verdict = f"the evaluation loss is {loss} at step {step}"
            _stop(control)

    def see_result(self, loss: float, step: int) -> None:
        """Look at the loss of the model that is about to be saved."""
        if not math.isfinite(loss):
            self.verdict = f"the loss is {loss} after step {step}"

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = self._loss_is_finite is not None and not bool(self._loss_is_finite)
        broken = greatest(int(loss), int(not self._gradient_is_finite))
        self._loss_is_finite, self._gradient_is_finite = None, True
        if not any(broken):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        what = " and ".join(name for name, one in zip(("loss", "gradient"), broken, strict=True) if one)
        if state.is_world_process_zero:
            kept = "; the weights stay as they are" if broken[1] else ""
            logger.warning("step %d: the %s is not finite%s", state.global_step, what, kept)
        if self._in_a_row >= STEPS:
            rows = listed(self.rows())
            self.verdict = (
                f"the {what} is not finite for {STEPS} steps in a row, up to step {state.global_step} ({rows})"
            )
        if self.verdict:
            _stop(control)

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        if self.verdict:
            _stop(control)

    def raise_if_diverged(self, learning_rate: float) -> None:
        """Raise Diverged when this has ended the run."""
        if self.verdict:
            raise Diverged(
                f"training has diverged: {self.verdict}; the result is not saved; lower --learning_rate (it is "
                f"{learning_rate:g}), or look for what is odd in the data"
            )


def _stop(control: TrainerControl) -> None:
    control.should_training_stop = True
    control.should_save = control.should_evaluate = False


def listed(rows: Sequence[str]) -> str:
    """The first rows by name, and how many more there are."""
    if not rows:
        return "rows not known"
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f"rows {', '.join(rows[:NAMED])}{more}"


def refuse_broken_weights(model: nn.Module, step: int) -> None:
    """Raise Diverged, on all ranks alike, when a trained weight is not finite."""
    local = (part_here(weight) for weight in model.parameters() if weight.requires_grad)
    broken = any(not bool(torch.isfinite(value).all()) for value in local)
    if any(greatest(int(broken))):
        raise Diverged(
            f"training has diverged: the weights are not finite after step {step}; they are not saved; lower --learning_rate"
        )
