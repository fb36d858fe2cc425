"""The multi-token-prediction tensors: found in one file or in many, bit for bit, and none where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from glm_ocr_finetune.model.loading import load_config
from glm_ocr_finetune.model.mtp import mtp_prefix, mtp_shapes, read_mtp_tensors, replace_mtp_tensors


@pytest.fixture
def config(tiny_random: Path) -> Any:
    return load_config(str(tiny_random))


def test_they_lie_behind_the_last_layer(config: Any) -> None:
    layers = config.text_config.num_hidden_layers
    assert mtp_prefix(config) == f"model.language_model.layers.{layers}."
    assert all(name.startswith(mtp_prefix(config)) for name in mtp_shapes(config))


def test_shapes_are_those_of_the_file(tiny_random: Path, config: Any) -> None:
    found = read_mtp_tensors(str(tiny_random), config)
    assert {name: tuple(value.shape) for name, value in found.items()} == mtp_shapes(config)


def test_shards_hold_the_same(tiny_random: Path, tmp_path: Path, config: Any) -> None:
    """Three shards with an index, the MTP tensors in two of them."""
    weights = load_file(tiny_random / "model.safetensors")
    names = sorted(weights, key=lambda name: (not name.startswith(mtp_prefix(config)), name))
    shards = {"a.safetensors": names[:7], "b.safetensors": names[7:40], "c.safetensors": names[40:]}
    for file, held in shards.items():
        save_file({name: weights[name] for name in held}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (tmp_path / "config.json").write_bytes((tiny_random / "config.json").read_bytes())
    whole, sharded = (read_mtp_tensors(str(path), config) for path in (tiny_random, tmp_path))
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)


def test_a_checkpoint_without_them_gives_none(tiny_random: Path, tmp_path: Path, config: Any) -> None:
    kept = {
        name: value
        for name, value in load_file(tiny_random / "model.safetensors").items()
        if mtp_prefix(config) not in name
    }
    save_file(kept, tmp_path / "model.safetensors")
    assert read_mtp_tensors(str(tmp_path), config) == {}


def test_they_are_replaced_in_one_file_or_in_many(tiny_random: Path, tmp_path: Path, config: Any) -> None:
    """Three shards, the MTP tensors in two of them: those are written, the third is not touched; nothing is left over."""
    weights = load_file(tiny_random / "model.safetensors")
    names = sorted(weights, key=lambda name: (not name.startswith(mtp_prefix(config)), name))
    shards = {"a.safetensors": names[:7], "b.safetensors": names[7:40], "c.safetensors": names[40:]}
    for file, held in shards.items():
        save_file({name: weights[name] for name in held}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    third = (tmp_path / "c.safetensors").stat().st_mtime_ns
    new = {name: value + 1 for name, value in read_mtp_tensors(str(tiny_random), config).items()}
    written = replace_mtp_tensors(tmp_path, new, config)
    assert {file.name for file in written} == {"a.safetensors", "b.safetensors"}
    assert (tmp_path / "c.safetensors").stat().st_mtime_ns == third
    found = {name: value for file in shards for name, value in load_file(tmp_path / file).items()}
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], new.get(name, weights[name])) for name in weights)
    assert not list(tmp_path.glob(".*"))
