"""Base against tuned: what is read before the first step, what is read again at the end, and what is said of it.

Both are read as they are served: from the files that are saved, in the type they are saved in, on weights that are
not quantised. What is read on the way, with the model as it trains, only chooses the best checkpoint.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..args import DataArguments
from ..argument_checks import plain
from ..data.splits import Splits, load_other
from ..folders import BASE_READINGS, TUNED_READINGS
from ..inputs.prompt import PromptRenderer
from ..metrics import Scores, ScoringSettings
from ..model.loading import load_for_reading
from ..ranks import gather, is_main_process
from ..training_args import TrainingArguments
from ..vision.encoder import VisionEncoder
from .judge import Judge, report_verdict, summarise, write_summary
from .next_step import after_a_probe, after_a_run, course_of
from .schedule import MOST_SAMPLES, EvaluateWithinShare, how_many
from .trainer import GlmOcrTrainer

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

PROBE_BASE, PROBE_TUNED = "probe-base", "probe-tuned"


def build_judge(
    splits: Splits, renderer: PromptRenderer, training_args: TrainingArguments, encoder: VisionEncoder
) -> Judge | None:
    """The judge of a run, with its fixed share of the evaluation samples; None when nothing is to be read."""
    if splits.evaluation is None or not training_args.eval_generate:
        return None
    text_tokens = splits.evaluation_tokens - splits.evaluation_image_tokens
    return judge_of(splits.evaluation, splits.evaluation_tokens, text_tokens, renderer, training_args, encoder)


def judge_of(
    samples: Dataset,
    lengths: np.ndarray,
    text_tokens: np.ndarray,
    renderer: PromptRenderer,
    training_args: TrainingArguments,
    encoder: VisionEncoder,
) -> Judge:
    """A judge with at most ``--eval_samples`` of the samples, the same ones for the same seed."""
    order = np.random.default_rng(training_args.seed).permutation(len(samples))
    count = how_many(text_tokens[order], training_args.eval_samples)
    if training_args.eval_samples is None and count < min(len(samples), MOST_SAMPLES):
        logger.info("eval_samples = %d (instead of %d: their labels are long)", count, MOST_SAMPLES)
    chosen = np.sort(order[:count])
    given = "per_device_eval_batch_size" not in training_args.origins
    return Judge(
        renderer=renderer,
        samples=samples.select(chosen),
        lengths=lengths[chosen].tolist(),
        batch_size=training_args.per_device_eval_batch_size if given else None,
        settings=ScoringSettings(training_args.text_normalisation, training_args.cer_unit),  # type: ignore[arg-type]
        run=Path(training_args.output_dir),
        encoder=encoder,
    )


def build_probe(
    data_args: DataArguments, renderer: PromptRenderer, training_args: TrainingArguments, encoder: VisionEncoder
) -> Judge | None:
    """The judge of the forgetting probe; None without ``--probe_dataset``."""
    if not data_args.probe_dataset:
        return None
    splits = load_other(data_args, data_args.probe_dataset, renderer)
    text_tokens = splits.train_tokens - splits.train_image_tokens
    return judge_of(splits.train, splits.train_tokens, text_tokens, renderer, training_args, encoder)


@dataclass(frozen=True)
class Before:
    """What the base reads, on the evaluation samples and on the probe; None where there are no such."""

    evaluation: Scores | None
    probe: Scores | None


def read_base(trainer: GlmOcrTrainer, probe: Judge | None, base_model: str, resumed: bool) -> Before:
    """Read with the base before the first step; a resumed run remembers what its first sitting read."""
    named = {BASE_READINGS: trainer.judge, PROBE_BASE: probe}
    judges = {name: judge for name, judge in named.items() if judge}
    scores = {name: judge.remembered(name) if resumed else None for name, judge in judges.items()}
    missing = [name for name in judges if scores[name] is None]
    with _base(trainer, base_model, resumed) if missing else contextlib.nullcontext() as model:
        for name in missing:
            logger.info("reading %d samples with the base model", len(judges[name].samples))
            scores[name] = _read(judges[name], model, name, progress=not trainer.args.disable_tqdm)
    base = scores.get(BASE_READINGS)
    if trainer.judge and plain(trainer.args.eval_strategy) == "steps":
        may_change = "eval_steps" in trainer.args.origins
        trainer.add_callback(EvaluateWithinShare(trainer.judge, BASE_READINGS, may_change))
    if base:
        trainer.step_lines.base_cer = base.values["corpus_cer"]
        logger.info("base model: CER %.4f on %d evaluation samples", base.values["corpus_cer"], len(base.samples))
    return Before(base, scores.get(PROBE_BASE))


def conclude(trainer: GlmOcrTrainer, probe: Judge | None, before: Before, facts: dict[str, Any]) -> None:
    """Read with what was saved, compare it with the base, and say so on the terminal and in ``summary.json``.

    Args:
        facts: what the summary says of the run; ``probe``, where there is one, is named in advice.
    """
    if not before.evaluation and not before.probe:
        return
    output = Path(trainer.args.output_dir)
    if not _seen_by_all_ranks(trainer, output):
        logger.warning("not all ranks see %s, so nothing is read with what is saved: no comparison", output)
        return
    _release(trainer)
    with _served(str(output), trainer.args.device) as model:
        tuned = _read(trainer.judge, model, TUNED_READINGS) if trainer.judge and before.evaluation else None
        probed = _read(probe, model, PROBE_TUNED) if probe and before.probe else None
    if not is_main_process():
        return
    if before.probe and probed:
        facts = facts | {"probe": _conclude_probe(before.probe, probed, str(facts["probe"]))}
    if before.evaluation and tuned and trainer.judge:
        _conclude_run(trainer, trainer.judge, before.evaluation, tuned, facts)


def _conclude_run(trainer: GlmOcrTrainer, judge: Judge, base: Scores, tuned: Scores, facts: dict[str, Any]) -> None:
    step = trainer.state.best_global_step if trainer.args.load_best_model_at_end else trainer.state.global_step
    history = [row for row in trainer.state.log_history if "eval_cer" in row]
    comparison, summary = summarise(base, tuned, history, facts | {"step": step})
    advice = after_a_run(comparison, course_of(trainer))
    file = write_summary(summary | {"next_step": advice}, Path(trainer.args.output_dir))
    report_verdict(comparison, next_step=advice)
    in_training = judge.remembered(f"step-{step}")
    if in_training and in_training.values["corpus_cer"] != tuned.values["corpus_cer"]:
        logger.info(
            "that is what the saved files read; the weights as they were in training: CER %.4f",
            in_training.values["corpus_cer"],
        )
    logger.info("summary in %s, readings in %s", file, judge.file(TUNED_READINGS).parent)


def _conclude_probe(base: Scores, tuned: Scores, name: str) -> dict[str, Any]:
    """What the tuning cost elsewhere, said and returned for the summary."""
    comparison, summary = summarise(base, tuned, [], {"data set": name})
    advice = after_a_probe(comparison, name)
    report_verdict(comparison, advice, f"forgetting probe {name}: ", may_stay=True)
    return summary | {"next_step": advice}


def _read(judge: Judge, model: Any, name: str, progress: bool = False) -> Scores:
    """A reading with a model as it is served: features come from its own tower where that computes in another type."""
    encoder = None if model.device.type == "cpu" else VisionEncoder()
    return judge.read(model, name, encoder, progress)


@contextlib.contextmanager
def _base(trainer: GlmOcrTrainer, base_model: str, resumed: bool) -> Iterator[Any]:
    """The base as it is served: the run's own model before its first step, where that computes the same."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.args.device.type == "cpu" and not resumed and not getattr(model, "is_quantized", False):
        yield model
        return
    with _served(base_model, trainer.args.device) as served:
        yield served


@contextlib.contextmanager
def _served(path: str, device: torch.device) -> Iterator[Any]:
    """A model from its files, as ``infer`` loads it; its memory is free again afterwards."""
    model, _, _ = load_for_reading(path, device_map=str(device))
    try:
        yield model
    finally:
        del model
        _collect()


def _release(trainer: GlmOcrTrainer) -> None:
    """Let go of what only training needs, so that another copy of the model has room."""
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.accelerator.free_memory()
    _collect()


def _collect() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _seen_by_all_ranks(trainer: GlmOcrTrainer, output: Path) -> bool:
    """Whether the saved files lie where every rank can read them, as on a shared disk."""
    trainer.accelerator.wait_for_everyone()
    mine = any((output / name).is_file() for name in ("config.json", "adapter_config.json"))
    return all(gather([mine]))
