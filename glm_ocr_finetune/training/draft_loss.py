"""The loss of the multi-token-prediction layer beside the main one: every draft that an engine would make, at once.

From each position of an answer the layer drafts ``DEPTH`` tokens, each draft from the state of the one before, as
:mod:`..model.draft_layer` describes. A draft attends to the states of the trunk up to where it starts, and to the
drafts before it; so the keys of the first drafts, of all positions, serve all depths. The cross entropy of a draft
``d`` tokens deep weighs 0.6 to the power of d - 1, over the sum of these weights (FastMTP, arXiv 2509.18362).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from trl.kernels import ChunkedLogProbFunction

from ..inputs.prompt import IGNORED
from ..model.draft_layer import DEPTH, DraftLayer, text_embeddings

if TYPE_CHECKING:
    from torch import Tensor, nn

DECAY = 0.6
WEIGHTS = tuple(DECAY**depth / sum(DECAY**i for i in range(DEPTH)) for depth in range(DEPTH))
VOCABULARY_CHUNK = 32768  # columns of logits held at a time
CHOSEN_AT_ONCE = 512  # rows of logits held at a time


@dataclass(frozen=True)
class Row:
    """The samples of a batch as one row of T tokens without padding.

    Attributes:
        hidden: (1, T, hidden) the trunk's states, without a gradient.
        ids, labels: (1, T); labels are ``IGNORED`` outside the answers.
        positions: (3, 1, T).
        lengths: tokens of each sample.
        chosen: (trained labels,) what the trunk itself would read in the place of each.
    """

    hidden: Tensor
    ids: Tensor
    labels: Tensor
    positions: Tensor
    lengths: Sequence[int]
    chosen: Tensor


@dataclass(frozen=True)
class Drafted:
    """What the drafts of a batch come to.

    Attributes:
        loss: weighted sum of the cross entropies over all starts; None where no answer has two tokens.
        accepted: (DEPTH,) starts whose drafts are what the trunk would read, up to this depth.
        counted: (DEPTH,) starts with as many tokens after them.
    """

    loss: Tensor | None
    accepted: Tensor
    counted: Tensor


def draft_loss(model: Any, layer: DraftLayer, row: Row) -> Drafted:
    """Draft from every position of the answers of a row; no gradient reaches the trunk, its embedding or its head."""
    starts, targets = starts_of(row.labels[0], row.chosen)
    if not len(starts):
        nothing = torch.zeros(DEPTH, device=starts.device)
        return Drafted(None, nothing, nothing)
    keys = Keys(layer, row.lengths, starts)
    last = row.ids.shape[1] - 1
    states: list[Tensor] = []
    for depth in range(DEPTH):
        hidden = states[-1] if depth else row.hidden
        positions = row.positions[..., starts] + depth if depth else row.positions
        with torch.no_grad():
            rotary = model.model.language_model.rotary_emb(hidden, position_ids=positions)
            ids = row.ids[:, (starts + depth + 1).clamp(max=last)] if depth else row.ids.roll(-1, 1)
            embeds = text_embeddings(model, ids, positions)
        states.append(layer(embeds, hidden, rotary, keys.attend, None if depth else starts[None]))
    return _judged(model, layer, torch.cat(states), targets)


def starts_of(labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Where drafts start in labels (T,): (A,) positions t with an answer token at t + 1 and at t + 2.

    Returns:
        The positions, and (DEPTH, A) what the trunk chose for t + 2, t + 3, ..., ``IGNORED`` past the end of an answer.
    """
    choices = labels.masked_scatter(labels != IGNORED, chosen)
    ahead = torch.nn.functional.pad(choices, (0, DEPTH + 1), value=IGNORED).unfold(0, DEPTH + 2, 1)[:, 1:]
    inside = (ahead != IGNORED).cummin(1).values
    starts = inside[:, 1].nonzero().flatten()
    targets = ahead.masked_fill(~inside, IGNORED)[starts, 1:]
    return starts, targets.T


class Keys:
    """Attention of drafts, sample by sample: to the first drafts up to the start, and to the deeper ones of that start."""

    def __init__(self, layer: DraftLayer, lengths: Sequence[int], starts: Tensor) -> None:
        self.module, self.lengths = layer.block.self_attn, list(lengths)
        ends = torch.tensor(self.lengths, device=starts.device).cumsum(0)
        sample = torch.searchsorted(ends, starts, right=True)
        self.counts = torch.bincount(sample, minlength=len(self.lengths)).tolist()
        self.starts = torch.split(starts - (ends - ends.new_tensor(self.lengths))[sample], self.counts)
        self.kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.lengths]

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What :class:`~..model.draft_layer.DraftLayer` asks for; B is 1 and N the number of starts."""
        sizes = self.counts if self.kept[0] else self.lengths
        keys, values = torch.split(key, sizes, 2), torch.split(value, sizes, 2)
        for kept, pair in zip(self.kept, zip(keys, values, strict=True), strict=True):
            kept.append(pair)
        queries = torch.split(query, self.counts, 2)
        rows = [self._of_sample(i, one) for i, one in enumerate(queries) if self.counts[i]]
        return torch.cat(rows, 1)

    def _of_sample(self, i: int, query: Tensor) -> Tensor:
        keys, values = (torch.cat(tensors, 2) for tensors in zip(*self.kept[i], strict=True))
        starts, deeper = self.starts[i], len(self.kept[i]) - 1
        before = torch.arange(self.lengths[i], device=starts.device) <= starts[:, None]
        own = torch.eye(len(starts), dtype=torch.bool, device=starts.device).repeat(1, deeper)
        mask = torch.cat([before, own], 1)[None, None]
        attended: Tensor = sdpa_attention_forward(
            self.module, query, keys, values, mask, scaling=self.module.scaling, is_causal=False
        )[0]
        return attended


def _judged(model: Any, layer: DraftLayer, states: Tensor, targets: Tensor) -> Drafted:
    """Loss and acceptance of states (DEPTH, A, hidden) with targets (DEPTH, A)."""
    known = targets != IGNORED
    head = model.get_output_embeddings().weight.detach()
    log_probs, _, _, _, is_top1 = ChunkedLogProbFunction.apply(
        layer.drafted(states)[known], head, None, targets[known], 1.0, VOCABULARY_CHUNK, None, 1.0, ("is_top1",)
    )
    weights = states.new_tensor(WEIGHTS, dtype=log_probs.dtype)[:, None].expand_as(targets)[known]
    right = torch.zeros_like(known).masked_scatter(known, is_top1.bool()).cummin(0).values
    return Drafted(-(log_probs * weights).sum(), right.sum(1).float(), known.sum(1).float())


def choices_of(hidden: Tensor, labels: Tensor, head: nn.Linear) -> Tensor:
    """(trained labels,) the trunk's greedy choice for each, of hidden (1, T, hidden) and labels (1, T)."""
    with torch.no_grad():
        before = hidden[:, :-1][labels[:, 1:] != IGNORED]
        return torch.cat([head(part).argmax(-1) for part in torch.split(before, CHOSEN_AT_ONCE)])
