"""The multi-token-prediction layer at work: it drafts the token after the next one, again and again.

With h the trunk's state after its last norm, at position t, as in vLLM 0.32 (``glm_ocr_mtp.py``, ``llm_base_proposer.py``)::

    x = eh_proj(concat[enorm(embed(token[t+1])), hnorm(h)])
    a = x + post_self_attn_layernorm(attention(input_layernorm(x)))
    y = a + post_mlp_layernorm(mlp(post_attention_layernorm(a)))
    token[t+2] = argmax(lm_head(shared_head.norm(y)))

The next draft takes y in the place of h, the drafted token, and position t+1. The embedding at position 0 is zero;
images are the embeddings of their placeholder tokens. Embedding and head are the trunk's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrRMSNorm, GlmOcrTextDecoderLayer, apply_rotary_pos_emb

from ..errors import UserError
from .mtp import SHARED, mtp_prefix, mtp_shapes, read_mtp_tensors

if TYPE_CHECKING:
    from transformers import GlmOcrConfig

DEPTH = 3  # tokens drafted one after the other, in training and in reading

# query (B, heads, N, head_dim), key and value (B, key_heads, M, head_dim) of this call -> (B, N, heads, head_dim);
# whoever attends keeps the keys and values of earlier calls
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Rotary = tuple[Tensor, Tensor]


class DraftLayer(nn.Module):
    """The layer's own fourteen tensors, around a decoder block of the model's own class."""

    def __init__(self, config: GlmOcrConfig) -> None:
        super().__init__()
        text = config.text_config
        self.enorm = GlmOcrRMSNorm(text.hidden_size, eps=text.rms_norm_eps)
        self.hnorm = GlmOcrRMSNorm(text.hidden_size, eps=text.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * text.hidden_size, text.hidden_size, bias=False)
        self.block = GlmOcrTextDecoderLayer(text, layer_idx=0)
        self.norm = GlmOcrRMSNorm(text.hidden_size, eps=text.rms_norm_eps)

    def forward(
        self, embeds: Tensor, hidden: Tensor, rotary: Rotary, attend: Attend, rows: Tensor | None = None
    ) -> Tensor:
        """States y, (B, N, hidden), from which :meth:`drafted` and the next draft follow.

        Args:
            embeds: (B, M, hidden) of tokens t+1, zero where t is position 0.
            hidden: (B, M, hidden) states at t: the trunk's, or y of the draft before.
            rotary: cosine and sine (B, M, head_dim) at the positions of the states.
            rows: (B, N) those of the M that are drafted from; the others only leave keys and values. All when None.
        """
        block, attention = self.block, self.block.self_attn
        x = self.eh_proj(torch.cat([self.enorm(embeds), self.hnorm(hidden)], -1))
        normed = block.input_layernorm(x)
        key = _rotated(_heads(attention.k_proj(normed), attention.head_dim), rotary)
        value = _heads(attention.v_proj(normed), attention.head_dim)
        if rows is not None:
            x, normed = pick(x, rows), pick(normed, rows)
            rotary = pick(rotary[0], rows), pick(rotary[1], rows)
        query = _rotated(_heads(attention.q_proj(normed), attention.head_dim), rotary)
        attended = attention.o_proj(attend(query, key, value).flatten(2))
        x = x + block.post_self_attn_layernorm(attended)
        mixed: Tensor = x + block.post_mlp_layernorm(block.mlp(block.post_attention_layernorm(x)))
        return mixed

    def drafted(self, states: Tensor) -> Tensor:
        """What the trunk's head takes for states y, (..., hidden)."""
        normed: Tensor = self.norm(states)
        return normed

    def load(self, tensors: Mapping[str, Tensor], config: GlmOcrConfig) -> DraftLayer:
        """Take the weights from the tensors of a checkpoint, by name and shape.

        Raises:
            UserError: one is missing, or has another shape.
        """
        prefix = mtp_prefix(config)
        for name, shape in mtp_shapes(config).items():
            found = tuple(tensors[name].shape) if name in tensors else "missing"
            if found != shape and not name.endswith(SHARED):
                raise UserError(f"the multi-token-prediction tensor {name} is {found}; expected {shape}")
        own = {_own_name(name.removeprefix(prefix)): value for name, value in tensors.items()}
        self.load_state_dict({name: own[name] for name in self.state_dict()})
        return self

    def tensors(self, config: GlmOcrConfig, embedding: Tensor, head: Tensor) -> dict[str, Tensor]:
        """All sixteen tensors under their names in a checkpoint.

        Args:
            embedding, head: (vocabulary, hidden) the trunk's, of which the layer has copies.
        """
        own = {_checkpoint_name(name): value.detach() for name, value in self.state_dict().items()}
        own |= dict(zip(SHARED, (embedding.detach().clone(), head.detach().clone()), strict=True))
        return {mtp_prefix(config) + name: value for name, value in own.items()}


def _own_name(name: str) -> str:
    first = name.split(".")[0]
    inside = first in ("self_attn", "mlp") or first.endswith("_layernorm")
    return f"block.{name}" if inside else name.replace("shared_head.norm", "norm")


def _checkpoint_name(name: str) -> str:
    return "shared_head.norm.weight" if name == "norm.weight" else name.removeprefix("block.")


def _heads(rows: Tensor, head_dim: int) -> Tensor:
    """(B, N, heads * head_dim) -> (B, heads, N, head_dim)."""
    return rows.view(*rows.shape[:-1], -1, head_dim).transpose(1, 2)


def _rotated(heads: Tensor, rotary: Rotary) -> Tensor:
    rotated: Tensor = apply_rotary_pos_emb(heads, heads[:, :1], *rotary)[0]
    return rotated


def pick(tensor: Tensor, rows: Tensor) -> Tensor:
    """The rows (B, N) of a tensor (B, M, width)."""
    return tensor.gather(1, rows[..., None].expand(-1, -1, tensor.shape[-1]))


def text_embeddings(model: Any, token_ids: Tensor, positions: Tensor) -> Tensor:
    """What the layer sees of tokens t+1, (B, M) ids beside positions t, (3, B, M): no image, and nothing at position 0."""
    embeds: Tensor = model.get_input_embeddings()(token_ids)
    return embeds.masked_fill((positions[0] == 0)[..., None], 0)


def load_draft_layer(model_name: str, config: GlmOcrConfig, dtype: torch.dtype = torch.float32) -> DraftLayer | None:
    """The layer of a checkpoint, or of an adapter that brings its own; None where there is none.

    Raises:
        UserError: its tensors are not all there, or of another shape.
    """
    tensors = read_mtp_tensors(model_name, config)
    if not tensors:
        return None
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
        layer = DraftLayer(config)
    return layer.load(tensors, config).to(dtype)
