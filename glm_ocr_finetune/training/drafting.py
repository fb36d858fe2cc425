"""Training the multi-token-prediction layer beside the trunk, which does not notice: its own loss, clipping and weights.

The layer stands outside the model that is trained, so nothing of the trunk's arithmetic changes: its gradient comes
from a backward pass of its own, is averaged over ranks and clipped by itself. Its weights are a group of the same
optimizer, under the same schedule, and in every checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

from ..errors import UserError
from ..model.checkpoint import carried_mtp_tensors, stored_as
from ..model.draft_layer import DEPTH, DraftLayer, load_draft_layer
from ..model.loading import load_config, resolve_model_path
from ..model.mtp import MTP_FILE, files_of_mtp_tensors, mtp_prefix, read_mtp_tensors
from ..model.tiny import is_tiny
from ..vision.encoder import without_adapters
from .draft_loss import Row, draft_loss
from .sharding import ShardingTrainer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GlmOcrConfig

    from ..training_args import TrainingArguments

logger = logging.getLogger(__name__)

NO_LAYER = "--mtp train: {} has no multi-token-prediction layer to train; leave the flag out"
RATES = {False: 1e-4, True: 1e-3}  # peak learning rate of the layer, by whether the model is the tiny one


class Drafts:
    """The layer in training.

    Attributes:
        rate: its peak learning rate.
        loss: of the batch that was seen last, a sum over label tokens; None where there was nothing to draft.
        seen: by mode (train, eval): sum of losses, label tokens, then starts accepted and counted at each depth,
            since they were last logged.
    """

    def __init__(self, layer: DraftLayer, rate: float, device: torch.device) -> None:
        self.layer = layer.to(device, torch.float32)
        self.rate = rate
        self.loss: Tensor | None = None
        self.tokens = 0
        self.seen: dict[str, Tensor] = {}

    def watch(self, model: Any, row: Row) -> None:
        """Draft from a batch as it passes through the model."""
        drafted = draft_loss(model, self.layer, row)
        self.loss, self.tokens = drafted.loss, len(row.chosen)
        loss = torch.zeros((), device=row.hidden.device) if drafted.loss is None else drafted.loss.detach()
        sums = torch.cat([torch.stack([loss, loss.new_tensor(self.tokens)]), drafted.accepted, drafted.counted])
        mode = "train" if model.training else "eval"
        self.seen[mode] = self.seen[mode] + sums.double() if mode in self.seen else sums.double()

    def logged(self, mode: str, accelerator: Any) -> dict[str, float]:
        """``mtp_loss``, and for each depth the share of starts whose drafts are all right up to it."""
        none = torch.zeros(2 + 2 * DEPTH, dtype=torch.float64, device=accelerator.device)
        loss, tokens, *starts = accelerator.reduce(self.seen.pop(mode, none), "sum").tolist()
        if not tokens:
            return {}
        shares = (accepted / max(counted, 1) for accepted, counted in zip(starts[:DEPTH], starts[DEPTH:], strict=True))
        return {"mtp_loss": loss / tokens} | {f"mtp_acceptance_{i}": share for i, share in enumerate(shares, start=1)}

    def join_gradients(self, num_ranks: int) -> None:
        """Average the gradient over ranks; one that is not finite is left out, so that it stops nothing else."""
        gradients = []
        for parameter in self.layer.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
        if num_ranks > 1:
            for gradient in gradients:
                torch.distributed.all_reduce(gradient)
                gradient /= num_ranks
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            logger.warning(
                "the gradient of the multi-token-prediction layer is not finite: it stays as it is this step"
            )
            self.layer.zero_grad()

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups of the optimizer, with decay for matrices as transformers has it for the trunk."""
        matrices = [value for value in self.layer.parameters() if value.ndim > 1]
        vectors = [value for value in self.layer.parameters() if value.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": weight_decay, "lr": self.rate},
            {"params": vectors, "weight_decay": 0.0, "lr": self.rate},
        ]

    def load(self, checkpoint: str | Path, config: GlmOcrConfig) -> None:
        """Take the weights of a checkpoint of this run."""
        self.layer.load(read_mtp_tensors(str(checkpoint), config), config)

    def stored(self, model: Any, weights: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
        """The sixteen tensors, with copies of the trunk's embedding and head from ``weights`` where they are there."""
        embedding = weights.get("model.language_model.embed_tokens.weight", model.get_input_embeddings().weight)
        head = weights.get("lm_head.weight", model.get_output_embeddings().weight)
        tensors = self.layer.tensors(model.config, embedding, head)
        return stored_as(tensors, dtype) if dtype else tensors

    def save_beside_adapter(self, directory: Path, model: Any, dtype: torch.dtype | None) -> None:
        """Write the layer into ``mtp.safetensors``; an adapter has no place of its own for it."""
        tensors = self.stored(model, {}, dtype)
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, directory / MTP_FILE)


