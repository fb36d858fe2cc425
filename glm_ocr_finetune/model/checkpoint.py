"""What a checkpoint directory holds besides the weights, and how the weights are written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_PROMPT
from ..errors import UserError
from ..network import only_local
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
    """How a checkpoint was tuned: ``glm_ocr_finetune.json``. Engines do not need it; reading commands read it back.

    Attributes:
        base_model: hub id, absolute path, ``tiny`` or ``tiny-random``.
        prompt: the prompt of most training samples.
        max_length: longest sequence in tokens that it was trained on; None where that is not known.
        other_prompts: those of the other samples, the most frequent first.
    """

    base_model: str = ""
    prompt: str = DEFAULT_PROMPT
    prompt_format: str = "serve"
    max_length: int | None = None
    other_prompts: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=_versions)

    def write(self, directory: str | Path) -> None:
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        (Path(directory) / SIDECAR).write_text(text, encoding="utf-8")


def read_sidecar(model: str | Path) -> Sidecar | None:
    """The sidecar of a checkpoint directory or hub id, or None where there is none, as in a base model.

    What a newer version has written beside the known keys is passed over; a key that an older one did not write has
    its default.

    Raises:
        UserError: the file is there and damaged.
    """
    file = model_file(model, SIDECAR)
    if file is None:
        return None
    found = read_object(file)
    known = {one.name: found[one.name] for one in fields(Sidecar) if one.name in found}
    if not all(isinstance(known.get(name, ""), str) for name in ("base_model", "prompt", "prompt_format")):
        raise UserError(f"{file} is damaged: base_model, prompt and prompt_format are texts")
    return Sidecar(**known)


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint. Raises UserError when it holds none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} is damaged: it holds no JSON object")
    return found


def model_file(model: str | Path, name: str) -> Path | None:
    """A small file of a checkpoint directory or of a hub id; None where it is not there."""
    if Path(model).exists():
        return file if (file := Path(model) / name).is_file() else None
    from transformers.utils import cached_file

    try:
        found = cached_file(str(model), name, local_files_only=only_local(str(model)))
    except OSError:
        return None  # whether there is such a model at all is told when its configuration is loaded
    return Path(found) if found else None


def stored_as(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, seed: int = 0) -> dict[str, torch.Tensor]:
    """The floating-point tensors of ``weights`` in ``dtype``, the others as they are.

    fp32 becomes bf16 by stochastic rounding: up or down with the odds that keep the expected value. To the nearest,
    a change of less than half a step of bf16 would be lost in every weight, and with it what a short run has learned
    (docs/log.md). What bf16 can hold, such as a frozen weight, stays as it is.

    Args:
        seed: the same seed gives the same tensors, each by its name.
    """
    import torch

    def stored(name: str, value: torch.Tensor) -> torch.Tensor:
        if value.dtype == torch.float32 and dtype == torch.bfloat16:
            return _round_at_random(value.detach().cpu(), zlib.crc32(f"{seed} {name}".encode()))
        return value.to(dtype) if value.is_floating_point() else value

    return {name: stored(name, value) for name, value in weights.items()}


def _round_at_random(value: torch.Tensor, seed: int) -> torch.Tensor:
    """fp32 to bf16: a random number is added below the last bit that is kept, the rest is cut off."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    bits = value.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, generator=generator)
    rounded = ((bits + noise) & -(1 << 16)).view(torch.float32)
    return torch.where(value.isfinite(), rounded, value).to(torch.bfloat16)


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


def correct_config(directory: Path, dtype: torch.dtype | None) -> None:
    """Make config.json name the type the weights are stored in, and drop what the trainer set for itself."""
    file = directory / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("use_cache", None)  # the trainer turns the cache off; whoever reads with the model wants it
    if dtype:
        for part in (config, config["text_config"], config["vision_config"]):
            part["dtype"] = str(dtype).removeprefix("torch.")
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
