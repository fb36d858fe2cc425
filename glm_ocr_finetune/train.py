"""Fine-tuning: resolve the arguments, build model and data, run the trainer, write what came of it."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, set_seed
from transformers.trainer_utils import seed_worker
from trl import SFTTrainer

from .args import DataArguments, ModelArguments
from .batching import BatchPlan
from .cache_choice import choose_cache, refuse_contradiction
from .callbacks import CURVE_FILE, DrawLoss, ReleaseTower, SaveOnSignal
from .checkpoint import Sidecar, carried_mtp_tensors, read_sidecar
from .collate import VLMDataCollator
from .data import SET_ASIDE_FILE, SetAside, Splits, load_other, load_splits
from .errors import UserError
from .forward import install
from .images import ImageError
from .judge import Judge, choose_samples, logged_metrics, report_verdict, summarise, write_summary
from .metrics import Scores, ScoringSettings
from .model import checkpoint_dtype, keep_trained_in_fp32, load_model, resolve_model_path
from .parse import NOTHING_GIVEN, Given
from .processor import load_processor, save_processor
from .prompt import PromptRenderer
from .settings import show_settings
from .training_args import TrainingArguments
from .vision_encoder import VisionEncoder

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)

EVALUATION_FOLDER = "evaluation"
BASE_READINGS, TUNED_READINGS = "base", "tuned"

__all__ = ["GlmOcrTrainer", "Interrupted", "VLMDataCollator", "create_trainer", "train"]


class Interrupted(Exception):
    """Training was stopped by a signal, after a checkpoint was saved."""

    def __init__(self, signal_number: int, checkpoint: str) -> None:
        super().__init__(f"stopped by signal {signal_number}; continue with --resume_from_checkpoint {checkpoint}")
        self.signal_number = signal_number


class GlmOcrTrainer(SFTTrainer):
    """TRL's trainer, saving checkpoints that servers load: MTP tensors, both stop ids, pixel budget, sidecar.

    Checkpoints on the way keep the fp32 weights, so that a run resumes exactly; what is written to ``output_dir``
    at the end has the type of the base checkpoint (bf16), which is what it is served in.
    """

    sidecar: Sidecar | None = None
    judge: Judge | None = None
    sample_lengths: np.ndarray | None = None
    encoder: VisionEncoder

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches as :class:`~.batching.BatchPlan` makes them; what has no length is left to transformers."""
        args = self.args
        if not hasattr(self.train_dataset, "__len__"):
            return super().get_train_dataloader()
        workers = args.dataloader_num_workers
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.batch_plan(),
            collate_fn=self.data_collator,
            num_workers=workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            worker_init_fn=partial(seed_worker, num_workers=workers, rank=args.process_index),
        )

    def batch_plan(self) -> BatchPlan:
        """Which samples go into which batch, in every epoch."""
        args = self.args
        by_length = args.train_sampling_strategy == "group_by_length"
        if self.sample_lengths is None and (by_length or args.tokens_per_batch):
            raise UserError("batches by length or by tokens need the samples' lengths: create_trainer(lengths=...)")
        lengths = np.zeros(len(self.train_dataset), np.int32) if self.sample_lengths is None else self.sample_lengths
        return BatchPlan(
            lengths,
            self._train_batch_size,
            args.tokens_per_batch,
            by_length,
            args.seed if args.data_seed is None else args.data_seed,
            epoch=lambda: int(self.state.epoch or 0),
            rank=args.process_index,
            num_ranks=args.world_size,
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The evaluation loss and, with a judge, what reading gives: ``eval_cer``, ``eval_wer``, ``eval_stop_rate``, ..."""
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        if self.judge:
            scores = self.judge.read(self.accelerator.unwrap_model(self.model), f"step-{self.state.global_step}")
            read = logged_metrics(scores, kwargs.get("metric_key_prefix", "eval"))
            self.log(dict(read))
            metrics |= read
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        is_best: bool = super()._determine_best_metric(metrics, trial)
        if is_best and self.args.load_best_model_at_end:
            self.control.should_save = True  # when it happens, not at the next multiple of save_steps
        return is_best

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        directory = Path(output_dir or self.args.output_dir)
        adapter = hasattr(self.model, "peft_config")
        model = self.accelerator.unwrap_model(self.model)
        dtype = None if adapter or not self._is_final(directory) else checkpoint_dtype(model)
        if not adapter and self.args.should_save:
            weights = dict(model.state_dict() if state_dict is None else state_dict)
            state_dict = (cast(weights, dtype) if dtype else weights) | carried_mtp_tensors(model)
        super()._save(str(directory), state_dict)
        if not self.args.should_save:
            return
        if not adapter:
            _correct_config(directory, dtype)
        model.generation_config.save_pretrained(directory)
        save_processor(self.processing_class, directory)
        if self.sidecar:
            self.sidecar.write(directory)

    def _is_final(self, directory: Path) -> bool:
        return directory.resolve() == Path(self.args.output_dir).resolve()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # The MTP tensors of a checkpoint have no place in transformers' model; they are carried from the base.
        known = set(carried_mtp_tensors(self.accelerator.unwrap_model(self.model)))
        load_result.unexpected_keys[:] = [key for key in load_result.unexpected_keys if key not in known]
        super()._issue_warnings_after_load(load_result)


def cast(weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The floating-point tensors of ``weights`` in ``dtype``, the others as they are."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}


def _correct_config(directory: Path, dtype: torch.dtype | None) -> None:
    """Make config.json name the type the weights are stored in, and drop what the trainer set for itself."""
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config.pop("use_cache", None)  # the trainer turns the cache off; whoever reads with the model wants it
    if dtype:
        for part in (config, config["text_config"], config["vision_config"]):
            part["dtype"] = str(dtype).removeprefix("torch.")
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def create_trainer(
    model: Any,
    processor: Glm46VProcessor,
    train_dataset: Dataset,
    training_args: TrainingArguments,
    eval_dataset: Dataset | None = None,
    prompt_format: str = "serve",
    collator: VLMDataCollator | None = None,
    lengths: np.ndarray | None = None,
) -> GlmOcrTrainer:
    """A trainer for GLM-OCR.

    Args:
        model: from ``load_model``.
        processor: from ``load_model``.
        train_dataset: samples as ``format_for_vlm`` yields them.
        training_args: settled here as far as it is not yet.
        eval_dataset: samples to compute the evaluation loss on; without them evaluation is turned off.
        prompt_format: ``serve`` or ``no_think``.
        collator: makes the batches; by default one for ``prompt_format`` and ``training_args.max_length``. What it
            finds in its cache is not encoded again, and what it does not find goes into it.
        lengths: (number of training samples,) tokens of each, for batches by length or by tokens.
    """
    training_args.settle_learning_rate(hasattr(model, "peft_config"))
    if eval_dataset is None and training_args.eval_strategy != "no":
        training_args.without_evaluation("there is nothing to evaluate on")
    collator = collator or VLMDataCollator(processor, prompt_format, training_args.max_length)
    padding_free, training_args.padding_free = training_args.padding_free, False  # TRL refuses its own with images
    trainer = GlmOcrTrainer(
        model=model,
        processing_class=processor,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=collator,
        callbacks=[DrawLoss()],
    )
    training_args.padding_free = padding_free
    trainer.sample_lengths = lengths
    compute_what_is_needed(trainer, collator, padding_free)
    if training_args.early_stopping_patience is not None:
        trainer.add_callback(EarlyStoppingCallback(training_args.early_stopping_patience))
    keep_trained_in_fp32(trainer.model)  # TRL puts the adapters of a 4-bit model into bf16
    return trainer


def compute_what_is_needed(trainer: GlmOcrTrainer, collator: VLMDataCollator, padding_free: bool) -> None:
    """Put :mod:`.forward` in the place of TRL's fused head, and let a tower go that has nothing left to encode."""
    model = trainer.model.get_base_model() if hasattr(trainer.model, "peft_config") else trainer.model
    frozen = not any(parameter.requires_grad for parameter in model.model.visual.parameters())
    trainer.encoder = VisionEncoder(getattr(collator, "cache", None), frozen)
    install(model, trainer.encoder, padding_free)
    if trainer.encoder.cache and trainer.args.world_size == 1:
        trainer.add_callback(ReleaseTower(trainer.encoder))


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
    set_seed(training_args.seed)  # adapters are drawn at random
    model, processor = build_model(model_args, data_args)
    splits = build_data(data_args, training_args, processor)
    cache = choose_cache(model, processor, splits, training_args)
    collator = VLMDataCollator(processor, str(data_args.prompt_format), training_args.max_length, cache=cache)
    if data_args.dry_run:
        from .dry_run import show

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
    trainer.judge = build_judge(splits, collator.renderer, training_args, trainer.encoder)
    probe = build_probe(data_args, collator.renderer, training_args, trainer.encoder)
    base = read_base(trainer, checkpoint)
    probed = probe.read(trainer.accelerator.unwrap_model(trainer.model), "probe-base") if probe else None
    run(trainer, collator, checkpoint)
    write(trainer)
    facts: dict[str, Any] = {"model": model_args.model_name, "data set": data_args.dataset_name}
    if probe and probed:
        facts["probe"] = read_probe_again(trainer, probe, probed, str(data_args.probe_dataset))
    if base:
        conclude(trainer, base, facts)
    return Path(training_args.output_dir)


def plan(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, given: Given) -> None:
    """Show what a run would take here, or what fits on a GPU of the size that is asked for; nothing is kept."""
    from .plan import plan_size, propose, show_plan

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
    if data_args.plan:
        from .plan import plan_size

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
    folder = Path(training_args.output_dir) / EVALUATION_FOLDER
    return Judge(renderer, chosen, chosen_lengths, training_args.per_device_eval_batch_size, settings, folder, encoder)


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
    if trainer.args.process_index == 0:
        report_verdict(comparison, f"forgetting probe {name}: ", may_stay=True)
    return summary


def read_base(trainer: GlmOcrTrainer, checkpoint: str | None) -> Scores | None:
    """Read with the base before the first step; a resumed run remembers what its first sitting read."""
    if trainer.judge is None:
        return None
    scores = trainer.judge.remembered(BASE_READINGS) if checkpoint else None
    if scores is None and checkpoint:
        logger.warning("the run that is resumed did not read with its base: no comparison at the end")
        return None
    scores = scores or trainer.judge.read(trainer.accelerator.unwrap_model(trainer.model), BASE_READINGS)
    if trainer.args.process_index == 0:
        logger.info(
            "the base reads %d evaluation samples at CER %.4f", len(scores.samples), scores.values["corpus_cer"]
        )
    return scores


def conclude(trainer: GlmOcrTrainer, base: Scores, facts: dict[str, Any]) -> None:
    """Compare what is saved with the base, on the terminal and in ``summary.json``."""
    if trainer.judge is None or trainer.args.process_index != 0:
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
    logger.info("summary in %s, readings in %s", file, trainer.judge.directory)


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
        with file.open("a") as handle:
            handle.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")

    return append


def write(trainer: GlmOcrTrainer) -> None:
    """Write the tuned model and the state of the run to the output directory."""
    output = trainer.args.output_dir
    trainer.save_model(output)
    trainer.save_state()
    if trainer.args.process_index == 0:
        best = trainer.state.best_model_checkpoint
        kept = f" (the best checkpoint, {Path(best).name})" if best and trainer.args.load_best_model_at_end else ""
        logger.info("saved %s%s; losses in %s", output, kept, Path(output) / CURVE_FILE)
        logger.info("read with it: python inference.py --model %s --image IMAGE", output)
