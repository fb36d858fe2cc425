"""The files of an export: weights in bf16 under their original names, and what goes with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inputs.processor import save_processor
from ..inputs.special_tokens import STOP_TOKEN
from ..model.checkpoint import Sidecar, correct_config, model_file, save_model, stored_as

if TYPE_CHECKING:
    import torch
    from transformers import Glm46VProcessor

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
END_TOKEN = "<|endoftext|>"


def rounded_weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights of an fp32 model as they are written: in bf16 (see :func:`..model.checkpoint.stored_as`), on the CPU."""
    import torch

    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return stored_as(weights, torch.bfloat16)


def load_rounded(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a model the weights as they are written, in the type it computes in."""
    model.load_state_dict({name: value.to(model.dtype) for name, value in weights.items()})


def stop_ids(processor: Glm46VProcessor, model: Any) -> list[int]:
    """Every id that ends an answer: those the model has, ``<|endoftext|>`` and ``<|user|>``."""
    eos = model.generation_config.eos_token_id
    own = [eos] if isinstance(eos, int) else list(eos or [])
    both = processor.tokenizer.convert_tokens_to_ids([END_TOKEN, STOP_TOKEN])
    return list(dict.fromkeys([*own, *both]))


def write_full(
    model: Any,
    processor: Glm46VProcessor,
    weights: Mapping[str, torch.Tensor],
    mtp_tensors: Mapping[str, torch.Tensor],
    directory: Path,
    max_shard_size: str | None,
) -> None:
    """Write a whole model.

    Args:
        weights: as :func:`rounded_weights` gives them.
        mtp_tensors: the sixteen, or none: then config.json says so, for engines believe it.
    """
    import torch

    model.generation_config.eos_token_id = stop_ids(processor, model)
    model.config.text_config.num_nextn_predict_layers = 1 if mtp_tensors else 0
    drafts = {name: value.to(torch.bfloat16) for name, value in mtp_tensors.items()}
    options = {"max_shard_size": max_shard_size} if max_shard_size else {}
    save_model(model, directory, drafts, dict(weights), **options)
    correct_config(directory, torch.bfloat16)
    save_processor(processor, directory)


def write_adapter(adapter: str, processor: Glm46VProcessor, directory: Path) -> None:
    """Copy the adapter as it is, and write the processor it was tuned with."""
    directory.mkdir(parents=True)
    for name in ADAPTER_FILES:
        if file := model_file(adapter, name):
            shutil.copyfile(file, directory / name)
    save_processor(processor, directory)


def write_beside(directory: Path, base: str, sidecar: Sidecar) -> None:
    """The sidecar, and the base's ``tokenizer.json`` byte for byte: converters recognise a tokenizer by it."""
    if file := model_file(base, "tokenizer.json"):
        shutil.copyfile(file, directory / "tokenizer.json")
    sidecar.write(directory)


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
