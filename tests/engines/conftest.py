"""A tuned model and an adapter, their exports, and what they read before they are served.

``ENGINES``: where ``setup.sh`` has put the engines. ``ENGINES_FULL`` and ``ENGINES_LORA``: output folders of runs to take
instead of tuning here (their evaluation readings name the lines), ``ENGINES_LINES``: how many lines to read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from exports import exported, readings, tuned
from serving import Line


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("ENGINES_FULL")
    return Path(given) if given else tuned(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def lora_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("ENGINES_LORA")
    return Path(given) if given else tuned(tmp_path_factory.mktemp("lora"), "--use_lora", "True")


@pytest.fixture(scope="session")
def full_export(full_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(full_run, "vllm", tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="session")
def full_lines(full_export: Path, full_run: Path) -> list[Line]:
    return readings(full_export, full_run)


@pytest.fixture(scope="session")
def stops(full_export: Path) -> list[int]:
    return list(json.loads((full_export / "generation_config.json").read_text())["eos_token_id"])
