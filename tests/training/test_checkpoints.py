"""Checkpoints: whole or not there, damaged ones told and passed over, and the last whole one never lost."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.folders import STATE_FILE
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.training.callbacks import SaveOnSignal
from glm_ocr_finetune.training.checkpoints import (
    checkpoints_in,
    damage,
    find_checkpoint,
    remove_older,
    say_what_is_given_up,
)

Harm = Callable[[Path], object]
HARMS: dict[str, Harm] = {
    "gone": Path.unlink,
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "end missing": lambda file: file.write_bytes(file.read_bytes()[:-2]),
}


@pytest.fixture(scope="module", params=[False, True], ids=["full", "lora"])
def whole(request: Any, line_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with checkpoints 1 and 2, both whole."""
    folder = tmp_path_factory.mktemp("run")
    model, processor = load_model("tiny-random", use_lora=request.param)
    rows = load_splits(DataArguments(str(line_folder)), PromptRenderer(processor), 2048, 0, evaluate=False).train
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=2, save_steps=1, eval_strategy="no", report_to="none", disable_tqdm=True
    )
    create_trainer(model, processor, rows, arguments).train()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_whole_checkpoint_is_not_called_damaged(folder: Path) -> None:
    assert [path.name for path in checkpoints_in(folder)] == ["checkpoint-1", "checkpoint-2"]
    assert [damage(path) for path in checkpoints_in(folder)] == [None, None]
    assert find_checkpoint("True", folder) == folder / "checkpoint-2"
    assert find_checkpoint(None, folder) is None


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", [STATE_FILE, "weights", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_the_newest_whole_one_is_taken_and_the_other_named(folder: Path, name: str, harm: str, caplog: Any) -> None:
    newest = folder / "checkpoint-2"
    file = next(newest.glob("*model.safetensors")) if name == "weights" else newest / name
    HARMS[harm](file)
    why = damage(newest)
    assert why
    assert name in why or file.name in why
    assert find_checkpoint("True", folder) == folder / "checkpoint-1"
    assert "checkpoint-2 is passed over" in caplog.text
    assert "continues from checkpoint-1" in caplog.text
    with pytest.raises(UserError, match="whole ones in --output_dir: checkpoint-1"):
        find_checkpoint(str(newest), folder)


def test_auto_is_the_newest_whole_one_or_a_new_run_where_there_is_none(folder: Path, tmp_path: Path) -> None:
    assert find_checkpoint("auto", folder) == folder / "checkpoint-2"
    assert find_checkpoint("auto", tmp_path / "new") is None
    for path in checkpoints_in(folder):
        (path / "optimizer.pt").unlink()
    with pytest.raises(UserError, match="checkpoint-2 is damaged"):  # work of hours is not begun anew in silence
        find_checkpoint("auto", folder)


def test_without_a_whole_one_each_is_told(folder: Path) -> None:
    for path in checkpoints_in(folder):
        (path / "optimizer.pt").unlink()
    with pytest.raises(UserError, match=r"checkpoint-2 is damaged: optimizer.pt is missing; checkpoint-1 is damaged"):
        find_checkpoint("True", folder)


def test_shards_are_looked_at_one_by_one(folder: Path) -> None:
    newest = folder / "checkpoint-2"
    weights = next(newest.glob("*model.safetensors"))
    for shard in ("a", "b"):
        shutil.copy(weights, newest / f"model-{shard}.safetensors")
    index = {"weight_map": {"x": "model-a.safetensors", "y": "model-b.safetensors"}}
    (newest / "model.safetensors.index.json").write_text(json.dumps(index))
    weights.unlink()
    assert damage(newest) is None
    HARMS["cut"](newest / "model-b.safetensors")
    assert "weights cannot be read" in str(damage(newest))


def test_damaged_ones_do_not_count_and_the_last_whole_one_stays(folder: Path) -> None:
    for step in (3, 4):
        shutil.copytree(folder / "checkpoint-2", folder / f"checkpoint-{step}")
    for step in (3, 4):
        (folder / f"checkpoint-{step}" / "optimizer.pt").unlink()
    shutil.copytree(folder / "checkpoint-2", folder / "checkpoint-5")
    remove_older(folder / "checkpoint-5", 2, None)
    left = [path for path in checkpoints_in(folder) if not damage(path)]
    assert [path.name for path in left] == ["checkpoint-2", "checkpoint-5"]
    remove_older(folder / "checkpoint-5", 1, str(folder / "checkpoint-2"))
    assert [path.name for path in checkpoints_in(folder) if not damage(path)] == ["checkpoint-2", "checkpoint-5"]


