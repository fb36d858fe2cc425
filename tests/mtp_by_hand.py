"""The multi-token-prediction layer computed in plain torch, number by number, from the formula and the tensors' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean() + eps) * weight


def rotated(head: Tensor, position: Sequence[int], sections: Sequence[int], theta: float) -> Tensor:
    """One head (head_dim,) turned pair by pair: each pair by the time, row or column that its section stands for."""
    size, found = len(head), head.clone()
    axis = [which for which, pairs in enumerate(sections) for _ in range(pairs)]
    for pair in range(size // 2):
        angle = torch.tensor(float(position[axis[pair]])) * theta ** (-2 * pair / size)
        first, second = head[2 * pair], head[2 * pair + 1]
        found[2 * pair] = first * angle.cos() - second * angle.sin()
        found[2 * pair + 1] = second * angle.cos() + first * angle.sin()
    return found


class ByHand:
    """The layer with its own keys and values, one token at a time.

    Args:
        tensors: of a checkpoint, without the common start of their names and ``.weight``.
    """

    def __init__(self, tensors: Mapping[str, Tensor], config: Any) -> None:
        self.w = {name: value.float() for name, value in tensors.items()}
        self.text = config.text_config
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def put(self, embedding: Tensor, hidden: Tensor, position: Sequence[int]) -> Tensor:
        """The state y of one position, whose key and value are kept."""
        w, text, eps = self.w, self.text, self.text.rms_norm_eps
        embedding = torch.zeros_like(embedding) if position[0] == 0 else embedding
        joined = torch.cat([norm(embedding, w["enorm"], eps), norm(hidden, w["hnorm"], eps)])
        x = w["eh_proj"] @ joined
        inner = norm(x, w["input_layernorm"], eps)
        size = text.head_dim
        rope = text.rope_parameters
        turn = lambda head: rotated(head, position, rope["mrope_section"], rope["rope_theta"])  # noqa: E731
        queries = [turn(head) for head in (w["self_attn.q_proj"] @ inner).split(size)]
        self.keys.append(torch.stack([turn(head) for head in (w["self_attn.k_proj"] @ inner).split(size)]))
        self.values.append((w["self_attn.v_proj"] @ inner).view(-1, size))
        shared = text.num_attention_heads // text.num_key_value_heads
        heads = []
        for number, query in enumerate(queries):
            scores = torch.stack([key[number // shared] @ query for key in self.keys]) / size**0.5
            weights = scores.softmax(0)
            heads.append(
                sum(share * value[number // shared] for share, value in zip(weights, self.values, strict=True))
            )
        attended = w["self_attn.o_proj"] @ torch.cat(heads)
        a = x + norm(attended, w["post_self_attn_layernorm"], eps)
        gate, up = (w["mlp.gate_up_proj"] @ norm(a, w["post_attention_layernorm"], eps)).chunk(2)
        mixed = w["mlp.down_proj"] @ (up * gate * torch.sigmoid(gate))
        return a + norm(mixed, w["post_mlp_layernorm"], eps)

    def logits(self, state: Tensor, head: Tensor) -> Tensor:
        return head @ norm(state, self.w["shared_head.norm"], self.text.rms_norm_eps)

    def forget(self, count: int) -> None:
        """Drop all keys and values but the first ``count``."""
        del self.keys[count:], self.values[count:]


def draft_logits(
    layer: ByHand, model: Any, ids: Sequence[int], hidden: Tensor, positions: Tensor, start: int, depth: int
) -> list[Tensor]:
    """Logits of ``depth`` drafts from one start, as an engine makes them when every draft is the token that follows.

    Args:
        ids: of the whole sequence.
        hidden: (L, hidden) the trunk's states.
        positions: (3, L).
    """
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    layer.forget(0)
    for t in range(start + 1):
        state = layer.put(embeddings[ids[t + 1]], hidden[t], positions[:, t].tolist())
    found = [layer.logits(state, head)]
    for step in range(1, depth):
        at = [int(axis) + step for axis in positions[:, start]]
        state = layer.put(embeddings[ids[start + step + 1]], state, at)
        found.append(layer.logits(state, head))
    return found
