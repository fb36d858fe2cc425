"""What all sections need: which device there is, the images, and the model."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from .cases import Case, Place, Result

PACKAGES = ("torch", "torchvision", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "triton")
MERGES = 300  # about one token a syllable


def prepare(place: Place) -> Result:
    """Draw the images, write the model with random weights (the tiny one is there already), tell the next ones."""
    import torch

    from .drawing import texts, write_data

    device = "cuda" if torch.cuda.is_available() else "cpu"
    write_data(place.folder / "data", device)
    model = "tiny"
    if device == "cuda" or place.depth:
        model = write_model(place, device, texts(place.folder / "data"))
    place.settled(device, model).write()
    facts = machine()
    name = "full size" if model != "tiny" else "tiny"
    return Result(
        f"{facts['device']}, torch {facts['torch']}, transformers {facts['transformers']}; {name}", facts=facts
    )


def write_model(place: Place, device: str, learnt_from: list[str]) -> str:
    """The checkpoint directory of the full-size architecture, drawn on the device, in bf16."""
    from ..full_size import write_checkpoint

    output, dtype = place.folder / "model", "bfloat16"
    written = write_checkpoint(
        place.config_dir, output, place.depth, place.depth, learnt_from, MERGES, device=device, dtype=dtype
    )
    return str(written)


def machine() -> dict[str, Any]:
    """The device, and the versions of what runs on it."""
    import torch

    facts: dict[str, Any] = {"device": platform.machine(), "python": platform.python_version()}
    facts |= {name: version(name) for name in PACKAGES}
    if torch.cuda.is_available():
        from glm_ocr_finetune.training.attention import variable_length_attention

        properties = torch.cuda.get_device_properties(0)
        found = variable_length_attention(torch.device("cuda", 0))
        facts["device"] = properties.name
        facts["memory"] = properties.total_memory
        facts["capability"] = f"{properties.major}.{properties.minor}"
        facts["cuda"] = torch.version.cuda
        facts["variable-length attention"] = "none" if found is None else str(found.func.__name__)  # type: ignore[attr-defined]
    return facts


def version(package: str) -> str | None:
    """The installed version; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


CASES = {"device, images, model": Case(prepare, limit_s=120)}
