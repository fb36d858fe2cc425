"""What is exported: a full checkpoint, a LoRA adapter with its base, or a run's output folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..folders import EVALUATION_FOLDER, RUN_FILE
from ..inputs.processor import load_processor
from ..model.checkpoint import Sidecar, model_file, read_sidecar
from ..model.damage import put_adapter
from ..model.loading import base_and_adapter, load_config, load_weights, resolve_model_path
from ..model.mtp import read_mtp_tensors

if TYPE_CHECKING:
    import torch
    from transformers import Glm46VProcessor


@dataclass(frozen=True)
class Source:
    """A model to export.

    Attributes:
        base: path or hub id of the model whose weights are loaded: the tuned one itself, or the adapter's base.
        adapter: path or hub id of the LoRA adapter, or None.
        sidecar: how it was tuned; the defaults where nothing says so.
        run: the output folder of the run that made it, where that is known.
        four_bit: whether it was trained on a base in 4 bits.
    """

    base: str
    adapter: str | None
    sidecar: Sidecar
    run: Path | None
    four_bit: bool

    @property
    def tuned(self) -> str:
        """Where the processor and the other small files lie."""
        return self.adapter or self.base

    def load_model(self, four_bit: bool = False, merged: bool = True) -> Any:
        """The model in fp32, in evaluation mode, the adapter merged into it or on top of it.

        Args:
            four_bit: with the language model in 4 bits, as it was trained.
        """
        import torch

        device = None if four_bit else proof_device()
        model: Any = load_weights(self.base, four_bit, device, torch.float32)
        if self.adapter:
            model = put_adapter(model, self.adapter)
            model = model.merge_and_unload() if merged and not four_bit else model
        return model.eval()

    def load_processor(self) -> Glm46VProcessor:
        has_own = model_file(self.tuned, "processor_config.json") is not None
        return load_processor(self.tuned if has_own else self.base)

    def mtp_tensors(self) -> dict[str, torch.Tensor]:
        """The multi-token-prediction tensors: the tuned ones, else the base's, else none."""
        config = load_config(self.base)
        own = read_mtp_tensors(self.adapter, config) if self.adapter else {}
        return own or read_mtp_tensors(self.base, config)


def proof_device() -> str:
    """The device to read on: one, so that a model before and after computes alike."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def find_source(model_name: str, adapter: str | None) -> Source:
    """What ``--model`` and ``--adapter`` mean.

    Raises:
        UserError: there is no such model, or the folder of a run holds checkpoints only.
    """
    _refuse_unfinished(Path(model_name))
    base, adapter = base_and_adapter(model_name, adapter)
    base = resolve_model_path(base)
    load_config(base)
    tuned = adapter or base
    run = _run_of(Path(tuned))
    return Source(base, adapter, read_sidecar(tuned) or Sidecar(base_model=base), run, _was_in_4bit(run))


def _refuse_unfinished(folder: Path) -> None:
    from ..training.checkpoints import checkpoints_in

    holds_weights = any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    if folder.is_dir() and not holds_weights and (saved := checkpoints_in(folder)):
        raise UserError(
            f"{folder} holds a run that has not finished; export one of its checkpoints: --model {saved[-1]}"
        )


def _run_of(folder: Path) -> Path | None:
    """The output folder of a run: the model's own or, for one of its checkpoints, the one above."""
    return next((one for one in (folder, folder.resolve().parent) if (one / EVALUATION_FOLDER).is_dir()), None)


def _was_in_4bit(run: Path | None) -> bool:
    try:
        record = json.loads((run / RUN_FILE).read_text(encoding="utf-8")) if run else {}
        return bool(record.get("arguments", {}).get("load_in_4bit"))
    except (OSError, ValueError):
        return False
