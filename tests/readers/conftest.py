"""A small data set in memory, and a cache of ``datasets`` that is thrown away."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

from pathlib import Path

import pytest
from PIL import Image

TEXTS = ["amber", "007", "NA", "two\nlines, and a comma"]


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test."""
    import datasets

    folder = tmp_path_factory.mktemp("datasets_cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images/0.png to images/3.png of different shades."""
    (tmp_path / "set" / "images").mkdir(parents=True)
    for index in range(len(TEXTS)):
        Image.new("L", (40, 30), 50 * index).save(tmp_path / "set" / "images" / f"{index}.png")
    return tmp_path / "set"
