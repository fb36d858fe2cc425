"""The trainer: TRL's, with batches, steps and checkpoints as GLM-OCR needs them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback
from transformers.trainer_utils import seed_worker
from trl import SFTTrainer

from ..args import DEFAULT_PROMPT_FORMAT
from ..data.batching import BatchPlan
from ..data.collate import VLMDataCollator
from ..errors import UserError
from ..inputs.processor import save_processor
from ..inputs.prompt import PromptRenderer
from ..model.checkpoint import Sidecar, carried_mtp_tensors
from ..model.loading import checkpoint_dtype
from ..model.parts import keep_trained_in_fp32
from ..training_args import TrainingArguments, one_line
from ..vision.encoder import VisionEncoder
from .callbacks import DrawLoss, ReleaseTower
from .forward import install
from .judge import Judge, logged_metrics
from .model_card import write_card

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import Glm46VProcessor


class GlmOcrTrainer(SFTTrainer):
    """TRL's trainer, saving checkpoints that servers load: MTP tensors, both stop ids, pixel budget, sidecar.

    Checkpoints on the way keep the fp32 weights, so that a run resumes exactly; what is written to ``output_dir``
    at the end has the type of the base checkpoint (bf16), which is what it is served in.
    """

    sidecar: Sidecar | None = None
    data_name: str | None = None
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
            multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None),
            in_order=getattr(args, "dataloader_in_order", True),
            worker_init_fn=partial(seed_worker, num_workers=workers, rank=args.process_index),
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """All evaluation samples; ``--dataloader_drop_last`` is for training."""
        drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop_last

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
            shuffled=args.train_sampling_strategy != "sequential",
            drop_last=args.dataloader_drop_last,
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
        write_card(self, directory)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The card of this package in the place of TRL's; called at each checkpoint and before a push to the hub."""
        write_card(self, self.args.output_dir)

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
    prompt_format: str = DEFAULT_PROMPT_FORMAT,
    collator: VLMDataCollator | None = None,
    lengths: np.ndarray | None = None,
) -> GlmOcrTrainer:
    """A trainer for GLM-OCR.

    Args:
        model: from ``load_model``.
        processor: from ``load_model``.
        train_dataset: rows of :class:`~..data.splits.Splits`, or samples as ``format_for_vlm`` yields them.
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
    collator = collator or VLMDataCollator(PromptRenderer(processor, prompt_format), training_args.max_length)
    collator.pad_to_multiple_of = training_args.pad_to_multiple_of or 1
    padding_free, training_args.padding_free = training_args.padding_free, False  # TRL refuses its own with images
    with one_line({}):
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
