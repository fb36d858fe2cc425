"""Kept features come back as they were, belong to one image, budget and tower, and never exceed their room."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import draw_line

from glm_ocr_finetune.inputs.images import content_key
from glm_ocr_finetune.inputs.processor import PixelBudget, load_processor
from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.vision.cache import DiskStore, MemoryStore, VisionCache, fingerprint

FEATURES = torch.arange(20, dtype=torch.float32).view(10, 2)
KEY, OTHER = b"k" * 16, b"o" * 16


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Room for one entry, not for two."""
    return MemoryStore(100) if request.param == "memory" else DiskStore(tmp_path / "one", 300)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_come_back_bit_for_bit(store: Any, dtype: torch.dtype) -> None:
    assert store.get(KEY) is None
    assert store.put(KEY, FEATURES.to(dtype))
    assert torch.equal(store.get(KEY), FEATURES.to(dtype))
    assert store.get(KEY).dtype == dtype
    assert store.get(OTHER) is None


def test_what_finds_no_room_is_not_kept_and_what_is_there_stays(store: Any) -> None:
    assert store.put(KEY, FEATURES)
    assert not store.put(OTHER, FEATURES.repeat(10, 1))
    assert store.get(OTHER) is None
    assert store.put(KEY, FEATURES)  # it is there already
    assert torch.equal(store.get(KEY), FEATURES)


def test_a_kept_tensor_does_not_change_with_the_one_it_came_from() -> None:
    store, changing = MemoryStore(1000), FEATURES.clone()
    store.put(KEY, changing)
    changing.zero_()
    assert torch.equal(store.get(KEY), FEATURES)


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_said_and_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "handlers", [caplog.handler])
    store = DiskStore(tmp_path / "one", 10_000)
    store.put(KEY, FEATURES)
    store.put(OTHER, FEATURES + 1)
    data = store.file(OTHER).read_bytes() if damage == "other" else store.file(KEY).read_bytes()[:-9]
    store.file(KEY).write_bytes(data)
    assert store.get(KEY) is None
    assert f"{store.file(KEY)}: {'lies under a wrong name' if damage == 'other' else 'cannot be read'}" in caplog.text
    assert not store.file(KEY).exists()
    assert store.put(KEY, FEATURES)


def test_collections_longest_unused_make_room(tmp_path: Path) -> None:
    old = DiskStore(tmp_path / "old", 10_000)
    old.put(KEY, FEATURES)
    DiskStore(tmp_path / "new", 10_000)
    assert (tmp_path / "old").is_dir()
    DiskStore(tmp_path / "new", 100)
    assert not (tmp_path / "old").exists()


def test_a_spawned_worker_is_not_sent_the_features() -> None:
    store = MemoryStore(1000)
    store.put(KEY, FEATURES)
    assert len(pickle.loads(pickle.dumps(store)).entries) == 0
    assert len(store.entries) == 1


def test_an_image_s_key_changes_with_all_that_changes_its_features(tmp_path: Path) -> None:
    cache = VisionCache("tower", MemoryStore(1000))
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        draw_line(text).save(tmp_path / f"{name}.png")
    budget = PixelBudget(6272, 100_352)
    key = cache.key(content_key(tmp_path / "a.png"), budget)
    assert key == cache.key(content_key(tmp_path / "b.png"), budget)  # equal files, one entry
    others = [
        cache.key(content_key(tmp_path / "c.png"), budget),
        cache.key(content_key(tmp_path / "a.png"), PixelBudget(6272, 50_176)),
    ]
    others.append(VisionCache("another", MemoryStore(1)).key(content_key(tmp_path / "a.png"), budget))
    assert len({key, *others}) == 4


def test_features_of_another_size_are_not_taken() -> None:
    cache = VisionCache("tower", MemoryStore(1000))
    cache.put(KEY, FEATURES.requires_grad_())
    assert cache.get(KEY, 9) is None
    found = cache.get(KEY, 10)
    assert found is not None
    assert not found.requires_grad


def test_a_tower_is_named_by_its_weights_and_settings(tiny_random: Path) -> None:
    processor = load_processor(tiny_random)
    visual = load_weights("tiny-random").model.visual
    name = fingerprint(visual, processor)
    assert name == fingerprint(copy.deepcopy(visual), load_processor(tiny_random, max_pixels=7840))
    changed = copy.deepcopy(visual)
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1
    assert fingerprint(changed, processor) != name
    assert fingerprint(copy.deepcopy(visual).to(torch.bfloat16), processor) != name
    processor.image_processor.image_mean = [0.0, 0.0, 0.0]
    assert fingerprint(visual, processor) != name
