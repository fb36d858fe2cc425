"""What a checkpoint directory holds besides the weights, and how the weights are written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .mtp import read_mtp_tensors

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SIDECAR = "glm_ocr_finetune.json"
VERSIONED = ("glm-ocr-finetune", "transformers", "trl", "peft", "torch")


def _versions() -> dict[str, str]:
    found = {}
    for package in VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Sidecar:
    """How a checkpoint was tuned: ``glm_ocr_finetune.json``. Engines do not need it; ``infer`` reads it back."""

    base_model: str
    prompt: str
    prompt_format: str
    versions: dict[str, str] = field(default_factory=_versions)

    def write(self, directory: str | Path) -> None:
        (Path(directory) / SIDECAR).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


def read_sidecar(directory: str | Path) -> Sidecar | None:
    """The sidecar of a checkpoint directory, or None where there is none (a base model, a hub id)."""
    file = Path(directory) / SIDECAR
    return Sidecar(**json.loads(file.read_text())) if file.is_file() else None


def save_model(
    model: PreTrainedModel,
    directory: str | Path,
    mtp_tensors: dict[str, torch.Tensor],
    state_dict: dict[str, torch.Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Write the weights with the MTP tensors among them, the configuration and the generation configuration.

    ``state_dict`` replaces the model's own (gathered from ranks, or cast to another type).
    """
    weights = dict(model.state_dict() if state_dict is None else state_dict)
    model.save_pretrained(directory, state_dict=weights | mtp_tensors, **kwargs)


def carried_mtp_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The MTP tensors of the checkpoint that ``model`` was loaded from, to be written again unchanged."""
    return read_mtp_tensors(model.name_or_path, model.config) if model.name_or_path else {}
