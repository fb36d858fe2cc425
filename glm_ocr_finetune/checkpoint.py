"""What a checkpoint directory holds, and how it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import Glm46VProcessor, PreTrainedModel


def save_model(
    model: PreTrainedModel,
    directory: str | Path,
    mtp_tensors: dict[str, torch.Tensor],
    state_dict: dict[str, torch.Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Write the weights with the MTP tensors among them, the configuration and the generation configuration.

    ``state_dict`` replaces the model's own (gathered from ranks, for instance).
    """
    weights = dict(model.state_dict() if state_dict is None else state_dict)
    model.save_pretrained(directory, state_dict=weights | mtp_tensors, **kwargs)


def save_processor(processor: Glm46VProcessor, directory: str | Path) -> None:
    """Write the processor, and ``preprocessor_config.json`` beside it for Ollama and older readers."""
    processor.save_pretrained(directory)
    image_processor = json.loads(processor.image_processor.to_json_string())
    legacy = image_processor | {"processor_class": type(processor).__name__}
    (Path(directory) / "preprocessor_config.json").write_text(json.dumps(legacy, indent=2) + "\n")