def test_checkpoints_of_a_continuation_that_was_given_up_go_when_the_new_one_is_saved(
    folder: Path, caplog: Any
) -> None:
    shutil.copytree(folder / "checkpoint-2", folder / "checkpoint-9")
    say_what_is_given_up(folder / "checkpoint-1")
    assert "checkpoint-2, checkpoint-9: saved after checkpoint-1" in caplog.text
    remove_older(folder / "checkpoint-2", None, None)
    assert [path.name for path in checkpoints_in(folder)] == ["checkpoint-1", "checkpoint-2"]


def test_a_run_that_dies_while_it_saves_leaves_no_half_checkpoint(
    build_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build_trainer(save_steps=2, save_total_limit=1)
    trainer.train(resume_from_checkpoint=None)
    saved = {path.name for path in checkpoints_in(Path(trainer.args.output_dir))}
    assert saved == {"checkpoint-6"}
    again = build_trainer(save_steps=2, save_total_limit=1, max_steps=8)

    def die(directory: str) -> None:
        assert (Path(directory) / "optimizer.pt").is_file()
        raise RuntimeError("killed")

    monkeypatch.setattr(again, "_save_rng_state", die)
    with pytest.raises(RuntimeError, match="killed"):
        again.train(resume_from_checkpoint=str(Path(trainer.args.output_dir) / "checkpoint-6"))
    folder = Path(trainer.args.output_dir)
    assert [path.name for path in checkpoints_in(folder)] == ["checkpoint-6"]
    assert find_checkpoint("True", folder) == folder / "checkpoint-6"


def test_with_a_limit_of_one_the_checkpoint_of_an_interrupted_run_stays(build_trainer: Any) -> None:
    class Leave(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                signal.raise_signal(signal.SIGTERM)

    trainer = build_trainer(evaluate=True, save_total_limit=1, learning_rate=5.0)  # the first evaluation is the best
    trainer.add_callback(SaveOnSignal())
    trainer.add_callback(Leave())
    trainer.train()
    assert trainer.state.best_global_step == 2
    folder = Path(trainer.args.output_dir)
    assert [path.name for path in checkpoints_in(folder)] == ["checkpoint-2", "checkpoint-5"]


def test_a_checkpoint_at_the_last_step_is_not_trained_on(build_trainer: Any) -> None:
    first = build_trainer(max_steps=2, save_steps=1, lr_scheduler_type="constant")
    first.train()
    before = {name: value.clone() for name, value in first.model.state_dict().items()}
    second = build_trainer(max_steps=2, save_steps=1, lr_scheduler_type="constant")
    second.train(resume_from_checkpoint=str(Path(first.args.output_dir) / "checkpoint-2"))
    assert second.state.global_step == 2
    assert all(torch.equal(before[name], value) for name, value in second.model.state_dict().items())


def test_a_damaged_best_checkpoint_is_not_the_result(build_trainer: Any, caplog: Any) -> None:
    trainer, harmed = build_trainer(evaluate=True), []

    class Harm(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 6:
                harmed.append(Path(state.best_model_checkpoint))
                HARMS["cut"](harmed[0] / "model.safetensors")

    trainer.add_callback(Harm())
    trainer.train()
    assert trainer.state.global_step == 6
    assert trainer.state.best_model_checkpoint is None
    assert f"{harmed[0].name}, is damaged (the weights cannot be read" in caplog.text


def test_checkpoints_without_an_optimizer_count_and_are_not_resumed_from(build_trainer: Any) -> None:
    trainer = build_trainer(save_steps=1, save_total_limit=2, save_only_model=True, max_steps=4)
    trainer.train()
    folder = Path(trainer.args.output_dir)
    assert [path.name for path in checkpoints_in(folder)] == ["checkpoint-3", "checkpoint-4"]
    with pytest.raises(UserError, match="checkpoint-4 is damaged: optimizer.pt is missing"):
        find_checkpoint("True", folder)
