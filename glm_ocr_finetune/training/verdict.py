"""Base against tuned: what is read before the first step, what is read again at the end, and what is said of it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..args import DataArguments
from ..data.splits import Splits, load_other
from ..folders import BASE_READINGS, TUNED_READINGS
from ..inputs.prompt import PromptRenderer
from ..metrics import Scores, ScoringSettings
from ..ranks import is_main_process
from ..training_args import TrainingArguments
from ..vision.encoder import VisionEncoder
from .judge import Judge, choose_samples, report_verdict, summarise, write_summary
from .trainer import GlmOcrTrainer

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

logger = logging.getLogger(__name__)


def build_judge(
    splits: Splits, renderer: PromptRenderer, training_args: TrainingArguments, encoder: VisionEncoder
) -> Judge | None:
    """The judge of a run, with its fixed share of the evaluation samples; None when nothing is to be read."""
    if splits.evaluation is None or not training_args.eval_generate:
        return None
    return judge_of(splits.evaluation, splits.evaluation_tokens, renderer, training_args, encoder)


def judge_of(
    samples: Dataset,
    lengths: np.ndarray,
    renderer: PromptRenderer,
    training_args: TrainingArguments,
    encoder: VisionEncoder,
) -> Judge:
    """A judge with at most ``--eval_samples`` of the samples."""
    chosen, chosen_lengths = choose_samples(samples, lengths, training_args.eval_samples, training_args.seed)
    settings = ScoringSettings(training_args.text_normalisation, training_args.cer_unit)  # type: ignore[arg-type]
    run = Path(training_args.output_dir)
    return Judge(renderer, chosen, chosen_lengths, training_args.per_device_eval_batch_size, settings, run, encoder)


def build_probe(
    data_args: DataArguments, renderer: PromptRenderer, training_args: TrainingArguments, encoder: VisionEncoder
) -> Judge | None:
    """The judge of the forgetting probe; None without ``--probe_dataset``."""
    if not data_args.probe_dataset:
        return None
    splits = load_other(data_args, data_args.probe_dataset, renderer, None)
    return judge_of(splits.train, splits.train_tokens, renderer, training_args, encoder)


def read_probe_again(trainer: GlmOcrTrainer, probe: Judge, before: Scores, name: str) -> dict[str, Any]:
    """What the tuning cost elsewhere: the probe before and after, said and returned for the summary."""
    after = probe.read(trainer.accelerator.unwrap_model(trainer.model), "probe-tuned")
    comparison, summary = summarise(before, after, [], {"data set": name})
    report_verdict(comparison, f"forgetting probe {name}: ", may_stay=True)
    return summary


def read_base(trainer: GlmOcrTrainer, checkpoint: str | None) -> Scores | None:
    """Read with the base before the first step; a resumed run remembers what its first sitting read."""
    if trainer.judge is None:
        return None
    scores = trainer.judge.remembered(BASE_READINGS) if checkpoint else None
    if scores is None and checkpoint:
        logger.warning("the resumed run has no base-model readings, so there is no comparison at the end")
        return None
    scores = scores or trainer.judge.read(trainer.accelerator.unwrap_model(trainer.model), BASE_READINGS)
    logger.info("base model: CER %.4f on %d evaluation samples", scores.values["corpus_cer"], len(scores.samples))
    return scores


def conclude(trainer: GlmOcrTrainer, base: Scores, facts: dict[str, Any]) -> None:
    """Compare what is saved with the base, on the terminal and in ``summary.json``."""
    if trainer.judge is None or not is_main_process():
        return
    step = trainer.state.best_global_step if trainer.args.load_best_model_at_end else trainer.state.global_step
    tuned = trainer.judge.remembered(f"step-{step}")
    if tuned is None:
        logger.warning("nothing was read with what is saved (step %s): no comparison with the base", step)
        return
    shutil.copy(trainer.judge.file(f"step-{step}"), trainer.judge.file(TUNED_READINGS))
    history = [row for row in trainer.state.log_history if "eval_cer" in row]
    comparison, summary = summarise(base, tuned, history, facts | {"step": step})
    file = write_summary(summary, Path(trainer.args.output_dir))
    report_verdict(comparison)
    logger.info("summary in %s, readings in %s", file, trainer.judge.file(TUNED_READINGS).parent)
