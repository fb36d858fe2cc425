"""Fine-tuning: resolve the arguments, build model and data, run the trainer, write what came of it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from .args import DataArguments, ModelArguments
from .data.collate import VLMDataCollator
from .data.splits import SET_ASIDE_FILE, Splits, load_splits
from .data.survey import SetAside
from .errors import UserError
from .inputs.images import ImageError
from .inputs.processor import load_processor
from .inputs.prompt import PromptRenderer
from .model.checkpoint import Sidecar, read_sidecar
from .model.loading import load_model, resolve_model_path
from .parse import NOTHING_GIVEN, Given, show_settings
from .training.cache_choice import choose_cache, refuse_contradiction
from .training.callbacks import CURVE_FILE, SaveOnSignal
from .training.checkpoints import name_of
from .training.judge import Judge
from .training.output_folder import compare, finish, is_finished, open_folder, take_over
from .training.processes import refuse_one_process_for_many_gpus, settle_shared_weights
from .training.run_record import arguments_with_effect, record_run, refuse_other_data
from .training.trainer import GlmOcrTrainer, create_trainer, encoder_for
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
    if data_args.dry_run:
        dry_run(model_args, data_args, training_args)
        return None
    check_writable(training_args.output_dir)
    checkpoint = open_folder(training_args, model_args.model_name)
    arguments = arguments_with_effect(model_args, data_args, training_args)
    earlier = compare(arguments, training_args, checkpoint)
    model, processor, splits, collator = build(model_args, data_args, training_args)
    record = record_run(arguments, training_args.world_size, model, splits, earlier)
    if checkpoint and earlier:
        refuse_other_data(earlier, record, checkpoint)
    take_over(training_args, record, checkpoint)
    report_data(splits, training_args)
    encoder = encoder_for(model, collator)
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
        Sidecar(model_args.model_name, data_args.prompt, str(data_args.prompt_format)),
        build_judge(splits, collator.renderer, training_args, encoder),
        record,
    )
    if checkpoint and is_finished(trainer):
        return Path(training_args.output_dir)
    probe = build_probe(data_args, collator.renderer, training_args, encoder)
    tune(trainer, probe, checkpoint, model_args, data_args)
    finish(trainer)
    return Path(training_args.output_dir)


def build(
    model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments
) -> tuple[Any, Glm46VProcessor, Splits, VLMDataCollator]:
    """Model and processor, samples, and what makes batches of them."""
    set_seed(training_args.seed)  # adapters are drawn at random
    model, processor = build_model(model_args, data_args)
    splits = build_data(data_args, training_args, processor)
    cache = choose_cache(model, processor, splits, training_args)
    collator = VLMDataCollator(processor, str(data_args.prompt_format), training_args.max_length, cache=cache)
    return model, processor, splits, collator


def dry_run(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments) -> None:
    """Build everything and show it; nothing is trained or written."""
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
    base = read_base(trainer, str(checkpoint) if checkpoint else None)
    probed = probe.read(trainer.accelerator.unwrap_model(trainer.model), "probe-base") if probe else None
    run(trainer, checkpoint)
    write(trainer)
    facts: dict[str, Any] = {"model": model_args.model_name, "data set": data_args.dataset_name}
    if probe and probed:
        facts["probe"] = read_probe_again(trainer, probe, probed, str(data_args.probe_dataset))
    if base:
        conclude(trainer, base, facts)


def plan(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, given: Given) -> None:
    """Show what a run would take here, or what fits on a GPU of the size that is asked for; nothing is kept."""
    from .planning.plan import show_plan
    from .planning.propose import plan_size, propose

    if size := plan_size(data_args.plan):
        path = resolve_model_path(model_args.model_name)
        processor = load_processor(path, data_args.min_pixels, data_args.max_pixels)
        propose(size, model_args, training_args, build_data(data_args, training_args, processor), given)
        return
    set_seed(training_args.seed)
    model, processor = build_model(model_args, data_args)
    splits = build_data(data_args, training_args, processor)
    collator = VLMDataCollator(processor, str(data_args.prompt_format), training_args.max_length)
    show_plan(model, model_args, training_args, splits, collator, partial(create_trainer, model, processor))


def resolve(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments) -> None:
    """Settle what depends on more than one of the three, and refuse what contradicts itself."""
    refuse_contradiction(model_args, training_args)
    if not (data_args.dry_run or data_args.plan):
        refuse_one_process_for_many_gpus(training_args)
    settle_shared_weights(training_args, reads_a_probe=data_args.probe_dataset is not None)
    if data_args.plan:
        from .planning.propose import plan_size

        plan_size(data_args.plan)
    training_args.settle_learning_rate(model_args.use_lora)
    if data_args.prompt_format is None:
        tuned = read_sidecar(resolve_model_path(model_args.model_name))
        data_args.prompt_format = tuned.prompt_format if tuned else "serve"
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


def build_model(model_args: ModelArguments, data_args: DataArguments) -> tuple[Any, Glm46VProcessor]:
    """The model and its processor, as the arguments say."""
    return load_model(
        model_args.model_name,
        load_in_4bit=model_args.load_in_4bit,
        freeze_vision_tower=model_args.freeze_vision_tower,
        freeze_multi_modal_projector=model_args.freeze_multi_modal_projector,
        use_lora=model_args.use_lora,
        lora_rank=model_args.lora_rank,
        lora_target=model_args.lora_target,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        min_pixels=data_args.min_pixels,
        max_pixels=data_args.max_pixels,
    )


def build_data(data_args: DataArguments, training_args: TrainingArguments, processor: Glm46VProcessor) -> Splits:
    """The samples, surveyed and split; evaluation is turned off when there is nothing to evaluate on."""
    renderer = PromptRenderer(processor, str(data_args.prompt_format))
    evaluate = training_args.eval_strategy != "no"
    seed = training_args.data_seed if training_args.data_seed is not None else training_args.seed
    splits = load_splits(data_args, renderer, training_args.max_length, seed, evaluate)
    if evaluate and splits.evaluation is None:
        training_args.without_evaluation("; ".join(splits.notes))
    return splits


def report_data(splits: Splits, training_args: TrainingArguments) -> None:
    """Say what is trained on, what is shrunk, and what was set aside."""
    if training_args.process_index != 0:
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


def run(trainer: GlmOcrTrainer, checkpoint: Path | None) -> None:
    """Train, from a checkpoint when given.

    Raises:
        Interrupted: a signal ended it early, after a checkpoint was saved.
        Diverged: the loss, the gradient or the weights are no numbers any more.
    """
    on_signal = SaveOnSignal()
    trainer.add_callback(on_signal)
    trainer.data_collator.on_bad_image = ListedIn(Path(trainer.args.output_dir) / SET_ASIDE_FILE)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        on_signal.restore()
    trainer.divergence.raise_if_diverged(float(trainer.args.learning_rate))
    if on_signal.stopped_by is not None:
        saved = Path(trainer.args.output_dir) / name_of(trainer.state.global_step)
        raise Interrupted(on_signal.stopped_by, str(saved))


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
    if trainer.args.process_index == 0:
        best = trainer.state.best_model_checkpoint
        kept = f" (the best checkpoint, {Path(best).name})" if best and trainer.args.load_best_model_at_end else ""
        drawn = Path(output) / CURVE_FILE
        logger.info("saved %s%s%s", output, kept, f"; losses in {drawn}" if drawn.is_file() else "")
        logger.info("read with it: python inference.py --model %s --image IMAGE", output)