def check_drafts(model_name: str) -> None:
    """Raise UserError for a base without the layer, by the names of its tensors, before anything is loaded."""
    path = resolve_model_path(model_name)
    if not files_of_mtp_tensors(path, mtp_prefix(load_config(path))):
        raise UserError(NO_LAYER.format(model_name))


def drafts_of(model: Any, args: TrainingArguments) -> Drafts | None:
    """The layer of the base that ``model`` was loaded from, to be trained with ``--mtp train``; None where it is kept.

    Raises:
        UserError: the base has none.
    """
    if args.mtp != "train":
        return None
    bare = without_adapters(model)
    layer = load_draft_layer(bare.name_or_path, bare.config) if bare.name_or_path else None
    if layer is None:
        raise UserError(NO_LAYER.format(bare.name_or_path or "the model"))
    return Drafts(layer, RATES[is_tiny(bare.config)], args.device)


class DraftingTrainer(ShardingTrainer):
    """TRL's trainer, with the multi-token-prediction layer trained beside the model where ``drafts`` is set."""

    drafts: Drafts | None = None

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if self.drafts and is_new:
            for group in self.drafts.groups(self.args.weight_decay):
                optimizer.add_param_group(group)
        return optimizer

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """As transformers'; called once before each optimizer step."""
        if self.drafts:
            self.drafts.layer.zero_grad()
        return super().get_batch_samples(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """As TRL's, and the backward pass of the drafts, weighted by tokens as the main loss is."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.drafts:
            self._draft_step(self.drafts, num_items_in_batch)
        return loss

    def _draft_step(self, drafts: Drafts, num_items_in_batch: Any) -> None:
        loss, drafts.loss = drafts.loss, None
        if loss is not None and num_items_in_batch is None:
            self.accelerator.backward(loss / max(drafts.tokens, 1) / self.current_gradient_accumulation_steps)
        elif loss is not None:
            ranks = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
            self.accelerator.backward(loss / max(int(num_items_in_batch), 1) * ranks)
        if self.accelerator.sync_gradients:
            drafts.join_gradients(self.accelerator.num_processes)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if self.drafts and self.args.max_grad_norm > 0:  # apart from the trunk, whose norm it must not change
            nn.utils.clip_grad_norm_(self.drafts.layer.parameters(), self.args.max_grad_norm)
        return norm

    def leave_out_step(self, model: nn.Module) -> None:
        """Forget the gradients: the optimizer leaves out what has none, and no weight moves."""
        model.zero_grad()
        if self.drafts:
            self.drafts.layer.zero_grad()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As TRL's, and how well the layer drafts."""
        if self.drafts and {"loss", "eval_loss"} & logs.keys():
            mode, prefix = ("train", "") if "loss" in logs else ("eval", "eval_")
            logs |= {prefix + name: value for name, value in self.drafts.logged(mode, self.accelerator).items()}
        super().log(logs, *args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.drafts:
            self.drafts.load(resume_from_checkpoint, self._bare().config)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.drafts:
            self.drafts.load(str(self.state.best_model_checkpoint), self._bare().config)

    def mtp_tensors(self, model: Any, weights: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
        """What is saved among the ``weights`` of ``model``: the trained layer, or that of the base."""
        return self.drafts.stored(model, weights, dtype) if self.drafts else carried_mtp_tensors(model)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # The tensors of the layer have no place in transformers' model; where they are trained is :class:`Drafts`.
        known = set(carried_mtp_tensors(self._bare()))
        load_result.unexpected_keys[:] = [key for key in load_result.unexpected_keys if key not in known]
        super()._issue_warnings_after_load(load_result)

    def _bare(self) -> Any:
        return without_adapters(self.accelerator.unwrap_model(self.model))
