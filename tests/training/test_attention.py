"""Attention within the samples of a row."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import glm_ocr_finetune.training.attention as attention
from glm_ocr_finetune.training.attention import attend_by_sample

LENGTHS = [3, 1, 5]
ENDS = torch.tensor([0, 3, 4, 9], dtype=torch.int32)
HEADS, KEY_HEADS, HEAD_DIM = 4, 2, 8
MODULE: Any = SimpleNamespace(num_key_value_groups=HEADS // KEY_HEADS, is_causal=True)


def row(dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, heads, sum(LENGTHS), HEAD_DIM, dtype=dtype, device=device) for heads in (4, 2, 2)]


def masked_softmax(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """The textbook formula over the whole row, with a mask of blocks."""
    key, value = (tensor.repeat_interleave(HEADS // KEY_HEADS, dim=1) for tensor in (key, value))
    sample = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    allowed = (sample[:, None] == sample[None]).tril()
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(~allowed, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


def test_samples_do_not_see_each_other() -> None:
    query, key, value = row()
    found, _ = attend_by_sample(MODULE, query, key, value, None, LENGTHS, ENDS, max(LENGTHS), scaling=0.3)
    torch.testing.assert_close(found, masked_softmax(query, key, value, 0.3))


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU that is not there: enough for tensors without content."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    attention.variable_length_attention.cache_clear()
    yield
    attention.variable_length_attention.cache_clear()


@contextlib.contextmanager
def bf16_autocast(enabled: bool) -> Iterator[None]:
    """``torch.autocast``, which turns itself off where no GPU is."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", enabled)
    yield
    torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_on_a_gpu_takes_the_kernel_of_variable_length(ampere: None, autocast: bool) -> None:
    """Shapes, types and arguments; the kernel itself needs the GPU."""
    with FakeTensorMode(), bf16_autocast(autocast):
        query, key, value = row(torch.float32 if autocast else torch.bfloat16, "cuda")
        ends = torch.empty(4, dtype=torch.int32, device="cuda")
        query.requires_grad_()
        found, _ = attend_by_sample(MODULE, query, key, value, None, LENGTHS, ends, max(LENGTHS), scaling=0.3)
        assert "varlen" in type(found.grad_fn.next_functions[0][0]).__name__
        assert found.shape == (1, sum(LENGTHS), HEADS, HEAD_DIM)
        assert found.dtype == torch.bfloat16


def test_the_kernel_is_given_what_it_calls_tokens_heads_and_a_causal_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's documented arguments, answered by the formula: the layout in and out is right."""
    from torch.nn.attention.varlen import varlen_attn

    def formula(*args: Any, **kwargs: Any) -> torch.Tensor:
        given = inspect.signature(varlen_attn).bind(*args, **kwargs).arguments
        assert given["window_size"] == (-1, 0)
        assert given["enable_gqa"]
        assert torch.equal(given["cu_seq_q"], ENDS)
        assert given["max_q"] == given["max_k"] == max(LENGTHS)
        tensors = (given[name].float().transpose(0, 1)[None] for name in ("query", "key", "value"))
        return masked_softmax(*tensors, given["scale"])[0].bfloat16()

    monkeypatch.setattr(attention, "variable_length_attention", lambda device: formula)
    query, key, value = row(torch.bfloat16)
    found, _ = attend_by_sample(MODULE, query, key, value, None, LENGTHS, ENDS, max(LENGTHS), scaling=0.3)
    expected, _ = attend_by_sample(MODULE, query.float(), key.float(), value.float(), None, LENGTHS, scaling=0.3)
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0.01)  # bf16 has eight bits


def test_full_precision_or_an_older_gpu_goes_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    attention.variable_length_attention.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert attention.variable_length_attention(torch.device("cuda")) is None
    assert attention.variable_length_attention(torch.device("cpu")) is None
    attention.variable_length_attention.cache_clear()
