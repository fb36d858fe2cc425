"""Are losses and gradients of the device those of fp32 on a CPU, and does no shortcut change them?

The reference is transformers' own forward on a padded batch, on the CPU, in fp32. Everything else goes through this
project's: rows without padding, features from the tower, the head on labels. The batch is three lines and a region;
all parts of the model are trained, or adapters of the language model. Errors are relative: of the loss (absolute where
it is below 1), and of all gradients of a part of the model together, |found - expected| / |expected|.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .cases import Case, Place, Result

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FULL_PRECISION = (1e-4, 1e-3)  # most that loss and gradients may differ
HALF_PRECISION = (1e-2, 0.15)
SAME_PRECISION = (1e-2, 0.1)  # both in half precision, by other kernels
SAME_KERNELS = (1e-4, 1e-2)  # backward passes on a GPU add in an order of their own
ATTENTION = {"cuda": 2e-2, "cpu": 1e-5}  # outputs and gradients of attention alone
LENGTHS = [97, 1, 250, 333]


@dataclass(frozen=True)
class Outcome:
    """The loss of a batch, and the gradient of each trained parameter, in fp32 on the CPU."""

    loss: float
    gradients: dict[str, Tensor]


def load(place: Place, mode: str, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model, all of it trained or with adapters, and its processor; fp32 or as it is trained on this machine."""
    import torch

    from glm_ocr_finetune import load_model

    torch.manual_seed(0)  # adapters are drawn at random
    lora = mode == "lora"
    model, processor = load_model(
        place.model, use_lora=lora, freeze_vision_tower=lora, freeze_multi_modal_projector=lora
    )
    if lora:
        move_adapters(model)
    model = model.float() if dtype == torch.float32 else model
    return model.to(device).train(), processor


def move_adapters(model: Any) -> None:
    """Adapters begin at zero and then get gradients in one half only; away from it, both do."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)


def mixed_batch(place: Place, processor: Any, cache: Any = None) -> dict[str, Tensor]:
    """Three lines and a region, on the CPU; with the features of images that are in the cache."""
    from glm_ocr_finetune.args import DataArguments
    from glm_ocr_finetune.data.collate import VLMDataCollator
    from glm_ocr_finetune.data.splits import load_splits
    from glm_ocr_finetune.inputs.prompt import PromptRenderer

    renderer = PromptRenderer(processor)
    data_args = DataArguments(dataset_name=str(place.data("mixed")))
    samples = load_splits(data_args, renderer, None, seed=0, evaluate=False).train
    return VLMDataCollator(renderer, cache=cache)(list(samples))


@functools.cache
def reference(place: Place, mode: str) -> Outcome:
    """By transformers' own forward, on the CPU, in fp32."""
    import torch

    model, processor = load(place, mode, "cpu", torch.float32)
    return outcome(model, model(**mixed_batch(place, processor)).loss)


def outcome(model: Any, loss: Tensor) -> Outcome:
    """The gradients that a loss gives; the model has none left."""
    loss.backward()  # type: ignore[no-untyped-call]
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.grad is not None]
    found = Outcome(loss.item(), {name: parameter.grad.float().cpu() for name, parameter in named})
    model.zero_grad()
    return found


def compute(
    model: Any,
    batch: Mapping[str, Tensor],
    dtype: torch.dtype,
    padding_free: bool = True,
    cache: Any = None,
    layers: Any = None,
) -> Outcome:
    """By this project's forward, on the model's device; with ``layers`` by compiled ones."""
    import torch

    from glm_ocr_finetune.training.forward import replace_forward
    from glm_ocr_finetune.vision.encoder import VisionEncoder

    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    frozen = not any(parameter.requires_grad for parameter in inner.model.visual.parameters())
    replace_forward(inner, VisionEncoder(cache, frozen), padding_free, layers=layers)
    device = inner.device
    inputs = {name: value.to(device) for name, value in batch.items()}
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        loss = model(**inputs, fused_lm_head=True).loss
    return outcome(model, loss)


