"""Fine-tuning: resolve the arguments, build model and data, run the trainer, write what came of it."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from .args import DEFAULT_PROMPT_FORMAT, DataArguments, ModelArguments
from .argument_checks import refuse_with_streaming
from .data.collate import VLMDataCollator
from .data.splits import Splits, load_splits
from .data.streaming import load_streamed
from .data.survey import SetAside
from .folders import LOSS_CURVE_FILE, SET_ASIDE_FILE, TUNED_READINGS, check_writable
from .inputs.images import ImageError
from .inputs.processor import PixelBudget, load_processor
from .inputs.prompt import PromptRenderer
from .messages import heading
from .model.adapters import check_adapter_arguments
from .model.checkpoint import read_sidecar
from .model.loading import check_model, is_tiny_model, load_model, resolve_model_path
from .parse import NOTHING_GIVEN, Given, plan_size, show_settings
from .planning.lengths import fitting_of, settle_checkpointing
from .ranks import is_main_process
from .training.cache_choice import choose_cache, refuse_contradiction
from .training.callbacks import SaveOnSignal, exit_code_of
from .training.checkpoints import name_of
from .training.disk import check_room, ends_in_one_line
from .training.drafting import check_drafts
from .training.judge import Judge, check_metric
from .training.model_card import write_card
from .training.output_folder import compare, finish, held, is_finished, open_folder, says_what_is_saved, take_over
from .training.processes import refuse_one_process_for_many_gpus, settle_sharding
from .training.run_record import arguments_with_effect, record_run, refuse_other_data
from .training.sidecar import describe
from .training.trainer import GlmOcrTrainer, create_trainer
from .training.verdict import build_judge, build_probe, conclude, read_base
from .training_args import TrainingArguments
from .vision.encoder import encoder_for

if TYPE_CHECKING:
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)


__all__ = ["GlmOcrTrainer", "Interrupted", "VLMDataCollator", "create_trainer", "train"]


class Interrupted(Exception):
    """Training was stopped by a signal, after a checkpoint was saved; ``exit_code`` says whether to start it again."""

    def __init__(self, signal_number: int, checkpoint: str) -> None:
        super().__init__(f"stopped by signal {signal_number}; continue with --resume_from_checkpoint {checkpoint}")
        self.signal_number, self.exit_code = signal_number, exit_code_of(signal_number)


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
    logger.info("Settings")
    show_settings((model_args, data_args, training_args), given, training_args.origins, data_args.dry_run)
    if data_args.plan:
        plan(model_args, data_args, training_args, given)
        return None
    check_writable(training_args.output_dir)
    if data_args.dry_run:
        dry_run(model_args, data_args, training_args)
        return None
    with held(Path(training_args.output_dir)):
        train_in_folder(model_args, data_args, training_args)
    return Path(training_args.output_dir)


def train_in_folder(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments) -> None:
    """Begin or continue the run of the output folder; nothing is left to do where it is finished."""
    checkpoint = open_folder(training_args, model_args.model_name)
    arguments = arguments_with_effect(model_args, data_args, training_args)
    earlier = compare(arguments, training_args, checkpoint)
    if checkpoint:
        keep_lengths(checkpoint, data_args, training_args)
    heading("Data")
    model, processor, splits, collator = build(model_args, data_args, training_args)
    record = record_run(arguments, training_args.world_size, model, splits, earlier)
    if checkpoint and earlier:
        refuse_other_data(earlier, record, checkpoint)
    take_over(training_args, record, checkpoint)
    report_data(splits, training_args)
    encoder = encoder_for(model, collator.cache)
    trainer = create_trainer(
        model,
        processor,
        splits.train,
        training_args,
        splits.evaluation,
        str(data_args.prompt_format),
        collator,
        splits.train_tokens,
        encoder,
        describe(model_args, data_args, training_args, splits.train),
        build_judge(splits, collator.renderer, training_args, encoder),
        record,
        data_args.data_sets,
        splits.stream,
    )
    if checkpoint and is_finished(trainer):
        return
    probe = build_probe(data_args, collator.renderer, training_args, encoder)
    check_room(trainer)
    output = Path(training_args.output_dir)
    with ends_in_one_line(output), says_what_is_saved(output):
        tune(trainer, probe, checkpoint, model_args, data_args)
        finish(trainer)


def build(
    model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments
) -> tuple[Any, Glm46VProcessor, Splits, VLMDataCollator]:
    """Model and processor, samples, and what makes batches of them."""
    processor = load_processor(resolve_model_path(model_args.model_name), data_args.min_pixels, data_args.max_pixels)
    renderer = PromptRenderer(processor, str(data_args.prompt_format))
    splits = build_data(model_args, data_args, training_args, renderer)
    set_seed(training_args.seed)  # adapters are drawn at random
    model = build_model(model_args, processor)
    cache = choose_cache(model, processor, splits, training_args)
    return model, processor, splits, VLMDataCollator(renderer, training_args.max_length, cache=cache)


def dry_run(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments) -> None:
    """Build everything and show it; nothing is trained, and only a picture of some samples is written."""
    from .planning.dry_run import show

    model, _, splits, collator = build(model_args, data_args, training_args)
    show(model, splits, collator, training_args)


def tune(
    trainer: GlmOcrTrainer,
    probe: Judge | None,
    checkpoint: Path | None,
    model_args: ModelArguments,
    data_args: DataArguments,
) -> None:
    """Read with the base, train, write the result, and compare it with the base."""
    heading("Training")
    before = read_base(trainer, probe, model_args.model_name, resumed=checkpoint is not None)
    run(trainer, checkpoint)
    heading("Result")
    write(trainer)
    facts: dict[str, Any] = {"model": model_args.model_name, "data set": data_args.data_sets}
    conclude(trainer, probe, before, facts | ({"probe": data_args.probe_dataset} if probe else {}))
    if before.evaluation:
        write_card(trainer, trainer.args.output_dir, TUNED_READINGS)
    if is_main_process():
        model = shlex.quote(str(trainer.args.output_dir))
        logger.info("read with it: python inference.py --model %s --image IMAGE", model)


def plan(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, given: Given) -> None:
    """Show what a run would take here, or what fits on a GPU of the size that is asked for; nothing is kept."""
    from .planning.plan import show_plan
    from .planning.propose import propose
    from .planning.shapes import known_of

    if size := plan_size(data_args.plan):
        known = known_of(model_args.model_name, data_args.min_pixels, data_args.max_pixels)
        if known.note:
            logger.warning("%s", known.note)
        renderer = PromptRenderer(known.processor, str(data_args.prompt_format))
        splits = build_data(model_args, data_args, training_args, renderer)
        propose(size, model_args, training_args, splits, given, known.config)
        return
    processor = load_processor(resolve_model_path(model_args.model_name), data_args.min_pixels, data_args.max_pixels)
    renderer = PromptRenderer(processor, str(data_args.prompt_format))
    splits = build_data(model_args, data_args, training_args, renderer)
    set_seed(training_args.seed)
    model = build_model(model_args, processor)
    collator = VLMDataCollator(renderer, training_args.max_length)
    show_plan(model, model_args, training_args, splits, collator, partial(create_trainer, model, processor))


def resolve(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments) -> None:
    """Settle what depends on more than one of the three, and refuse what contradicts itself."""
    refuse_contradiction(model_args, training_args)
    if data_args.streaming:
        refuse_with_streaming(data_args, training_args)
    if not data_args.dry_run and not (data_args.plan and plan_size(data_args.plan)):
        refuse_one_process_for_many_gpus(training_args)
    settle_sharding(training_args)
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
        if training_args.mtp == "train":
            check_drafts(model_args.model_name)
    training_args.settle_learning_rate(model_args.use_lora, is_tiny_model(model_args.model_name))
    tuned = read_sidecar(resolve_model_path(model_args.model_name))
    if tuned and data_args.asked_prompt is None:
        data_args.prompt = tuned.prompt
        training_args.origins["prompt"] = "what the checkpoint was tuned with"
    if data_args.prompt_format is None:
        data_args.prompt_format = tuned.prompt_format if tuned else DEFAULT_PROMPT_FORMAT
        why = "what the checkpoint was tuned with" if tuned else "what servers send"
        training_args.origins["prompt_format"] = why
    if data_args.eval_split is None and data_args.eval_split_size == 0 and training_args.eval_strategy != "no":
        training_args.without_evaluation("--eval_split_size is 0")


def keep_lengths(checkpoint: Path, data_args: DataArguments, training_args: TrainingArguments) -> None:
    """Take longest sequence and pixel budget from the run that is resumed, whatever would be settled here."""
    began = read_sidecar(checkpoint)
    if began and began.max_length and not training_args.gave_max_length:
        training_args.max_length = began.max_length
        del training_args.origins["max_length"]
    if began and data_args.max_pixels is None:
        budget = PixelBudget.of(load_processor(checkpoint))
        data_args.max_pixels = budget.max_pixels
        data_args.min_pixels = data_args.min_pixels or budget.min_pixels


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


def build_data(
    model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, renderer: PromptRenderer
) -> Splits:
    """The samples, measured, fitted and split; evaluation is turned off when there is nothing to evaluate on."""
    evaluate = training_args.eval_strategy != "no"
    seed = training_args.data_seed if training_args.data_seed is not None else training_args.seed
    given = training_args.gave_max_length
    fitting = fitting_of(model_args, data_args, training_args)
    if data_args.streaming:
        splits = load_streamed(data_args, renderer, training_args, seed, evaluate, fitting)
    else:
        splits = load_splits(data_args, renderer, training_args.max_length, seed, evaluate, fitting)
    training_args.max_length = splits.fitted.max_length
    if settled := splits.fitted.explained(given):
        logger.info("%s", settled)
    if evaluate and splits.evaluation is None:
        training_args.without_evaluation("; ".join(splits.notes))
    settle_checkpointing(model_args, training_args, splits)
    return splits


def report_data(splits: Splits, training_args: TrainingArguments) -> None:
    """Say what is trained on and what was set aside."""
    if not is_main_process():
        return
    if splits.stream:
        for note in splits.notes:
            logger.info("%s", note)
        return
    held_out = len(splits.evaluation) if splits.evaluation is not None else 0
    logger.info("samples: %d to train on, %d to evaluate on%s", len(splits.train), held_out, splits.groups_in_words())
    for note in splits.notes:
        logger.warning("%s", note)
    if file := splits.write_set_aside(training_args.output_dir):
        reasons = ", ".join(f"{count} {reason}" for reason, count in splits.set_aside_by_reason().items())
        logger.warning("set aside: %s; listed in %s", reasons, file)


def run(trainer: GlmOcrTrainer, checkpoint: Path | None) -> None:
    """Train, from a checkpoint when given.

    Raises:
        Interrupted: a signal ended it early, after a checkpoint was saved.
        Diverged: the loss, the gradient or the weights are not finite any more.
    """
    on_signal = SaveOnSignal()
    trainer.add_callback(on_signal)
    trainer.data_collator.on_bad_image = ListedIn(Path(trainer.args.output_dir) / SET_ASIDE_FILE)
    if trainer.stream and checkpoint:
        trainer.stream.load(checkpoint)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        on_signal.restore()
    learning_rate = float(trainer.args.learning_rate)
    trainer.divergence.raise_if_diverged(learning_rate)
    if on_signal.stopped_by is not None:
        saved = Path(trainer.args.output_dir) / name_of(trainer.state.global_step)
        raise Interrupted(on_signal.stopped_by, str(saved))
    if trainer.stream:
        trainer.stream.conclude()
    trainer.look_at_result()
    trainer.divergence.raise_if_diverged(learning_rate)


@dataclass(frozen=True)
class ListedIn:
    """Lists a sample whose image turns out to be unreadable, once; data-loading workers do so too."""

    file: Path

    def __call__(self, sample: Mapping[str, Any], error: ImageError) -> None:
        row = SetAside(str(sample.get("source", "")), error.reason, str(error))
        line = json.dumps(asdict(row), ensure_ascii=False) + "\n"
        if not self.file.is_file() or line not in self.file.read_text(encoding="utf-8"):
            with self.file.open("a", encoding="utf-8") as handle:
                handle.write(line)


def write(trainer: GlmOcrTrainer) -> None:
    """Write the tuned model and the state of the run to the output directory."""
    output = trainer.args.output_dir
    trainer.save_model(output)
    trainer.save_state()
    if is_main_process():
        best = trainer.state.best_model_checkpoint
        kept = f" (the best checkpoint, {Path(best).name})" if best and trainer.args.load_best_model_at_end else ""
        drawn = Path(output) / LOSS_CURVE_FILE
        logger.info("saved %s%s%s", output, kept, f"; losses in {drawn}" if drawn.is_file() else "")
