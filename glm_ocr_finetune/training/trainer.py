"""The trainer: TRL's, with batches, steps and checkpoints as GLM-OCR needs them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from ..args import DEFAULT_PROMPT_FORMAT
from ..data.batching import BatchPlan
from ..data.collate import VLMDataCollator
from ..errors import UserError
from ..folders import STATE_FILE
from ..inputs.processor import save_processor
from ..inputs.prompt import IGNORED, PromptRenderer
from ..model.checkpoint import Sidecar, correct_config, stored_as
from ..model.loading import checkpoint_dtype
from ..model.parts import keep_trained_in_fp32
from ..model.tiny import is_tiny
from ..training_args import TrainingArguments, one_line
from ..vision.encoder import VisionEncoder, encoder_for, without_adapters
from .callbacks import evaluations_since_best, remember_callbacks
from .checkpoints import damage, name_of, remove_older, written_whole
from .compiling import compiled_layers
from .divergence import StopOnDivergence, refuse_broken_weights
from .drafting import DraftingTrainer, Drafts, drafts_of
from .forward import replace_forward
from .judge import Judge, logged_metrics
from .loaders import EachOnce, Samples, in_order, load_batches, rows_of_step, samples_of_step
from .model_card import write_card
from .processes import share_weights
from .run_record import RunRecord
from .spikes import LeaveOutSpikes
from .step_lines import StepLines, take_the_place_of_bars
from .stream_loader import StreamLoader
from .trainer_parts import callbacks_for, without_trls_own

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import Glm46VProcessor

    from ..data.stream import Stream

logger = logging.getLogger(__name__)


class GlmOcrTrainer(DraftingTrainer):
    """TRL's trainer, saving checkpoints that servers load: MTP tensors, both stop ids, pixel budget, sidecar.

    The loss is in :mod:`.forward`: TRL's ``compute_loss`` calls ``model(..., fused_lm_head=True)``.

    Checkpoints on the way keep the fp32 weights, so that a run resumes exactly; what is written to ``output_dir``
    at the end has the type of the base checkpoint (bf16), which is what it is served in; see :func:`.stored_as`.

    Args:
        encoder: gives the image features, the cached ones without work.
        sample_lengths: (number of training samples,) tokens of each, for batches by length or by tokens.
        sidecar: written into every checkpoint.
        judge: reads at every evaluation.
        record: what the run was started with; written into every checkpoint.
        padding_free: lay the samples of a batch out as one row. TRL's argument of this name is another thing, which
            it refuses with images. It is off in ``args``, a copy of the given ones, as is ``save_total_limit``.
        data_name: what the model card says it was trained on.
        stream: what is trained on instead of ``train_dataset``, which is then its head.
        drafts: the multi-token-prediction layer, where it is trained.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        data_collator: VLMDataCollator,
        train_dataset: Dataset,
        eval_dataset: Dataset | None,
        processing_class: Glm46VProcessor,
        encoder: VisionEncoder,
        sample_lengths: np.ndarray | None = None,
        sidecar: Sidecar | None = None,
        judge: Judge | None = None,
        record: RunRecord | None = None,
        padding_free: bool = True,
        data_name: str | None = None,
        stream: Stream | None = None,
        drafts: Drafts | None = None,
    ) -> None:
        self.data_name, self.drafts = data_name, drafts
        self.stream = StreamLoader(stream, data_collator, args) if stream else None
        self.encoder, self.sample_lengths, self.sidecar, self.judge = encoder, sample_lengths, sidecar, judge
        self.record, self.checkpoints_kept = record, args.save_total_limit
        self.step_tokens: int | None = None  # label tokens, on all ranks; None where nobody counts
        self.tokens_of_epoch: int | None = None
        self.evaluated: list[tuple[float, int]] = []  # mean loss and label tokens of each batch of an evaluation
        self.divergence, self.step_lines = StopOnDivergence(lambda: rows_of_step(self)), StepLines()
        self.spikes = LeaveOutSpikes(lambda: rows_of_step(self), lambda: samples_of_step(self))
        super().__init__(
            model=model,
            args=without_trls_own(args, streams=stream is not None),
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=[*callbacks_for(args, encoder, self.stream), self.divergence, self.spikes],
        )
        take_the_place_of_bars(self, self.step_lines)
        self.spikes.too_late = self.is_deepspeed_enabled
        keep_trained_in_fp32(self.model)  # TRL puts the adapters of a 4-bit model into bf16
        in_steps = replace(encoder, together=True) if share_weights(args) else encoder
        inner = without_adapters(self.model)
        self.layers = compiled_layers(inner.model.language_model, args)
        replace_forward(inner, in_steps, padding_free, drafts.watch if drafts else None, self.layers)
        # Count label tokens over accumulation and ranks. transformers asks the model's class, which says no because
        # its own forward takes no count; TRL's compute_loss, which is what runs here, does.
        self.model_accepts_loss_kwargs = True

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers'; the live line is gone and layers are called as they are afterwards, whatever happens."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self.step_lines.close()
            if self.layers:
                self.layers.use(compiled=False)

    def get_train_dataloader(self) -> DataLoader[Any] | StreamLoader:
        """Batches of the stream, or as :class:`~.batching.BatchPlan` makes them; what has no length is left to transformers."""
        if self.stream:
            return self.stream
        if not hasattr(self.train_dataset, "__len__"):
            return super().get_train_dataloader()
        return self._loader(self.train_dataset, EachOnce(self.batch_plan()), self.args.dataloader_persistent_workers)

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader[Any]:
        """Batches in the order of the samples; what has no length is left to transformers."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if not hasattr(dataset, "__len__"):
            return super().get_eval_dataloader(eval_dataset)
        args = self.args
        batches = in_order(len(dataset), args.eval_batch_size, args.process_index, args.world_size)
        return self._loader(dataset, batches, persistent=False)

    def _loader(self, dataset: Dataset, batches: Iterable[list[int]], persistent: bool) -> DataLoader[Any]:
        return load_batches(dataset, batches, self.data_collator, self.args, persistent)

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

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """The batches of an optimizer step on this rank, and the label tokens of the step on all ranks."""
        batches, tokens = super().get_batch_samples(*args, **kwargs)
        self.step_tokens = None if tokens is None else int(tokens)
        if self.step_tokens is not None:
            self.tokens_of_epoch = (self.tokens_of_epoch or 0) + self.step_tokens
        return batches, tokens

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As TRL's; a loss that is not finite is noticed."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.divergence.see_loss(loss)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        scaled = self.accelerator.scaler is not None  # fp16 tries for its scale, and leaves steps out by itself
        if not scaled and not self.divergence.see_gradient(norm) or self.spikes.see(norm):
            self.leave_out_step(model)
        if self.step_tokens == 0:  # no image of the step can be read: momentum must not move the weights either
            self.leave_out_step(model)
            self._globalstep_last_logged += 1  # nor is it a step in the mean of the logged losses
        return norm

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """As transformers', but the loss is the mean over the label tokens of all samples, on all ranks."""
        self.evaluated = []
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        everybodys = gather_object(self.evaluated)
        tokens = sum(count for _, count in everybodys)
        output.metrics[f"{metric_key_prefix}_loss"] = sum(loss * count for loss, count in everybodys) / max(tokens, 1)
        return output

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As TRL's; the loss, a mean over the label tokens of one batch, is kept beside their number."""
        step = super().prediction_step(model, inputs, *args, **kwargs)
        tokens = int((inputs["labels"][:, 1:] != IGNORED).sum())
        self.evaluated.append((float(step[0]) if tokens else 0.0, tokens))
        return step

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The evaluation loss and, with a judge, what reading gives: ``eval_cer``, ``eval_wer``, ``eval_stop_rate``, ..."""
        prefix = kwargs.get("metric_key_prefix", "eval")
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        self.divergence.see_evaluation(metrics.get(f"{prefix}_loss", 0.0), self.state.global_step, self.control)
        if self.judge and not self.divergence.verdict:
            name, shown = f"step-{self.state.global_step}", not self.args.disable_tqdm
            with self.whole_model() as model:
                scores = self.judge.read(model, name, progress=shown)
            read = logged_metrics(scores, prefix)
            self.log(dict(read))
            metrics |= read
        return metrics

    def look_at_result(self) -> None:
        """See that the model as it is now has a loss on the first training samples; what no step and no evaluation saw."""
        if hasattr(self.train_dataset, "__len__"):
            size = min(self.args.per_device_train_batch_size, len(self.train_dataset))
            batch = self.data_collator(Samples(self.train_dataset).__getitems__(list(range(size))))
            self.evaluated = []
            self.model.eval()
            loss, *_ = self.prediction_step(self.model_wrapped, batch, prediction_loss_only=True)
            self.divergence.see_result(float(loss), self.state.global_step)

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        if why := damage(best, to_resume=False):
            logger.warning(
                "the best checkpoint, %s, is damaged (%s): the result is the model of the last step", best, why
            )
            self.state.best_model_checkpoint = None
            return
        super()._load_best_model()

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        if self.divergence.verdict:
            return False
        is_best: bool = super()._determine_best_metric(metrics, trial)
        self.step_lines.evaluated(self.state, metrics, is_best, self.judge.last_s if self.judge else 0.0)
        if is_best and self.args.load_best_model_at_end:
            self.control.should_save = True  # when it happens, not at the next multiple of save_steps
        patience = self.args.early_stopping_patience
        if not is_best and patience is not None and evaluations_since_best(self.state) >= patience:
            self.control.should_training_stop = True
        return is_best

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:  # of a checkpoint: transformers would make one step more
            self.control.should_training_stop = True
            return
        self.tokens_of_epoch = None
        super()._run_epoch(*args, **kwargs)
        if self.tokens_of_epoch == 0:
            raise UserError(f"no image of an epoch can be read; they are listed in {self.args.output_dir}")

    def planned_steps(self) -> int:
        """Optimizer steps of the whole run."""
        if self.args.max_steps > 0:
            return int(self.args.max_steps)
        per_epoch = -(-len(self.batch_plan()) // self.args.gradient_accumulation_steps)
        return math.ceil(self.args.num_train_epochs * per_epoch)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint under another name, wait until it is on the disk, rename it; then older ones may go."""
        self.store_flos()
        folder, best_step = Path(self.args.output_dir), self.state.best_global_step
        target = folder / name_of(self.state.global_step)
        with written_whole(target) as staging:
            self.save_model(str(staging), _internal_call=True)
            if not self.args.save_only_model:
                self._save_optimizer_and_scheduler(str(staging))
                self._save_scaler(str(staging))
                self._save_rng_state(str(staging))
                if self.stream:
                    self.stream.save(staging)
            if best_step and (best_step == self.state.global_step or (folder / name_of(best_step)).is_dir()):
                self.state.best_model_checkpoint = str(folder / name_of(best_step))
            if self.args.should_save:
                remember_callbacks(self.state, (*self.callback_handler.callbacks, self.control))
                self.state.save_to_json(str(staging / STATE_FILE))
                if self.record:
                    self.record.write(staging)
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            remove_older(target, self.checkpoints_kept, best, to_resume=not self.args.save_only_model)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(target))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As transformers'. Raises Diverged instead of saving weights that are not finite."""
        refuse_broken_weights(self.model, self.state.global_step)
        super().save_model(output_dir, _internal_call)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        directory = Path(output_dir or self.args.output_dir)
        adapter = hasattr(self.model, "peft_config")
        model = self.accelerator.unwrap_model(self.model)
        dtype = checkpoint_dtype(without_adapters(model)) if self._is_final(directory) else None
        if not adapter and self.args.should_save:
            weights = dict(model.state_dict() if state_dict is None else state_dict)
            stored = stored_as(weights, dtype, self.args.seed) if dtype else weights
            state_dict = stored | self.mtp_tensors(model, stored, dtype)
        super()._save(str(directory), state_dict)
        if not self.args.should_save:
            return
        if not adapter:
            correct_config(directory, dtype)
        elif self.drafts:
            self.drafts.save_beside_adapter(directory, without_adapters(model), dtype)
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


