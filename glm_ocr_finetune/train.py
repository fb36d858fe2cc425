"""Fine-tuning: resolve the arguments, build model and data, run the trainer, write what came of it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from .args import DEFAULT_PROMPT_FORMAT, DataArguments, ModelArguments
from .data.collate import VLMDataCollator
from .data.splits import Splits, load_splits
from .data.survey import SetAside
from .errors import UserError
from .folders import LOSS_CURVE_FILE, SET_ASIDE_FILE, TUNED_READINGS
from .inputs.images import ImageError
from .inputs.processor import load_processor
from .inputs.prompt import PromptRenderer
from .model.adapters import check_adapter_arguments
from .model.checkpoint import Sidecar, read_sidecar
from .model.loading import check_model, load_model, resolve_model_path
from .parse import NOTHING_GIVEN, Given, plan_size, show_settings
from .ranks import is_main_process
from .training.cache_choice import choose_cache, refuse_contradiction
from .training.callbacks import SaveOnSignal
from .training.judge import check_metric
from .training.model_card import write_card
from .training.trainer import GlmOcrTrainer, create_trainer
from .training.verdict import build_judge, build_probe, conclude, read_base, read_probe_again
from .training_args import TrainingArguments

if TYPE_CHECKING:
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)


__all__ = ["GlmOcrTrainer", "Interrupted", "VLMDataCollator", "create_trainer", "train"]


class Interrupted(Exception):
    """Training was stopped by a signal, after a checkpoint was saved."""

    def __init__(self, signal_number: int, checkpoint: str) -> None:
        super().__init__(f"stopped by signal {signal_number}; continue with --resume_from_checkpoint {checkpoint}")
        self.signal_number = signal_number


def train(
    model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, given: Given = NOTHING_GIVEN
) -> Path | None:
    """Fine-tune as the arguments say. Returns the output directory, or None after a dry run or a plan.

    ``given`` tells who gave each argument, for the list of settings that is printed.

    Raises:
        UserError: the arguments, the model or the data cannot work.
        Interrupted: a signal came; a checkpoint was saved.
    """
    resolve(model_args, data_args, training_args)
    show_settings((model_args, data_args, training_args), given, training_args.origins, data_args.dry_run)
    if data_args.plan:
        plan(model_args, data_args, training_args, given)
        return None
    if not data_args.dry_run:
        check_writable(training_args.output_dir)
    checkpoint = find_checkpoint(training_args)
    processor = load_processor(resolve_model_path(model_args.model_name), data_args.min_pixels, data_args.max_pixels)
    renderer = PromptRenderer(processor, str(data_args.prompt_format))
    splits = build_data(data_args, training_args, renderer)
    set_seed(training_args.seed)  # adapters are drawn at random
    model = build_model(model_args, processor)
    cache = choose_cache(model, processor, splits, training_args)
    collator = VLMDataCollator(renderer, training_args.max_length, cache=cache)
    if data_args.dry_run:
        from .planning.dry_run import show

        show(model, splits, collator, training_args)
        return None
    report_data(splits, training_args)
    trainer = create_trainer(
        model,
        processor,
        splits.train,
        training_args,
        splits.evaluation,
        str(data_args.prompt_format),
        collator,
        splits.train_tokens,
    )
    trainer.sidecar = Sidecar(model_args.model_name, data_args.prompt, str(data_args.prompt_format))
    trainer.data_name = data_args.dataset_name
    trainer.judge = build_judge(splits, renderer, training_args, trainer.encoder)
    probe = build_probe(data_args, renderer, training_args, trainer.encoder)
    base = read_base(trainer, checkpoint)
    probed = probe.read(trainer.accelerator.unwrap_model(trainer.model), "probe-base") if probe else None
    run(trainer, collator, checkpoint)
    write(trainer)
    facts: dict[str, Any] = {"model": model_args.model_name, "data set": data_args.dataset_name}
    if probe and probed:
        facts["probe"] = read_probe_again(trainer, probe, probed, str(data_args.probe_dataset))
    if base:
        conclude(trainer, base, facts)
        write_card(trainer, training_args.output_dir, TUNED_READINGS)
    return Path(training_args.output_dir)


def plan(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, given: Given) -> None:
    """Show what a run would take here, or what fits on a GPU of the size that is asked for; nothing is kept."""
    from .planning.plan import show_plan
    from .planning.propose import propose
    from .planning.shapes import known_of

    if size := plan_size(data_args.plan):
        known = known_of(model_args.model_name, data_args.min_pixels, data_args.max_pixels)
        if known.note:
            logger.warning("%s", known.note)
        splits = build_data(data_args, training_args, PromptRenderer(known.processor, str(data_args.prompt_format)))
        propose(size, model_args, training_args, splits, given, known.config)
        return
    processor = load_processor(resolve_model_path(model_args.model_name), data_args.min_pixels, data_args.max_pixels)
    renderer = PromptRenderer(processor, str(data_args.prompt_format))
    splits = build_data(data_args, training_args, renderer)
    set_seed(training_args.seed)
    model = build_model(model_args, processor)
    collator = VLMDataCollator(renderer, training_args.max_length)
    show_plan(model, model_args, training_args, splits, collator, partial(create_trainer, model, processor))


def resolve(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments) -> None:
    """Settle what depends on more than one of the three, and refuse what contradicts itself."""
    refuse_contradiction(model_args, training_args)
    check_metric(training_args)
    check_adapter_arguments(
        model_args.use_lora,
        model_args.lora_rank,
        model_args.lora_alpha,
        model_args.lora_dropout,
        model_args.load_in_4bit and not data_args.plan,
    )
    if not (data_args.plan and plan_size(data_args.plan)):
        check_model(model_args.model_name)
    training_args.settle_learning_rate(model_args.use_lora)
    if data_args.prompt_format is None:
        tuned = read_sidecar(resolve_model_path(model_args.model_name))
        data_args.prompt_format = tuned.prompt_format if tuned else DEFAULT_PROMPT_FORMAT
        why = "what the checkpoint was tuned with" if tuned else "what servers send"
        training_args.origins["prompt_format"] = why
    if data_args.eval_split is None and data_args.eval_split_size == 0 and training_args.eval_strategy != "no":
        training_args.without_evaluation("--eval_split_size is 0")


def check_writable(directory: str) -> None:
    """Find out before training that the output can be written after it."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UserError(f"--output_dir {directory} cannot be written: {error.strerror}; choose another") from error


