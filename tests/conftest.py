"""No network, no GPU, one thread, the tiny model; and small data sets that tests draw themselves."""

from __future__ import annotations

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from drawing import WORDS, draw_line
from shared_data import DATA, NO_SHARED, SHARED

pytest_plugins = ["skips"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine fails the test."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test reached for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session", autouse=True)
def _caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches go to a temporary folder, not to the user's: features, surveys, and data sets as they were read."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    datasets.config.HF_DATASETS_CACHE = folder / "datasets"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is missing."""
    if not DATA.is_dir():
        pytest.skip(NO_SHARED)
    return SHARED


@pytest.fixture(scope="session")
def tiny_random() -> Path:
    """The checkpoint directory of tiny-random."""
    from glm_ocr_finetune.model.tiny import tiny_path

    return tiny_path("tiny-random")


@pytest.fixture(scope="session")
def processor(tiny_random: Path) -> Any:
    """The processor of the tiny model."""
    from glm_ocr_finetune.inputs.processor import load_processor

    return load_processor(tiny_random)


@pytest.fixture(autouse=True)
def _messages_go_to_pytest() -> None:
    """A command that an earlier test ran has arranged where messages go; each test begins as a program does."""
    ours = logging.getLogger("glm_ocr_finetune")
    ours.handlers.clear()
    ours.setLevel(logging.NOTSET)
    ours.propagate = True


@pytest.fixture(scope="session")
def line_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve lines as images/*.png with a manifest.jsonl of image and text."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "images").mkdir()
    rows = []
    for index, word in enumerate(WORDS):
        draw_line(word).save(folder / "images" / f"{index}.png")
        rows.append({"image": f"images/{index}.png", "text": word})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; returns its exit code, standard output and standard error."""
    from glm_ocr_finetune.cli import main

    def call(*argv: object) -> tuple[int, str, str]:
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
