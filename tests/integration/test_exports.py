"""The command export, as a user types it: a run comes out as an engine loads it, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawing import write_lines

from glm_ocr_finetune import export as workflow

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    write_lines(folder, "test", ("amber 17", "birch"))
    return folder


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fresh process's program, run here: starting one takes seconds (exporting/test_proof.py starts it)."""
    import subprocess

    from glm_ocr_finetune.exporting import fresh

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        order, answers = map(Path, command[-2:])
        answers.write_text(json.dumps(fresh.read(json.loads(order.read_text()))))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("glm_ocr_finetune.exporting.proof.subprocess.run", run)


def test_a_whole_model_for_vllm(run: Run, lines: Path, tmp_path: Path) -> None:
    """With a process of its own that reads."""
    code, out, err = run(
        "export", "--model", "tiny", "--for", "vllm", "--output_dir", tmp_path / "out", "--dataset_name", lines
    )
    assert code == 0, err
    assert out.startswith(f"vllm serve {tmp_path / 'out'} ")
    assert "--speculative-config" in out
    assert "read 2 images" in err
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record["changed_by_rounding"]["equal"] == 2
    assert record["command"] in out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "vllm serve out " in card
    assert str(tmp_path) not in card


@pytest.mark.usefixtures("in_process")
def test_for_ollama_without_the_drafts(run: Run, lines: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "export", "--model", "tiny", "--for", "ollama", "--output_dir", tmp_path / "out", "--dataset_name", lines
    )
    assert code == 0, err
    assert "ollama create out" in out
    assert 'PARAMETER stop "<|user|>"' in (tmp_path / "out" / "Modelfile").read_text()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["text_config"]["num_nextn_predict_layers"] == 0


@pytest.mark.usefixtures("in_process")
def test_what_reads_otherwise_is_no_export(
    run: Run, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop token is lost between writing and proving: exit code 1, nothing under the name that was asked for."""
    write = workflow.write

    def damaging(*args: Any) -> Any:
        before = write(*args)
        file = args[-1] / "generation_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [257]}))
        return before

    monkeypatch.setattr(workflow, "write", damaging)
    code, out, err = run("export", "--model", "tiny", "--output_dir", tmp_path / "out", "--dataset_name", lines)
    assert (code, out) == (1, "")
    assert "generation_config.json stops at [257]" in err
    assert "read otherwise than before the export: " in err
    assert "answers part at token" in err
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.unproven" / "config.json").is_file()


@pytest.fixture
def run_in_4bit(lines: Path, tmp_path: Path) -> Path:
    """What a run leaves that trained LoRA on a base in 4 bits, with its evaluation; the adapter is random and large."""
    import torch

    from glm_ocr_finetune.inputs.processor import save_processor
    from glm_ocr_finetune.model.checkpoint import Sidecar
    from glm_ocr_finetune.model.loading import load_model

    model, processor = load_model("tiny", load_in_4bit=True, use_lora=True, lora_rank=4)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    folder = tmp_path / "run"
    model.save_pretrained(folder)
    save_processor(processor, folder)
    Sidecar("tiny").write(folder)
    (folder / "run.json").write_text(json.dumps({"arguments": {"load_in_4bit": True}}))
    (folder / "evaluation").mkdir()
    rows = [json.loads(line) for line in (lines / "test.jsonl").read_text().splitlines()]
    readings = [{**row, "id": row["image"], "image": str(lines / row["image"]), "prediction": ""} for row in rows]
    (folder / "evaluation" / "tuned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in readings))
    return folder


@pytest.mark.usefixtures("in_process")
def test_from_4_bits_to_full_precision_is_measured(run: Run, run_in_4bit: Path, tmp_path: Path) -> None:
    code, _, err = run("export", "--model", run_in_4bit, "--output_dir", tmp_path / "out")
    assert code == 0, err
    assert "of the evaluation of run" in err
    assert "Trained on a base in 4 bits, exported on the base in full precision; between the two, " in err
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    found = record["changed_by_4bit"]
    assert found["images"] == 2
    assert found["equal"] + len(found["changed"]) == 2
    assert found["cer_before"] is not None


def test_files_are_looked_at_even_when_none_are_read(run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        "export", "--model", "tiny-random", "--for", "gguf", "--output_dir", tmp_path / "out", "--prove", 0
    )
    assert code == 0, err
    assert "all 110 tensors" in err
    assert "read 0" not in err


@pytest.mark.parametrize("size", ["1", "0", "2XB", "0GB", "GB"])
def test_a_size_that_is_none_is_told_before_anything_is_loaded(run: Run, tmp_path: Path, size: str) -> None:
    code, _, err = run("export", "--model", "nowhere", "--output_dir", tmp_path / "out", "--max_shard_size", size)
    assert (code, err) == (
        2,
        f"error: --max_shard_size {size} is no size of a file; expected for instance 500MB or 2GB\n",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/out"])
def test_a_folder_that_cannot_be_written_is_told_first(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = run("export", "--model", "nowhere", "--output_dir", tmp_path / name)
    assert code == 2
    assert f"--output_dir {tmp_path / name} " in err


def test_an_export_that_fails_midway_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path, *_: Any) -> None:
        assert (folder / "model.safetensors").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "write_beside", failing)
    assert run("export", "--model", "tiny-random", "--output_dir", tmp_path / "out", "--prove", 0)[0] == 130
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    code, _, err = run("export", "--model", "tiny", "--output_dir", tmp_path / "out")
    assert code == 2
    assert "is there already; name a new folder" in err


def test_an_adapter_is_asked_of_a_whole_model(run: Run, tmp_path: Path) -> None:
    code, _, err = run("export", "--model", "tiny", "--for", "adapter", "--output_dir", tmp_path / "out")
    assert code == 2
    assert "--for adapter needs a LoRA adapter" in err


def test_the_hub_out_of_reach_leaves_the_export(run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        *(
            "export",
            "--model",
            "tiny-random",
            "--prove",
            0,
            "--output_dir",
            tmp_path / "out",
            "--push_to_hub",
            "me/mine",
        )
    )
    assert code == 2
    assert "--push_to_hub me/mine failed: " in err
    assert f"the export is in {tmp_path / 'out'}" in err


def test_like_sdk_is_a_figure_beside_plain_greedy(run: Run, lines: Path, tmp_path: Path) -> None:
    code, out, err = run(
        *("evaluate", "--model", "tiny", "--dataset_name", lines, "--like", "sdk", "--output_dir", tmp_path / "out")
    )
    assert code == 0, err
    assert "of 2 images are read otherwise than greedily" in err
    plain, sent = (
        [json.loads(line)["prediction"] for line in (tmp_path / "out" / name).read_text().splitlines()]
        for name in ("plain.jsonl", "predictions.jsonl")
    )
    assert plain != sent


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--repetition_penalty", "1.2"), "--like sdk has a --repetition_penalty of its own, 1.1"),
        (("--predictions", "a.jsonl"), "--like sdk needs a model to read with"),
    ],
)
def test_like_sdk_takes_no_penalty_and_no_predictions(run: Run, lines: Path, more: tuple[str, str], told: str) -> None:
    code, _, err = run("evaluate", "--model", "tiny", "--dataset_name", lines, "--like", "sdk", *more)
    assert code == 2
    assert told in err
