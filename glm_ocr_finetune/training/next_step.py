"""After a verdict that is not "better": the one thing to try next, by how the losses went where they tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..metrics import Comparison

if TYPE_CHECKING:
    from .trainer import GlmOcrTrainer

HARDLY = 0.95  # a loss above this share of the first one has hardly fallen
CLEARLY = 1.05  # and above this one it has risen
FEW_STEPS = 50


@dataclass(frozen=True)
class Course:
    """How a run went.

    Attributes:
        rate: peak learning rate.
        steps, epochs: optimizer steps made, and passes over the samples.
        losses: training loss, from the first to the last log.
        evaluated: step -> loss on the evaluation samples.
    """

    rate: float
    steps: int
    epochs: float
    losses: list[float]
    evaluated: dict[int, float]


def course_of(trainer: GlmOcrTrainer) -> Course:
    """The course of a finished run."""
    rows = trainer.state.log_history
    return Course(
        rate=float(trainer.args.learning_rate),
        steps=trainer.state.global_step,
        epochs=trainer.state.epoch or 0.0,
        losses=[float(row["loss"]) for row in rows if "loss" in row],
        evaluated={int(row["step"]): float(row["eval_loss"]) for row in rows if "eval_loss" in row},
    )


def after_a_run(comparison: Comparison, course: Course) -> str | None:
    """What to try next, with the flags to type: what the losses ask for, else what the readings do; None for neither.

    Too few readings come first, as nothing can be said before; better ones leave the losses alone.
    """
    if comparison.better or not comparison.enough:
        return comparison.next_step
    return after_the_losses(course) or comparison.next_step


def after_the_losses(course: Course) -> str | None:
    """What the losses ask for: a lower or higher rate, more steps, fewer epochs; None when they fell and stayed low."""
    steps, evaluated = list(course.evaluated), list(course.evaluated.values())
    lower, higher = f"--learning_rate {course.rate / 10:.2g}", f"--learning_rate {course.rate * 10:.2g}"
    series = course.losses if len(course.losses) > 1 else evaluated
    if len(series) > 1 and (not math.isfinite(series[-1]) or series[-1] > CLEARLY * series[0]):
        return f"the loss rose from {series[0]:.3g} to {series[-1]:.3g}: try {lower} (a tenth)"
    if len(evaluated) > 1 and evaluated[-1] > CLEARLY * min(evaluated):
        best = steps[evaluated.index(min(evaluated))]
        return (
            f"the evaluation loss is lowest at step {best} ({min(evaluated):.3g}) and {evaluated[-1]:.3g} at the end, "
            f"so the training samples are being memorised: try --max_steps {best}, or more samples"
        )
    hardly = len(series) < 2 or series[-1] > HARDLY * series[0]
    if hardly and course.steps < FEW_STEPS:
        epochs = math.ceil(course.epochs * FEW_STEPS / max(course.steps, 1))
        return f"{course.steps} steps are few: try --num_train_epochs {max(epochs, 2 * math.ceil(course.epochs))}"
    if hardly:
        return f"the loss has hardly fallen ({series[0]:.3g} to {series[-1]:.3g}): try {higher} (ten times as much)"
    return None


def after_a_probe(comparison: Comparison, name: str) -> str | None:
    """What keeps the tuning from costing so much elsewhere; None when it cost nothing that shows."""
    if comparison.verdict != "worse":
        return None
    return (
        f"mix some of it into the training (--replay_dataset {name}), or train with fewer epochs (--num_train_epochs)"
    )
