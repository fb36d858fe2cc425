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
from torch.nn.attention import varlen

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
    key, value = (tensor.repeat_interleave(HEADS // tensor.shape[1], dim=1) for tensor in (key, value))
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
    choice = attention.variable_length_attention
    choice.cache_clear()
    yield
    choice.cache_clear()


@contextlib.contextmanager
def bf16_autocast(enabled: bool) -> Iterator[None]:
    """``torch.autocast``, which turns itself off where no GPU is."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", enabled)
    yield
    torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_on_a_gpu_takes_the_kernel_of_variable_length(ampere: None, autocast: bool) -> None:
    """Shapes, types and arguments; the kernel itself needs the GPU. That of torch 2.10 cannot be causal."""
    can_be_causal = "window_size" in inspect.signature(varlen.varlen_attn).parameters
    with FakeTensorMode(), bf16_autocast(autocast):
        query, key, value = row(torch.float32 if autocast else torch.bfloat16, "cuda")
        ends = torch.empty(4, dtype=torch.int32, device="cuda")
        query.requires_grad_()
        kernel = attention.variable_length_attention(query.device)
        found, _ = attend_by_sample(
            MODULE, query, key, value, None, LENGTHS, ends, max(LENGTHS), scaling=0.3, kernel=kernel
        )
        assert ("varlen" in type(found.grad_fn.next_functions[0][0]).__name__) is can_be_causal
        assert found.shape == (1, sum(LENGTHS), HEADS, HEAD_DIM)
        assert found.dtype == torch.bfloat16


def answered_by_the_formula(given: dict[str, Any]) -> torch.Tensor:
    """What the kernel should find for torch's documented arguments, in its layout."""
    assert given["window_size"] == (-1, 0)
    assert torch.equal(given["cu_seq_q"], ENDS)
    assert given["max_q"] == given["max_k"] == max(LENGTHS)
    query, key, value = (given[name].float().transpose(0, 1)[None] for name in ("query", "key", "value"))
    return masked_softmax(query, key, value, given["scale"])[0].to(given["query"].dtype)


def varlen_attn_of_2_14(
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Any = None,
    block_table: Any = None,
    num_splits: int | None = None,
) -> torch.Tensor:
    """As torch 2.14 declares it: key heads may be fewer when that is said."""
    assert enable_gqa
    assert key.shape[1] == value.shape[1] == KEY_HEADS
    return answered_by_the_formula(locals())


def varlen_attn_of_2_11(
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """As torch 2.11 declares it: as many key heads as query heads."""
    assert key.shape[1] == value.shape[1] == query.shape[1]
    return answered_by_the_formula(locals())


@pytest.mark.parametrize("release", [varlen_attn_of_2_14, varlen_attn_of_2_11])
def test_the_kernel_of_either_release_gets_its_layout_and_gives_losses_and_gradients_of_the_formula(
    ampere: None, monkeypatch: pytest.MonkeyPatch, release: Any
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", release)
    kernel = attention.variable_length_attention(torch.device("cuda"))
    tensors = [tensor.requires_grad_() for tensor in row(torch.bfloat16)]
    exact = [tensor.detach().float().requires_grad_() for tensor in tensors]
    found, _ = attend_by_sample(MODULE, *tensors, None, None, ENDS, max(LENGTHS), scaling=0.3, kernel=kernel)
    expected, _ = attend_by_sample(MODULE, *exact, None, LENGTHS, scaling=0.3)
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0.01)  # bf16 has eight bits
    found.float().square().sum().backward()
    expected.square().sum().backward()
    for tensor, other in zip(tensors, exact, strict=True):
        torch.testing.assert_close(tensor.grad.float(), other.grad, rtol=0.05, atol=0.05)


def test_a_release_without_a_causal_window_goes_without_the_kernel(
    ampere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch 2.10 has ``is_causal`` only."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", lambda query, key, value, is_causal=False: None)
    assert attention.variable_length_attention(torch.device("cuda")) is None


def test_full_precision_or_an_older_gpu_goes_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    attention.variable_length_attention.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert attention.variable_length_attention(torch.device("cuda")) is None
    assert attention.variable_length_attention(torch.device("cpu")) is None
    attention.variable_length_attention.cache_clear()


class FakeLanguageModel:
    """Embeddings of a type, and what attends."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.config = SimpleNamespace(_attn_implementation=attention.SDPA_BY_SAMPLE)
        self.embeddings = torch.nn.Embedding(2, 2, dtype=dtype, device="meta")

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.embeddings


@pytest.mark.parametrize(
    ("dtype", "autocast", "in_half"),
    [
        (torch.bfloat16, False, True),
        (torch.float32, True, True),
        (torch.float32, False, False),
    ],
)
def test_a_row_names_the_kernel_or_the_counts(
    ampere: None, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, autocast: bool, in_half: bool
) -> None:
    """A list of counts would be a constant of a compiled layer, which was compiled anew for each batch."""
    monkeypatch.setattr(attention, "variable_length_attention", lambda device: varlen.varlen_attn)
    monkeypatch.setattr(attention, "computed_dtype", lambda weight: torch.bfloat16 if autocast else weight.dtype)
    given = attention.row_arguments(FakeLanguageModel(dtype), torch.tensor(LENGTHS))
    assert ("kernel" in given, "sample_lengths" in given) == (in_half, not in_half)
    assert torch.equal(given["cu_seq_lens_q"], ENDS)
    assert given["max_length_q"] == max(LENGTHS)