def find_checkpoint(training_args: TrainingArguments) -> str | None:
    """The checkpoint directory that ``--resume_from_checkpoint`` means: a path, or True for the newest."""
    from transformers.trainer_utils import get_last_checkpoint

    asked = str(training_args.resume_from_checkpoint or "")
    if asked.lower() in ("", "false", "none"):
        return None
    output = Path(training_args.output_dir)
    found = get_last_checkpoint(str(output)) if asked.lower() == "true" and output.is_dir() else asked
    if not found or not (Path(found) / "trainer_state.json").is_file():
        have = sorted(path.name for path in output.glob("checkpoint-*")) if output.is_dir() else []
        raise UserError(
            f"--resume_from_checkpoint {asked}: no checkpoint there (trainer_state.json is missing); "
            f"{output} has: {', '.join(have) or 'none'}"
        )
    return str(found)


def build_model(model_args: ModelArguments, processor: Glm46VProcessor) -> Any:
    """The model, as the arguments say."""
    model, _ = load_model(
        model_args.model_name,
        load_in_4bit=model_args.load_in_4bit,
        freeze_vision_tower=model_args.freeze_vision_tower,
        freeze_multi_modal_projector=model_args.freeze_multi_modal_projector,
        use_lora=model_args.use_lora,
        lora_rank=model_args.lora_rank,
        lora_target=model_args.lora_target,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        processor=processor,
    )
    return model


def build_data(data_args: DataArguments, training_args: TrainingArguments, renderer: PromptRenderer) -> Splits:
    """The samples, surveyed and split; evaluation is turned off when there is nothing to evaluate on."""
    evaluate = training_args.eval_strategy != "no"
    seed = training_args.data_seed if training_args.data_seed is not None else training_args.seed
    splits = load_splits(data_args, renderer, training_args.max_length, seed, evaluate)
    if evaluate and splits.evaluation is None:
        training_args.without_evaluation("; ".join(splits.notes))
    return splits


def report_data(splits: Splits, training_args: TrainingArguments) -> None:
    """Say what is trained on, what is shrunk, and what was set aside."""
    if not is_main_process():
        return
    held_out = len(splits.evaluation) if splits.evaluation is not None else 0
    logger.info("samples: %d to train on, %d to evaluate on", len(splits.train), held_out)
    for note in splits.notes:
        logger.warning("%s", note)
    if splits.num_shrunk:
        logger.warning(
            "%d images are shrunk to keep --max_length %s, but would be served larger; "
            "--max_length %d trains them whole",
            splits.num_shrunk,
            training_args.max_length,
            splits.longest_unshrunk,
        )
    if file := splits.write_set_aside(training_args.output_dir):
        reasons = ", ".join(f"{count} {reason}" for reason, count in splits.set_aside_by_reason().items())
        logger.warning("set aside: %s; listed in %s", reasons, file)


def run(trainer: GlmOcrTrainer, collator: VLMDataCollator, checkpoint: str | None) -> None:
    """Train, from a checkpoint when given. Raises Interrupted when a signal ended it early."""
    on_signal = SaveOnSignal()
    trainer.add_callback(on_signal)
    collator.on_bad_image = _append_to(Path(trainer.args.output_dir) / SET_ASIDE_FILE)
    trainer.train(resume_from_checkpoint=checkpoint)
    if on_signal.received is not None:
        saved = Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}"
        raise Interrupted(on_signal.received, str(saved))


def _append_to(file: Path) -> Any:
    def append(sample: Mapping[str, Any], error: ImageError) -> None:
        row = SetAside(str(sample.get("source", "")), error.reason, str(error))
        with file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")

    return append


def write(trainer: GlmOcrTrainer) -> None:
    """Write the tuned model and the state of the run to the output directory."""
    output = trainer.args.output_dir
    trainer.save_model(output)
    trainer.save_state()
    if is_main_process():
        best = trainer.state.best_model_checkpoint
        kept = f" (the best checkpoint, {Path(best).name})" if best and trainer.args.load_best_model_at_end else ""
        logger.info("saved %s%s; losses in %s", output, kept, Path(output) / LOSS_CURVE_FILE)
        logger.info("read with it: python inference.py --model %s --image IMAGE", output)
