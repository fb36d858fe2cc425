"""After a verdict that is not "better": the one thing to try next, from how the run went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..metrics import Comparison

if TYPE_CHECKING:
    from .trainer import GlmOcrTrainer

HARDLY = 0.95  # a loss above this share of the first one has hardly fallen
CLEARLY = 1.05  # and above this one it has risen
FEW_STEPS = 50
ALREADY_GOOD = 0.02  # character error rate of a base that leaves little to gain


@dataclass(frozen=True)
class Course:
    """How a run went.

    Attributes:
        data: name of the data set.
        base_model: name of the base.
        rate: peak learning rate.
        steps, epochs: optimizer steps made, and passes over the samples.
        losses: training loss, from the first to the last log.
        evaluated: step -> loss on the evaluation samples.
        num_read, num_held_out: evaluation samples that were read, and that there are.
    """

    data: str
    base_model: str
    rate: float
    steps: int
    epochs: float
    losses: list[float]
    evaluated: dict[int, float]
    num_read: int
    num_held_out: int


def course_of(trainer: GlmOcrTrainer, num_read: int, facts: dict[str, Any]) -> Course:
    """The course of a finished run."""
    rows = trainer.state.log_history
    return Course(
        data=str(facts["data set"]),
        base_model=str(facts["model"]),
        rate=float(trainer.args.learning_rate),
        steps=trainer.state.global_step,
        epochs=trainer.state.epoch or 0.0,
        losses=[float(row["loss"]) for row in rows if "loss" in row],
        evaluated={int(row["step"]): float(row["eval_loss"]) for row in rows if "eval_loss" in row},
        num_read=num_read,
        num_held_out=len(trainer.eval_dataset),
    )


def after_a_run(comparison: Comparison, course: Course) -> str | None:
    """What to try next, with the flags to type; None when the tuned model reads better."""
    if comparison.better:
        return None
    if comparison.decisive.interval is None:
        return (
            f"{course.num_read} readings are too few for a verdict; hold more samples back (--eval_split_size, now "
            f"{course.num_held_out} samples) or name more of them with --eval_split"
        )
    trained = after_the_losses(course)
    if trained:
        return trained
    if comparison.verdict == "worse":
        return (
            "the loss fell, but reading is worse, as when labels do not belong to their images: glm-ocr-finetune "
            f"evaluate --model {course.base_model} --dataset_name {course.data} --find_label_errors True ranks the "
            "labels in doubt"
        )
    return after_no_difference(comparison, course)


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


def after_no_difference(comparison: Comparison, course: Course) -> str:
    """More readings where they would tell, else more training."""
    decisive = comparison.decisive
    interval, difference = decisive.interval, decisive.difference or 0.0
    assert interval is not None
    wanted = math.ceil(course.num_read * ((interval.high - interval.low) / 2 / max(abs(difference), 1e-9)) ** 2)
    if course.num_read < wanted <= course.num_held_out:
        return f"a difference of {difference:+.4f} takes about {wanted} readings to tell: try --eval_samples {wanted}"
    if decisive.base is not None and decisive.base < ALREADY_GOOD:
        return (
            f"the base reads this data at {decisive.base:.2%} already; look at what is left in the report: "
            "glm-ocr-finetune report --run OUTPUT_DIR"
        )
    return f"train longer (--num_train_epochs {2 * math.ceil(course.epochs)}), or on more samples"


def after_a_probe(comparison: Comparison, name: str) -> str | None:
    """What keeps the tuning from costing so much elsewhere; None when it cost nothing that shows."""
    if comparison.verdict != "worse":
        return None
    return f"mix some of it into the training: --replay_dataset {name} (its training split)"