def compare(found: Outcome, expected: Outcome, limits: tuple[float, float]) -> Result:
    """Relative errors of loss and gradients, and whether both are within the limits."""
    loss = abs(found.loss - expected.loss) / max(1.0, expected.loss)
    parts = gradient_errors(found.gradients, expected.gradients)
    worst = max(parts.values())
    shown = ", ".join(f"{part} {error:.1e}" for part, error in parts.items())
    return Result(
        f"loss {loss:.1e}, gradients: {shown}",
        f"at most {limits[0]:g}, {limits[1]:g}",
        loss <= limits[0] and worst <= limits[1] and found.gradients.keys() == expected.gradients.keys(),
        {"loss": found.loss, "expected loss": expected.loss, "loss error": loss, "gradient errors": parts}
        | {"worst": worst_of(found.gradients, expected.gradients)},
    )


def gradient_errors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """Of all gradients of each part of the model together; not a number where one of them is none."""
    from glm_ocr_finetune.model.parts import part_of

    squares: dict[str, list[float]] = {}
    for name, value in expected.items():
        sums = squares.setdefault(part_of(name), [0.0, 0.0])
        sums[0] += (found[name] - value).double().square().sum().item()
        sums[1] += value.double().square().sum().item()
    return {part: (wrong / whole) ** 0.5 for part, (wrong, whole) in squares.items()}


def worst_of(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[tuple[str, float]]:
    """The five parameters whose own gradients differ most."""
    errors = {
        name: ((found[name] - value).norm() / value.norm().clamp_min(1e-12)).item() for name, value in expected.items()
    }
    return sorted(errors.items(), key=lambda pair: -pair[1])[:5]


def full_precision(place: Place) -> Result:
    """fp32 on the device, without the shorter mantissa of TF32."""
    import torch

    model, processor = load(place, "full", place.device, torch.float32)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = compute(model, mixed_batch(place, processor), torch.float32)
    return compare(found, reference(place, "full"), FULL_PRECISION)


def half_precision(place: Place, mode: str) -> Result:
    """As it is trained on a GPU: autocast, fp32 trained weights, frozen ones in half precision."""
    import torch

    if half(place) == torch.float16:
        return Result("no bf16 here; fp16 needs a scaled loss", passed=None)
    model, processor = load(place, mode, place.device, half(place))
    found = compute(model, mixed_batch(place, processor), half(place))
    return compare(found, reference(place, mode), HALF_PRECISION)


def half(place: Place) -> torch.dtype:
    """The half precision of this GPU; bf16 on a CPU."""
    import torch

    return usual() if place.on_gpu else torch.bfloat16


def usual() -> torch.dtype:
    """What is trained in on this machine: half precision on a GPU, fp32 on a CPU."""
    from glm_ocr_finetune.model.loading import compute_dtype

    return compute_dtype()


def rows_against_padding(place: Place) -> Result:
    """One row without padding against a padded batch."""
    model, processor = load(place, "full", place.device, usual())
    batch = mixed_batch(place, processor)
    padded = compute(model, batch, usual(), padding_free=False)
    return compare(compute(model, batch, usual()), padded, SAME_PRECISION)


def attention_alone(place: Place) -> Result:
    """Attention within the samples of a row, as it is trained, against a mask over the whole row in fp32."""
    import torch

    torch.manual_seed(0)
    given = [torch.randn(1, heads, sum(LENGTHS), 128, device=place.device).to(usual()) for heads in (16, 8, 8)]
    exact = [tensor.detach().float().clone() for tensor in given]
    weights = torch.randn(1, sum(LENGTHS), 16, 128, device=place.device)
    pairs = zip(with_gradients(by_sample, given, weights), with_gradients(masked, exact, weights), strict=True)
    found = [((one.float() - other).norm() / other.norm()).item() for one, other in pairs]
    errors = dict(zip(("output", "gradient of query", "of key", "of value"), found, strict=True))
    limit = ATTENTION[place.device]
    shown = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    return Result(shown, f"at most {limit:g}", max(found) <= limit, errors)


def with_gradients(attend: Callable[..., Tensor], tensors: list[Tensor], weights: Tensor) -> list[Tensor]:
    """What attention gives, and the gradients of query, key and value for a weighted sum of it."""
    import torch

    inputs = [tensor.requires_grad_() for tensor in tensors]
    output = attend(*inputs)
    return [output, *torch.autograd.grad(output, inputs, weights.to(output.dtype))]


def by_sample(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(1, L, heads, head_dim): as in training; key and value have half as many heads as the query."""
    import torch

    from glm_ocr_finetune.training.attention import HALF, attend_by_sample, variable_length_attention

    kernel = variable_length_attention(query.device) if query.dtype in HALF else None
    module: Any = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    ends = torch.tensor([0, *LENGTHS], device=query.device).cumsum(0).to(torch.int32)
    return attend_by_sample(module, query, key, value, None, LENGTHS, ends, max(LENGTHS), kernel=kernel)[0]


def masked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(1, L, heads, head_dim): causal attention over the whole row, with all but the own sample masked."""
    import torch

    sample = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS)).to(query.device)
    allowed = (sample[:, None] == sample[None]).tril()
    key, value = (tensor.repeat_interleave(2, dim=1) for tensor in (key, value))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, allowed).transpose(1, 2)


