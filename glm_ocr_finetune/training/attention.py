"""Attention within each sample of a batch that is laid out as one row without padding.

On a GPU with half-precision one kernel of variable length does it: torch's own, or FlashAttention's where the model
was loaded with it. Elsewhere each sample is attended to on its own: no mask over the whole row, whose work and memory
would grow with the square of all samples together.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

SDPA_BY_SAMPLE = "sdpa_by_sample"
CAUSAL = (-1, 0)  # a window that reaches back without end, and not forward
HALF = (torch.bfloat16, torch.float16)


def attend_by_sample(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sample_lengths: list[int] | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    scaling: float | None = None,
    kernel: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention in each sample of a row; plain ``sdpa`` without a kernel and ``sample_lengths``.

    Args:
        query: (1, heads, L, head_dim); key and value: (1, key_heads, L, head_dim).
        sample_lengths: tokens of each of B samples in the row, L in all.
        cu_seq_lens_q: (B + 1,) int32, where they begin and end.
        max_length_q: tokens of the longest.
        scaling: factor of the scores.
        kernel: of :func:`variable_length_attention`, which takes ``cu_seq_lens_q`` instead of ``sample_lengths``.

    Returns:
        (1, L, heads, head_dim), and no weights.
    """
    if kernel:
        ends, longest, dtype = cu_seq_lens_q, max_length_q, computed_dtype(query)
        query, key, value = (tensor[0].transpose(0, 1).to(dtype) for tensor in (query, key, value))
        done = kernel(query, key, value, ends, ends, longest, longest, scale=scaling, window_size=CAUSAL)
        return done[None], None
    if sample_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    parts = (torch.split(tensor, sample_lengths, dim=2) for tensor in (query, key, value))
    rows = [
        sdpa_attention_forward(module, q, k, v, None, scaling=scaling, **kwargs)[0]
        for q, k, v in zip(*parts, strict=True)
    ]
    return torch.cat(rows, dim=1), None


def computed_dtype(tensor: Tensor) -> torch.dtype:
    """What ``sdpa`` would compute this tensor in; kernels that autocast does not know must be given it."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


@functools.cache
def variable_length_attention(device: torch.device) -> Callable[..., Any] | None:
    """``torch.nn.attention.varlen.varlen_attn`` for fewer key heads than query heads; None where it cannot run.

    Its kernels need a GPU of NVIDIA's Ampere generation (capability 8.0) or newer. torch 2.10 has no causal window;
    torch 2.11 has one, and wants as many key heads as query heads.
    """
    if device.type != "cuda" or torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    from torch.nn.attention import varlen

    known = inspect.signature(varlen.varlen_attn).parameters
    if "enable_gqa" in known:
        return functools.partial(varlen.varlen_attn, enable_gqa=True)
    return functools.partial(_attend_repeated, varlen.varlen_attn) if {"scale", "window_size"} <= known.keys() else None


def _attend_repeated(
    attend: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """``attend`` with the heads of key and value, (L, key_heads, head_dim), repeated to those of the query."""
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor[:, :, None].expand(-1, -1, groups, -1).flatten(1, 2) for tensor in (key, value))
    return attend(query, key, value, *args, **kwargs)


def allow_rows_of_samples(language_model: Any) -> None:
    """Let the text model take rows of samples: its ``sdpa`` is replaced, FlashAttention stays."""
    AttentionInterface.register(SDPA_BY_SAMPLE, attend_by_sample)
    AttentionMaskInterface.register(SDPA_BY_SAMPLE, sdpa_mask)
    if language_model.config._attn_implementation == "sdpa":
        language_model.config._attn_implementation = SDPA_BY_SAMPLE


def row_arguments(language_model: Any, lengths: Tensor) -> dict[str, Any]:
    """What attention must know of a row of samples with these token counts, (B,) int64.

    The counts themselves are left out where a kernel takes them as a tensor: a list of them would be a constant of a
    compiled layer.
    """
    counts = lengths.tolist()
    ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    longest = max(counts)
    arguments = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
    if language_model.config._attn_implementation != SDPA_BY_SAMPLE:
        return arguments
    in_half = computed_dtype(language_model.get_input_embeddings().weight) in HALF
    kernel = variable_length_attention(lengths.device) if in_half else None
    return arguments | ({"kernel": kernel} if kernel else {"sample_lengths": counts})
