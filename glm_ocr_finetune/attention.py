"""Attention within each sample of a batch that is laid out as one row without padding.

FlashAttention has a variable-length form and is used where it is installed. Elsewhere each sample is attended to on
its own: no mask over the whole row, whose work and memory would grow with the square of all samples together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from torch import Tensor, nn

SDPA_BY_SAMPLE = "sdpa_by_sample"


def attend_by_sample(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sample_lengths: list[int] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """``sdpa`` over each sample in turn; plain ``sdpa`` without ``sample_lengths``.

    Args:
        query: (1, heads, L, head_dim); key and value: (1, key_heads, L, head_dim).
        sample_lengths: tokens of each sample in the row, L in all.

    Returns:
        (1, L, heads, head_dim), and no weights.
    """
    if sample_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    parts = (torch.split(tensor, sample_lengths, dim=2) for tensor in (query, key, value))
    done = [sdpa_attention_forward(module, q, k, v, None, **kwargs)[0] for q, k, v in zip(*parts, strict=True)]
    return torch.cat(done, dim=1), None


def allow_rows_of_samples(language_model: Any) -> None:
    """Let the text model take rows of samples: its ``sdpa`` is replaced, FlashAttention stays."""
    AttentionInterface.register(SDPA_BY_SAMPLE, attend_by_sample)
    AttentionMaskInterface.register(SDPA_BY_SAMPLE, sdpa_mask)
    if language_model.config._attn_implementation == "sdpa":
        language_model.config._attn_implementation = SDPA_BY_SAMPLE


def row_arguments(language_model: Any, lengths: Tensor) -> dict[str, Any]:
    """What attention must know of a row of samples with these token counts, (B,) int64."""
    if "flash" not in str(language_model.config._attn_implementation):
        return {"sample_lengths": lengths.tolist()}
    ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    longest = int(lengths.max())
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
