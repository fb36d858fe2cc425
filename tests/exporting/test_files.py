"""What lies in an export: weights in bf16, both stop tokens, the base's tokenizer, and a layer only where it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glm_ocr_finetune.exporting.files import load_rounded, rounded_weights, write_adapter, write_full
from glm_ocr_finetune.exporting.inspection import Expected
from glm_ocr_finetune.exporting.source import Source


def test_shards_and_their_index(written: tuple[Path, Expected]) -> None:
    folder, _ = written
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 1
    assert all(file.stat().st_size < 6.1e6 for file in files)
    found = {name: file.name for file in files for name in load_file(file)}
    assert found == index
    assert {value.dtype for file in files for value in load_file(file).values()} == {torch.bfloat16}


def test_small_files(written: tuple[Path, Expected], source: Source) -> None:
    folder, _ = written
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [257, 264]
    config = json.loads((folder / "config.json").read_text())
    assert (config["dtype"], config["text_config"]["num_nextn_predict_layers"]) == ("bfloat16", 1)
    sizes = [json.loads((folder / name).read_text()) for name in ("processor_config.json", "preprocessor_config.json")]
    assert sizes[0]["image_processor"]["size"] == sizes[1]["size"] == {"shortest_edge": 12544, "longest_edge": 12544}
    assert (folder / "tokenizer.json").read_bytes() == (Path(source.base) / "tokenizer.json").read_bytes()
    assert "base_model" in json.loads((folder / "glm_ocr_finetune.json").read_text())


@pytest.mark.parametrize("eos", [257, [257], [264, 257]])
def test_both_stop_tokens_are_written_whatever_the_model_had(
    source: Source, tmp_path: Path, eos: int | list[int]
) -> None:
    """And without MTP tensors config.json promises none."""
    model = source.load_model()
    model.generation_config.eos_token_id = eos
    write_full(model, source.load_processor(), rounded_weights(model), {}, tmp_path / "export", None)
    found = json.loads((tmp_path / "export" / "generation_config.json").read_text())["eos_token_id"]
    assert sorted(found) == [257, 264]
    config = json.loads((tmp_path / "export" / "config.json").read_text())
    assert config["text_config"]["num_nextn_predict_layers"] == 0


def test_rounding_is_to_a_neighbour_and_leaves_what_bf16_holds(source: Source) -> None:
    model = source.load_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load_rounded(model, rounded_weights(model))
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, value.bfloat16().float()), name
        assert ((value - before[name]).abs() <= before[name].abs() * 2**-7).all(), name
    frozen = "model.visual.blocks.0.mlp.down_proj.weight"
    assert torch.equal(model.state_dict()[frozen], before[frozen])


def test_an_adapter_is_copied_as_it_is(source: Source, adapter: Path, tmp_path: Path) -> None:
    write_adapter(str(adapter), source.load_processor(), tmp_path / "export")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "export" / name).read_bytes() == (adapter / name).read_bytes()
    assert (tmp_path / "export" / "preprocessor_config.json").is_file()
