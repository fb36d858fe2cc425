"""Weights and adapters that are missing or cut off, found by their names, headers and lengths before they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError, first_line
from .checkpoint import model_file, read_object

INDEX_FILE = "model.safetensors.index.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def check_weights(folder: str | Path) -> None:
    """Raise UserError for a file of the weights in a model's folder that is missing or damaged; a hub id is not looked at."""
    for file in _weights_in(Path(folder)):
        if not file.is_file():
            raise UserError(f"{file} is missing, and {INDEX_FILE} beside it names it; copy the model again")
        check_tensors(file)


def check_tensors(file: Path) -> None:
    """Raise UserError for a file of tensors that cannot be opened or is cut off."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} is damaged: {first_line(error)}; copy it again") from error


def _weights_in(folder: Path) -> Iterator[Path]:
    single, index = folder / "model.safetensors", folder / INDEX_FILE
    if single.is_file():
        yield single
    elif index.is_file():
        names = read_object(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise UserError(f"{index} is damaged: it names no weights; copy it again")
        yield from (folder / name for name in sorted(set(names.values())))


def check_adapter(adapter: str) -> None:
    """Raise UserError for a LoRA adapter whose configuration or weights are missing or damaged."""
    config = model_file(adapter, "adapter_config.json")
    if config is None:
        raise UserError(f"--adapter {adapter} holds no adapter_config.json; name the folder of a LoRA adapter")
    if not isinstance(read_object(config).get("peft_type"), str):
        raise UserError(f"{config} is damaged: it names no peft_type; copy the adapter again")
    weights = next(filter(None, (model_file(adapter, name) for name in ADAPTER_WEIGHTS)), None)
    if weights is None:
        raise UserError(f"{adapter} is missing its weights, {ADAPTER_WEIGHTS[0]}; copy the adapter again")
    if weights.suffix == ".safetensors":
        check_tensors(weights)


def put_adapter(model: Any, adapter: str) -> Any:
    """The model with an adapter on top of it.

    Raises:
        UserError: the adapter cannot be read, or belongs to another base.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, adapter)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{adapter} holds no adapter that can be read: {first_line(error)}") from error
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise UserError(
            f"the adapter {adapter} does not fit {model.name_or_path}: the shapes of their weights differ; "
            "name its own base with --model"
        ) from error
