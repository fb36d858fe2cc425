"""Entries that were changed are noticed, a cache that cannot be written is only a cache, and copies know what is held."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_ocr_finetune.vision.cache import DiskStore, MemoryStore, VisionCache

KEY, OTHER = b"k" * 16, b"o" * 16


def features_of(number: int, tokens: int = 3) -> torch.Tensor:
    return torch.full((tokens, 4), float(number), dtype=torch.bfloat16)


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "vision" / "one", 1e9)


def test_every_flipped_byte_of_the_features_is_noticed(store: DiskStore, caplog: Any) -> None:
    store.put(KEY, features_of(1))
    file = store.file(KEY)
    whole = file.read_bytes()
    for position in range(len(whole) - features_of(1).nbytes, len(whole)):
        harmed = bytearray(whole)
        harmed[position] ^= 1
        file.write_bytes(harmed)
        assert store.get(KEY) is None
        assert not file.exists()
    assert "does not hold what was written; they are computed again" in caplog.text
    assert store.put(KEY, features_of(1))
    assert torch.equal(store.get(KEY), features_of(1))  # type: ignore[arg-type]


def test_a_flipped_byte_of_the_header_gives_no_wrong_features(store: DiskStore) -> None:
    store.put(KEY, features_of(1))
    whole = store.file(KEY).read_bytes()
    for position in range(len(whole) - features_of(1).nbytes):
        harmed = bytearray(whole)
        harmed[position] ^= 1
        store.file(KEY).write_bytes(harmed)
        found = store.get(KEY)
        assert found is None or torch.equal(found, features_of(1))


def test_a_disk_that_fills_up_ends_the_keeping_and_nothing_else(
    store: DiskStore, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(KEY, features_of(1))
    store.file(OTHER).parent.write_text("a file where the folder should be")  # what writes there fails
    cache = VisionCache("name", store)
    cache.put(OTHER, features_of(2))
    cache.put(b"p" * 16, features_of(2))
    assert (cache.refused, caplog.text.count("cannot be written"), caplog.text.count("takes no more")) == (2, 1, 1)
    assert cache.get(KEY, 3) is not None
    assert not list(store.directory.rglob("*.partial"))


def test_a_collection_that_another_run_has_removed_is_begun_again(store: DiskStore) -> None:
    store.put(KEY, features_of(1))
    DiskStore(store.directory.parent / "two", 10.0)  # has no room beside it
    assert not store.directory.exists()
    assert store.get(KEY) is None
    assert store.put(KEY, features_of(1))
    assert store.get(KEY) is not None


def test_a_copy_in_another_process_knows_what_is_held_and_holds_nothing() -> None:
    cache = VisionCache("name", MemoryStore(1e6))
    cache.put(KEY, features_of(1))
    data = pickle.dumps(cache)
    copy = pickle.loads(pickle.dumps(pickle.loads(data)))
    assert len(data) < 400
    found = copy.get(KEY, 3)
    assert found is not None
    assert found.shape == (3, 0)
    assert copy.get(KEY, 4) is None
    assert copy.get(OTHER, 3) is None
    assert not copy.store.put(OTHER, features_of(2))


@pytest.mark.parametrize("mode", ["disk", "auto"])
def test_a_cache_folder_that_cannot_be_written_is_only_a_warning(
    line_folder: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "rows"))
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: type("Full", (), {"available": 0, "total": 2**34})
    )  # auto looks at the disk
    words = ("train", "--model_name", "tiny", "--dataset_name", line_folder, "--output_dir", tmp_path / "out")
    code, _, err = run(*words, "--max_steps", 4, "--report_to", "none", "--cache_vision_features", mode)
    assert code == 0, err
    assert "not cached" in err