def create_trainer(
    model: Any,
    processor: Glm46VProcessor,
    train_dataset: Dataset,
    training_args: TrainingArguments,
    eval_dataset: Dataset | None = None,
    prompt_format: str = DEFAULT_PROMPT_FORMAT,
    collator: VLMDataCollator | None = None,
    lengths: np.ndarray | None = None,
    encoder: VisionEncoder | None = None,
    sidecar: Sidecar | None = None,
    judge: Judge | None = None,
    record: RunRecord | None = None,
    data_name: str | None = None,
    stream: Stream | None = None,
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
        encoder: gives the image features; by default one with the collator's cache.
        sidecar: written into every checkpoint.
        judge: reads at every evaluation.
        record: what the run was started with; written into every checkpoint.
        data_name: what the model card says it was trained on.
        stream: what is trained on instead of ``train_dataset``, which is then its head.
    """
    training_args.settle_learning_rate(hasattr(model, "peft_config"), is_tiny(model.config))
    if eval_dataset is None and training_args.eval_strategy != "no":
        training_args.without_evaluation("there is nothing to evaluate on")
    collator = collator or VLMDataCollator(PromptRenderer(processor, prompt_format), training_args.max_length)
    collator.pad_to_multiple_of = training_args.pad_to_multiple_of or 1
    with one_line({}):
        return GlmOcrTrainer(
            model=model,
            args=training_args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processor,
            encoder=encoder or encoder_for(model, collator.cache),
            sample_lengths=lengths,
            sidecar=sidecar,
            judge=judge,
            record=record,
            padding_free=training_args.padding_free,
            data_name=data_name,
            stream=stream,
            drafts=drafts_of(model, training_args),
        )
