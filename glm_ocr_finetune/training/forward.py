"""What a training step computes, and nothing else: each image once, no padding, and the head on trained positions.

TRL's loop asks the model for ``fused_lm_head=True``; :func:`replace_forward` answers it. Every other call, generation
among them, goes to the model's own ``forward``.
"""

from __future__ import annotations

import contextlib
import functools
import types
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import FSDPModule
from transformers.modeling_outputs import BaseModelOutputWithPooling
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.utils import FusedCausalLMOutput, maybe_gather_lm_head_ctx

from ..inputs.prompt import IGNORED
from ..vision.encoder import VisionEncoder
from .attention import allow_rows_of_samples, row_arguments
from .draft_loss import VOCABULARY_CHUNK, Row, choices_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from .compiling import CompiledLayers


def replace_forward(
    model: Any,
    encoder: VisionEncoder,
    padding_free: bool,
    watch: Callable[[Any, Row], None] | None = None,
    layers: CompiledLayers | None = None,
) -> None:
    """Make ``model(..., fused_lm_head=True)`` compute log-probabilities of labels as this module does.

    Args:
        model: a ``GlmOcrForConditionalGeneration`` (the one inside, with adapters).
        padding_free: lay the samples of a batch out as one row instead of padding them to the longest.
        watch: called with the model and each batch as a row, whose states have no gradient.
        layers: compiled where labels are scored, and not in any other call.
    """
    original = model.forward
    if padding_free:
        allow_rows_of_samples(model.model.language_model)

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if layers:
            layers.use(compiled=fused_lm_head)
        if not fused_lm_head:
            return original(*args, **inputs)
        return score_labels(self, encoder, padding_free, watch, *args, **inputs)

    model.forward = types.MethodType(forward, model)


def score_labels(
    model: Any,
    encoder: VisionEncoder,
    padding_free: bool,
    watch: Callable[[Any, Row], None] | None,
    input_ids: Tensor,
    attention_mask: Tensor,
    mm_token_type_ids: Tensor,
    labels: Tensor,
    image_grid_thw: Tensor,
    **others: Any,
) -> FusedCausalLMOutput:
    """Log-probability, entropy and rank of each trained label of a batch of B samples, padded on the right to L.

    Args:
        input_ids, attention_mask, mm_token_type_ids, labels: (B, L).
        others: what :meth:`VisionEncoder.features` takes of an image; peft adds names of its own, which stay unused.

    Returns:
        ``log_probs``, ``entropy``, ``is_top1``: (number of trained labels,); ``label_mask``: True for each label.
    """
    backbone = model.model
    features = encoder.features(backbone, {"image_grid_thw": image_grid_thw} | others)
    positions, _ = backbone.get_rope_index(
        input_ids, mm_token_type_ids, image_grid_thw=image_grid_thw, attention_mask=attention_mask
    )
    rows: dict[str, Any] = {"attention_mask": attention_mask}
    kept = attention_mask.bool()
    if padding_free:
        rows = row_arguments(backbone.language_model, attention_mask.sum(1))
        input_ids, labels, positions = input_ids[kept][None], labels[kept][None], positions[:, kept][:, None]
    hidden = backbone(
        input_ids=input_ids,
        position_ids=positions,
        mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=features)},
        use_cache=False,
        **rows,
    ).last_hidden_state
    scored = score_next_tokens(hidden, labels, model.get_output_embeddings())
    if watch:
        states = hidden.detach()
        if not padding_free:
            states, positions = states[kept][None], positions[:, kept][:, None]
            input_ids, labels = input_ids[kept][None], labels[kept][None]
        lengths = attention_mask.sum(1).tolist()
        chosen = choices_of(states, labels, model.get_output_embeddings())
        watch(model, Row(states, input_ids, labels, positions, lengths, chosen))
    return scored


@contextlib.contextmanager
def whole_weight(head: nn.Linear) -> Iterator[Tensor]:
    """The weight of the head, which ranks may share out; nobody calls its ``forward``, which would gather it.

    FSDP2 frees it, and adds up its gradient over ranks, at the end of the backward pass. The gradient through
    ``DTensor.full_tensor()``, which TRL takes, would stay each rank's own.
    """
    sharded = head if isinstance(head, FSDPModule) else None
    if sharded:
        sharded.unshard()
    with maybe_gather_lm_head_ctx(head.weight):
        yield head.weight
    if sharded and not torch.is_grad_enabled():
        sharded.reshard()


def score_next_tokens(hidden: Tensor, labels: Tensor, head: nn.Linear) -> FusedCausalLMOutput:
    """Apply the head to the positions before a trained label, a part of the vocabulary at a time.

    Args:
        hidden: (B, L, hidden_size).
        labels: (B, L), ``IGNORED`` where nothing is trained.
        head: hidden_size to vocabulary.
    """
    targets = labels[:, 1:]
    trained = targets != IGNORED
    with whole_weight(head) as weight:
        log_probs, entropy, _, _, is_top1 = ChunkedLogProbFunction.apply(
            hidden[:, :-1][trained],
            weight,
            None,
            targets[trained],
            1.0,
            VOCABULARY_CHUNK,
            None,
            1.0,
            ("entropy", "is_top1"),
        )
    label_mask = torch.ones_like(log_probs, dtype=torch.bool)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / max(len(log_probs), 1),
        log_probs=log_probs,
        entropy=entropy,
        is_top1=is_top1,
        label_mask=label_mask,
    )
