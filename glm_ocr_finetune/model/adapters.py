"""LoRA adapters: where they go, and what an adapter directory names as its base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .checkpoint import model_file, read_object, read_sidecar
from .parts import linear_layers, part_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def check_adapter_arguments(
    use_lora: bool, lora_rank: int, lora_alpha: int | None, lora_dropout: float, load_in_4bit: bool
) -> None:
    """Raise UserError for adapter arguments that cannot work."""
    if lora_rank < 1:
        raise UserError(f"--lora_rank is {lora_rank}; a rank is at least 1 (8 is the official recipe's)")
    if lora_alpha is not None and lora_alpha < 1:
        raise UserError(f"--lora_alpha is {lora_alpha}; it is at least 1 (2 x rank is the default)")
    if not 0 <= lora_dropout < 1:
        raise UserError(f"--lora_dropout is {lora_dropout}; it is a probability from 0 to below 1")
    if load_in_4bit and not use_lora:
        raise UserError("--load_in_4bit True needs --use_lora True: 4-bit weights cannot be trained themselves")


def lora_target_modules(model: nn.Module, lora_target: str) -> list[str]:
    """Full names of the linear layers to adapt: those of the parts being trained, all or the named ones."""
    trained = {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    candidates = [name for part, names in linear_layers(model).items() if part in trained for name in names]
    if lora_target == "all":
        return candidates
    wanted = [target.strip() for target in lora_target.split(",") if target.strip()]
    known = sorted({name.rsplit(".", 1)[-1] for name in candidates})
    if unknown := [target for target in wanted if target not in known] or not wanted:
        raise UserError(
            f"--lora_target {lora_target!r}: {unknown if wanted else 'nothing'} is no linear layer of the parts being "
            f"trained; expected 'all' or some of: {', '.join(known)}"
        )
    return [name for name in candidates if name.rsplit(".", 1)[-1] in wanted]


def add_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float, lora_target: str) -> Any:
    """Wrap the model in LoRA adapters (scaling alpha / rank); everything else becomes frozen."""
    from peft import LoraConfig, get_peft_model

    targets = lora_target_modules(model, lora_target)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)


def adapter_base(path: str) -> str | None:
    """The base model that an adapter directory or hub id names; None when it is no adapter."""
    config = model_file(path, "adapter_config.json")
    if config is None:
        return None
    sidecar = read_sidecar(path)
    if sidecar and sidecar.base_model:
        return sidecar.base_model
    base = read_object(config).get("base_model_name_or_path")
    if not isinstance(base, str):
        raise UserError(f"{config} is damaged: it names no base_model_name_or_path; copy the adapter again")
    return base


def check_servable(adapter: str) -> None:
    """Raise UserError for an adapter that vLLM cannot load beside its base."""
    file = model_file(adapter, "adapter_config.json")
    config = read_object(file) if file else {}
    merge = "merge it instead: --for vllm"
    for name, fine in (("use_dora", False), ("bias", "none"), ("modules_to_save", None)):
        if (value := config.get(name, fine)) not in (fine, None, []):
            raise UserError(f"{adapter} has {name} {value!r}, which vLLM does not load; {merge}")
    targets = config.get("target_modules") or []
    if outside := [one for one in targets if isinstance(targets, list) and "visual" in one]:
        raise UserError(
            f"{adapter} adapts {len(outside)} layers of the vision tower or projector, which vLLM does not load by default; {merge}"
        )