NO_KERNEL = Result("no kernel of variable length here: it needs a GPU of capability 8.0 and torch 2.11", passed=None)


def kernel_against_samples(place: Place) -> Result:
    """The kernel of variable length against attention to each sample on its own."""
    import torch

    from glm_ocr_finetune.training import attention

    if not attention.variable_length_attention(torch.device(place.device)):
        return NO_KERNEL
    model, processor = load(place, "full", place.device, usual())
    batch = mixed_batch(place, processor)
    found = compute(model, batch, usual())
    with without_kernel():
        alone = compute(model, batch, usual())
    return compare(found, alone, SAME_PRECISION)


@contextmanager
def without_kernel() -> Iterator[None]:
    """Attention as where there is no kernel of variable length."""
    from glm_ocr_finetune.training import attention

    own = attention.variable_length_attention
    attention.variable_length_attention = lambda device: None  # type: ignore[assignment]
    try:
        yield
    finally:
        attention.variable_length_attention = own


def cache_against_none(place: Place) -> Result:
    """Features that were kept in memory against those that the tower makes."""
    from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache

    model, processor = load(place, "lora", place.device, usual())
    cache = VisionCache("gpu", MemoryStore(float("inf")))
    live = compute(model, mixed_batch(place, processor), usual())
    compute(model, mixed_batch(place, processor, cache), usual(), cache=cache)
    batch = mixed_batch(place, processor, cache)
    if not batch["is_cached"].all():
        return Result("images that were seen are not in the cache", passed=False)
    return compare(compute(model, batch, usual(), cache=cache), live, SAME_KERNELS)


def compiled_against_uncompiled(place: Place, mode: str) -> Result:
    """Decoder layers as ``--torch_compile True`` compiles them."""
    import torch

    from glm_ocr_finetune.training.attention import variable_length_attention
    from glm_ocr_finetune.training.compiling import CompiledLayers
    from glm_ocr_finetune.vision.encoder import backbone_of

    if not variable_length_attention(torch.device(place.device)):
        return NO_KERNEL
    model, processor = load(place, mode, place.device, usual())
    batch = mixed_batch(place, processor)
    plain = compute(model, batch, usual())
    layers = CompiledLayers(backbone_of(model).language_model)
    return compare(compute(model, batch, usual(), layers=layers), plain, SAME_PRECISION)


CASES = {
    "fp32 against fp32 on a CPU": Case(full_precision, limit_s=90),
    "half precision against fp32 on a CPU": Case(lambda place: half_precision(place, "full"), limit_s=90),
    "half precision against fp32 on a CPU, LoRA": Case(lambda place: half_precision(place, "lora"), limit_s=90),
    "a row without padding against a padded batch": Case(rows_against_padding),
    "attention alone, against a mask over the row": Case(attention_alone),
    "variable-length kernel against each sample on its own": Case(kernel_against_samples),
    "cached features against live ones": Case(cache_against_none),
    "compiled layers against uncompiled": Case(lambda place: compiled_against_uncompiled(place, "full"), limit_s=120),
    "compiled layers against uncompiled, LoRA": Case(
        lambda place: compiled_against_uncompiled(place, "lora"), limit_s=120
    ),
}
