"""The command ``mtp`` gives a tuned model a layer that drafts better, and changes nothing else in its files."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import sample_entries, write_lines
from safetensors.torch import load_file

from glm_ocr_finetune.model.mtp import MTP_FILE
from glm_ocr_finetune.model.tiny import tiny_path
from glm_ocr_finetune.mtp import factor

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four lines that the tiny model reads, with labels that nobody needs."""
    folder = tmp_path_factory.mktemp("data")
    texts = sample_entries(random.Random(1), 24)
    return write_lines(folder, "train", texts, ["unknown"] * len(texts))


def shares(out: str, name: str) -> list[float]:
    """The acceptance by position in a line of the table."""
    line = next(line for line in out.splitlines() if name in line)
    return [float(share) for share in re.findall(r"([\d.]+)%", line)]


def tiny_copy(folder: Path) -> Path:
    return Path(shutil.copytree(tiny_path("tiny"), folder))


def test_it_drafts_better_and_nothing_else_changes(run: Run, data: Path, tmp_path: Path) -> None:
    before = load_file(tiny_path("tiny") / "model.safetensors")
    output = tmp_path / "out"
    code, out, err = run("mtp", "--model", "tiny", "--dataset_name", data, "--output_dir", output, "--batch_size", 8)
    assert code == 0
    old, new = shares(out, "before"), shares(out, "after")
    assert sum(new) > sum(old)
    assert f"written: {output / 'model.safetensors'}" in err
    after = load_file(output / "model.safetensors")
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".layers.4." in name for name in changed), "the tiny model has four layers; the fifth is this one"
    assert not any(name.endswith(("embed_tokens.weight", "head.weight")) for name in changed)
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    names = {file.name for file in tiny_path("tiny").iterdir()}
    assert {file.name for file in output.iterdir()} == names
    assert all(
        (output / name).read_bytes() == (tiny_path("tiny") / name).read_bytes()
        for name in names - {"model.safetensors"}
    )


def test_an_adapter_gets_a_layer_beside_it(run: Run, data: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    given: list[Any] = ["--model_name", "tiny", "--dataset_name", data, "--use_lora", "True", "--max_steps", 1]
    given += ["--eval_strategy", "no", "--report_to", "none", "--output_dir", adapter, "--save_strategy", "no"]
    assert run("train", *given)[0] == 0
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    assert not (adapter / MTP_FILE).exists()
    code, out, _ = run("mtp", "--model", adapter, "--dataset_name", data, "--num_train_epochs", 2)
    assert code == 0
    assert sum(shares(out, "after")) > sum(shares(out, "before"))
    assert len(load_file(adapter / MTP_FILE)) == 16
    assert (adapter / "adapter_model.safetensors").read_bytes() == weights
    images = data.parent / "images"
    _, _, said = run("infer", "--model", adapter, "--image", images / "train-0.png", "--speculative", "True")
    assert "drafts accepted by position" in said


def test_a_layer_that_drafts_no_better_is_not_written(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glm_ocr_finetune.mtp.train_layer", lambda *_: None)
    model = tiny_copy(tmp_path / "model")
    before = (model / "model.safetensors").read_bytes()
    code, _, err = run("mtp", "--model", model, "--dataset_name", data)
    assert code == 0
    assert "drafts no better than before: nothing is written" in err
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--model", "tiny"], "--model tiny belongs to the package; name an --output_dir"),
        (["--model", "nobody/nothing"], "--model nobody/nothing is no folder; fetch it with `hf download"),
        (["--model", "tiny", "--output_dir", "{data}"], "is not empty; name another"),
        (["--model", "tiny", "--output_dir", "{data}/train.jsonl"], "train.jsonl cannot be written: "),
        (["--model", "tiny", "--output_dir", "{data}/train.jsonl/out"], "out cannot be written: "),
    ],
)
def test_what_cannot_be_written_is_said_first(run: Run, data: Path, given: list[str], message: str) -> None:
    words = [word.format(data=data.parent) for word in given]
    code, _, err = run("mtp", "--dataset_name", data, *words)
    assert code == 2
    assert message in err


def test_the_rate_rises_and_falls() -> None:
    shape = [factor(step, 20) for step in range(20)]
    assert shape[:3] == [0.5, 1.0, 1.0]
    assert shape[2:] == sorted(shape[2:], reverse=True)
    assert shape[-1] == pytest.approx(0.0, abs=0.01)
