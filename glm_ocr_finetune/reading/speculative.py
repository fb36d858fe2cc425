"""Greedy reading with drafts: the multi-token-prediction layer proposes tokens, the model checks them all at once.

What is read is what plain greedy decoding reads: a draft stands only where it is the model's own choice. Keys and
values of a row are written at that row's own length, so what belongs to a refused draft is overwritten by what comes
next, and rows of a batch need not accept alike. Drafts are made as vLLM makes them (:mod:`..model.draft_layer`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..errors import UserError
from ..model.adapters import adapter_base
from ..model.draft_layer import DEPTH, DraftLayer, load_draft_layer, pick, text_embeddings
from ..ranks import gather
from ..vision.encoder import backbone_of
from .loops import EVERY, is_loop

if TYPE_CHECKING:
    from torch import Tensor

GROWTH = 256  # slots added where answers outgrow what was reserved


@dataclass
class Speculation:
    """The layer that drafts, and what came of its drafts.

    Attributes:
        rounds: checks of the model, each row of a batch counted; each gives one token and the drafts accepted.
        accepted: (DEPTH,) rounds that accepted at least that many drafts.
        tokens: read, stop tokens included.
        seconds: spent on decoding, prompts and images included.
    """

    layer: DraftLayer
    depth: int = DEPTH
    rounds: int = 0
    accepted: list[int] = field(default_factory=lambda: [0] * DEPTH)
    tokens: int = 0
    seconds: float = 0.0

    @property
    def mean_length(self) -> float:
        """Tokens that one check of the model gives."""
        return 1 + sum(self.accepted) / max(self.rounds, 1)

    def of_all_ranks(self) -> Speculation:
        """The sums over the processes of torchrun, which read at the same time."""
        others = gather([(self.rounds, self.accepted, self.tokens, self.seconds)])
        rounds, accepted, tokens, seconds = zip(*others, strict=True)
        sums = [sum(counts) for counts in zip(*accepted, strict=True)]
        return Speculation(self.layer, self.depth, sum(rounds), sums, sum(tokens), max(seconds))

    def __str__(self) -> str:
        shares = ", ".join(f"{count / max(self.rounds, 1):.1%}" for count in self.accepted)
        return (
            f"drafts accepted by position: {shares}; {self.mean_length:.2f} tokens for each check of the model; "
            f"{self.tokens / max(self.seconds, 1e-9):.1f} tokens a second"
        )


def speculation_for(model: Any, model_name: str, adapter: str | None = None) -> Speculation:
    """The layer that belongs to a model that reads: the adapter's own where it has one, else that of the checkpoint.

    Raises:
        UserError: there is none.
    """
    adapter = adapter or (model_name if adapter_base(model_name) else None)
    for path in filter(None, (adapter, model.name_or_path)):
        if layer := load_draft_layer(str(path), model.config, model.dtype):
            return Speculation(layer.to(model.get_output_embeddings().weight.device).eval())
    raise UserError(
        f"{model_name} has no multi-token-prediction layer to draft with (its configuration says num_nextn_predict_layers "
        f"{model.config.text_config.num_nextn_predict_layers})"
    )


class Slots(DynamicCache):
    """Keys and values of B rows in numbered slots, which are written anew where a row goes back.

    Attributes:
        write: (B, N) the slots that the next N tokens of each row take.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.kept = list(layers)
        self.write = torch.empty(0)

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write (B, heads, N, head_dim) keys and values; returns those of all slots up to the last one in use."""
        end = int(self.write.max()) + 1
        old_key, old_value = self.kept[layer_idx]
        key, value = _written(old_key, key, self.write, end), _written(old_value, value, self.write, end)
        self.kept[layer_idx] = key, value
        return key[:, :, :end], value[:, :, :end]

    def select(self, rows: Tensor) -> None:
        self.kept = [(key[rows], value[rows]) for key, value in self.kept]

    def mask(self) -> Tensor:
        """(B, 1, N, slots) bool: each of the tokens about to be written sees the slots up to its own."""
        slots = torch.arange(int(self.write.max()) + 1, device=self.write.device)
        return (slots <= self.write[..., None])[:, None]


def _written(kept: Tensor, new: Tensor, slots: Tensor, end: int) -> Tensor:
    if end > kept.shape[2]:
        kept = torch.nn.functional.pad(kept, (0, 0, 0, end - kept.shape[2] + GROWTH))
    index = slots[:, None, :, None].expand_as(new)
    return kept.scatter_(2, index, new.to(kept.dtype))


class Rows:
    """B answers in the making.

    Args:
        inputs: of :func:`..data.stack.stack_inputs`, padded on the left, with image features in ``mm_encoder_outputs``.
    """

    def __init__(self, model: Any, inputs: dict[str, Any], penalty: float, speculation: Speculation) -> None:
        self.model, self.penalty, self.speculation = model, penalty, speculation
        self.layer, self.backbone = speculation.layer, backbone_of(model)
        self.head = model.get_output_embeddings()
        self.seen = self._seen(inputs["input_ids"])
        self.token = self._read_prompts(inputs)

    def _seen(self, ids: Tensor) -> Tensor:
        """(B, vocabulary) tokens that a repetition penalty applies to; as in transformers, padding is among them."""
        seen = torch.zeros(len(ids), self.model.config.text_config.vocab_size, dtype=torch.bool, device=ids.device)
        return seen.scatter_(1, ids, True)

    def _read_prompts(self, inputs: dict[str, Any]) -> Tensor:
        """Fill both caches. Returns the first token of each answer, (B, 1)."""
        mask, ids = inputs["attention_mask"].bool(), inputs["input_ids"]
        positions, offsets = self.backbone.get_rope_index(
            ids, inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"], attention_mask=mask.long()
        )
        to_the_left = mask.long().argsort(dim=1, descending=True, stable=True)
        ids = ids.gather(1, to_the_left)
        positions = positions.gather(2, to_the_left.expand(3, -1, -1))
        self.lengths, self.offsets = mask.sum(1), offsets.view(-1)
        output = self.backbone(
            input_ids=ids, position_ids=positions, mm_encoder_outputs=inputs["mm_encoder_outputs"], use_cache=True
        )
        self.name = "cache" if "cache" in output else "past_key_values"  # newer and older releases of transformers
        self.trunk = Slots([(layer.keys, layer.values) for layer in output[self.name].layers])
        hidden, last = output.last_hidden_state, (self.lengths - 1)[:, None]
        tokens = self._choose(pick(hidden, last))
        following = ids.roll(-1, 1).scatter(1, last, tokens)
        self.drafts = Slots([self._no_keys(hidden)])
        self.drafts.write = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        self._draft_from(following, hidden, positions, last)
        return tokens

    def _no_keys(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        text = self.model.config.text_config
        empty = hidden.new_zeros(len(hidden), text.num_key_value_heads, 0, text.head_dim)
        return empty, empty.clone()

    def _choose(self, hidden: Tensor, drafts: Tensor | None = None) -> Tensor:
        """The model's greedy choice after each of N states, (B, N, hidden), when drafts (B, N - 1) are what it reads."""
        logits = self.head(hidden)
        if self.penalty == 1.0:
            return logits.argmax(-1)
        chosen, seen = [], self.seen.clone()
        for i, scores in enumerate(logits.float().unbind(1)):
            if i and drafts is not None:
                seen.scatter_(1, drafts[:, i - 1, None], True)
            less_likely = torch.where(scores < 0, scores * self.penalty, scores / self.penalty)
            chosen.append(torch.where(seen, less_likely, scores).argmax(-1))
        return torch.stack(chosen, 1)

    def _draft_from(self, following: Tensor, hidden: Tensor, positions: Tensor, rows: Tensor) -> None:
        """Draft from states (B, M, hidden) with the tokens after them; ``rows`` (B, 1) are the last that stand."""
        proposed: list[Tensor] = []
        for _ in range(self.speculation.depth):
            if proposed:
                following, rows = proposed[-1], torch.zeros_like(rows)
            embeds = text_embeddings(self.model, following, positions).to(hidden.dtype)
            rotary = self.backbone.language_model.rotary_emb(hidden, position_ids=positions)
            self.queries = self.drafts.write.gather(1, rows)
            hidden = self.layer(embeds, hidden, rotary, self._attend, rows)
            proposed.append(self.head(self.layer.drafted(hidden)).argmax(-1))
            positions = positions.gather(2, rows.expand(3, -1, -1)) + 1
            self.drafts.write = self.queries + 1
        self.proposed = torch.cat(proposed, 1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        keys, values = self.drafts.update(key, value, 0)
        mask = (torch.arange(keys.shape[2], device=keys.device) <= self.queries[..., None])[:, None]
        module = self.layer.block.self_attn
        attended: Tensor = sdpa_attention_forward(
            module, query, keys, values, mask, scaling=module.scaling, is_causal=False
        )[0]
        return attended

    def check(self) -> tuple[Tensor, Tensor]:
        """Read the last token and the drafts. Returns the choices (B, depth + 1) and how many drafts of each row stand."""
        ids = torch.cat([self.token, self.proposed], 1)
        steps = torch.arange(ids.shape[1], device=ids.device)
        slots = self.lengths[:, None] + steps
        positions = (slots + self.offsets[:, None]).expand(3, -1, -1)
        self.trunk.write = self.drafts.write = slots
        hidden = self.backbone.language_model(
            inputs_embeds=self.model.get_input_embeddings()(ids),
            attention_mask=self.trunk.mask(),
            position_ids=positions,
            use_cache=True,
            **{self.name: self.trunk},
        ).last_hidden_state
        chosen = self._choose(hidden, self.proposed)
        standing = (chosen[:, :-1] == self.proposed).cummin(1).values.sum(1)
        new = torch.where(steps <= standing[:, None], chosen, chosen[:, :1])
        self.seen.scatter_(1, new, True)
        self.lengths = self.lengths + standing + 1
        self.token = chosen.gather(1, standing[:, None])
        self._draft_from(chosen, hidden, positions, standing[:, None])
        return chosen, standing

    def keep(self, rows: Tensor) -> None:
        """Go on without the others."""
        for name in ("seen", "token", "lengths", "offsets", "proposed"):
            setattr(self, name, getattr(self, name)[rows])
        self.trunk.select(rows)
        self.drafts.select(rows)


def read_with_drafts(
    model: Any,
    inputs: dict[str, Any],
    limits: Sequence[int],
    stops: Sequence[int],
    penalty: float,
    speculation: Speculation,
    stop_loops: bool = False,
) -> list[list[int]]:
    """Token ids of B answers, each up to its first stop token or its own limit.

    Args:
        inputs: as :class:`Rows` takes them.
        limits: B longest answers in tokens.
        stops: ids that end an answer.
        stop_loops: end answers that repeat themselves where plain reading ends them.
    """
    began = time.perf_counter()
    rows = Rows(model, inputs, penalty, speculation)
    rows.seen.scatter_(1, rows.token, True)
    answers = [ids[:limit] for ids, limit in zip(rows.token.tolist(), limits, strict=True)]
    looped: set[int] = set()
    alive = list(range(len(limits)))  # which answer each row of the batch is
    while open_rows := [
        i for i, row in enumerate(alive) if row not in looped and not _is_done(answers[row], limits[row], stops)
    ]:
        if len(open_rows) <= len(alive) // 2:
            rows.keep(torch.tensor(open_rows, device=rows.token.device))
            alive, open_rows = [alive[i] for i in open_rows], list(range(len(open_rows)))
        chosen, standing = (tensor.tolist() for tensor in rows.check())
        for i in open_rows:
            answer = answers[alive[i]]
            before = len(answer)
            answer += _up_to_stop(chosen[i][: standing[i] + 1], stops)[: limits[alive[i]] - before]
            if stop_loops and _cut_at_loop(answer, before):
                looped.add(alive[i])
            speculation.rounds += 1
            for depth in range(standing[i]):
                speculation.accepted[depth] += 1
    speculation.tokens += sum(map(len, answers))
    speculation.seconds += time.perf_counter() - began
    return answers


def _cut_at_loop(answer: list[int], before: int) -> bool:
    """Whether a loop is seen where it is looked for, among the tokens from ``before`` on; what follows is dropped."""
    for length in range(before // EVERY * EVERY + EVERY, len(answer) + 1, EVERY):
        if is_loop(answer[:length]):
            del answer[length:]
            return True
    return False


def _is_done(answer: list[int], limit: int, stops: Sequence[int]) -> bool:
    return len(answer) >= limit or answer[-1] in stops


def _up_to_stop(ids: list[int], stops: Sequence[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in stops), len(ids) - 1)
    return ids[: end + 1]
