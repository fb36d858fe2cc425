"""What the sections share: a case, what it finds, and the place it runs in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

PLACE_FILE = "place.json"
BATCH_SIZES = {"cuda": {"line": 16, "page": 4}, "cpu": {"line": 2, "page": 1}}


@dataclass(frozen=True)
class Place:
    """Where cases run; what ``setup`` settles stands in ``place.json`` for the processes after it.

    Attributes:
        folder: everything that is written lies there.
        config_dir: the small files of the real model.
        depth: layers of either kind of the full-size architecture; all of them when None.
        llamafactory: a virtual environment or a folder of packages with LLaMA-Factory, or nothing.
        device: ``cuda`` or ``cpu``.
        model: a checkpoint directory, or ``tiny``.
    """

    folder: Path
    config_dir: Path
    depth: int | None = None
    llamafactory: str = ""
    device: str = "cpu"
    model: str = "tiny"

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def data(self, kind: str) -> Path:
        """The folder with the images of a kind and their ``manifest.jsonl``."""
        return self.folder / "data" / kind

    def batch_size(self, kind: str) -> int:
        return BATCH_SIZES[self.device][kind]

    def output(self) -> Path:
        """A folder of its own for what a training writes."""
        return Path(tempfile.mkdtemp(prefix="output-", dir=self.folder))

    def settled(self, device: str, model: str) -> Place:
        return replace(self, device=device, model=model)

    def write(self) -> None:
        told = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        (self.folder / PLACE_FILE).write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Place:
        told = json.loads((folder / PLACE_FILE).read_text(encoding="utf-8"))
        return cls(**told | {"folder": Path(told["folder"]), "config_dir": Path(told["config_dir"])})


@dataclass(frozen=True)
class Result:
    """What a case found.

    Attributes:
        found, wanted: one line each, for the table.
        passed: None where the case does not apply here; ``found`` says why.
        facts: the numbers behind it, for the JSON file.
    """

    found: str
    wanted: str = ""
    passed: bool | None = True
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One thing to find out, and the seconds it may take."""

    run: Callable[[Place], Result]
    limit_s: float = 60.0


def typed(given: dict[str, object]) -> list[str]:
    """Arguments as they stand on a command line."""
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def training_arguments(place: Place, kind: str, **given: object) -> list[str]:
    """What is typed for a short training on the first batch of a kind, which leaves nothing behind."""
    size = place.batch_size(kind)
    base: dict[str, object] = {
        "model_name": place.model,
        "dataset_name": place.data(kind),
        "max_samples": size,
        "max_length": 8192,
        "eval_split_size": 0,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": 1,
        "dataloader_num_workers": 0,
        "warmup_ratio": 0,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "output_dir": place.output(),
    }
    return typed(base | given)
