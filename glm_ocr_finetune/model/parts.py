"""The parts of the model: which parameter belongs to which, what is frozen, what is trained."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


# Every parameter belongs to exactly one part; GLM-OCR has no module called vision_tower or multi_modal_projector.
PARTS = {
    "vision tower": r"model\.visual\.(patch_embed|blocks|post_layernorm)\.",
    "multi-modal projector": r"model\.visual\.(downsample|merger)\.",
    "language model": r"(model\.language_model|lm_head)\.",
}


_PEFT_PREFIX = "base_model.model."


def part_of(name: str) -> str:
    """The part of the model that a parameter or module belongs to, by its name (with or without peft's prefix)."""
    for part, pattern in PARTS.items():
        if re.match(pattern, name.removeprefix(_PEFT_PREFIX) + "."):
            return part
    raise ValueError(f"{name} belongs to no part of GLM-OCR")


def freeze(model: nn.Module, parts: list[str]) -> None:
    """Take the named parts out of training, and put the others in.

    Raises:
        ValueError: a part has no parameter in this model, so its pattern is wrong.
    """
    seen = set()
    for name, parameter in model.named_parameters():
        part = part_of(name)
        seen.add(part)
        parameter.requires_grad = part not in parts and parameter.is_floating_point()
    if missing := set(PARTS) - seen:
        raise ValueError(f"no parameter of this model belongs to: {', '.join(sorted(missing))}")


def linear_layers(model: nn.Module) -> dict[str, list[str]]:
    """Names of the linear layers that adapters can go on, by part; the output head is not among them."""
    from torch import nn

    found: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            found[part_of(name)].append(name)
    return found


def keep_trained_in_fp32(model: nn.Module) -> None:
    """Trained weights are fp32 masters: bf16 ones lose most updates of a small learning rate to rounding."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


@dataclass(frozen=True)
class Part:
    """A row of the table of parts: parameter counts, and the adapter rank (None without adapters)."""

    name: str
    parameters: int
    trainable: int
    rank: int | None


def count_parts(model: nn.Module) -> list[Part]:
    """Parameters, trainable ones and adapter rank of each part; 4-bit weights count as what they stand for."""
    counts = {part: [0, 0, 0] for part in PARTS}
    for name, parameter in model.named_parameters():
        row = counts[part_of(name)]
        if ".lora_A." in name:
            row[2] = max(row[2], _shape(parameter)[0])
        if ".lora_" not in name:
            row[0] += _numel(parameter)
        row[1] += _numel(parameter) if parameter.requires_grad else 0
    return [Part(name, total, trainable, rank or None) for name, (total, trainable, rank) in counts.items()]


def _numel(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    return math.prod(_shape(parameter) if state is None else state.shape)


def _shape(parameter: Any) -> tuple[int, ...]:
    """The shape of the whole, of which DeepSpeed ZeRO-3 leaves an empty tensor."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
