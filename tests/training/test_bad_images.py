"""An image that turns out to be damaged weighs nothing: alone in its batch, on one of two ranks, in an evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import write_lines
from transformers import TrainerCallback

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer

ROOT = Path(__file__).parents[2]
WORDS = ("--model_name", "tiny-random", "--report_to", "none", "--disable_tqdm", "True", "--logging_steps", "1")


def harm(file: Path) -> None:
    """Damage in the middle of a PNG, which neither its header nor its end shows."""
    content = bytearray(file.read_bytes())
    start = content.index(b"IDAT") + 8
    content[start : start + 20] = bytes(20)
    file.write_bytes(content)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Four lines, the third damaged."""
    file = write_lines(tmp_path / "data", "train", ["amber", "birch", "cedar", "delta"])
    harm(tmp_path / "data" / "images" / "train-2.png")
    return file


class Watch(TrainerCallback):
    """Whether the weights moved, by the number of the step."""

    def __init__(self, model: Any) -> None:
        self.parameter = next(p for p in model.parameters() if p.requires_grad)
        self.moved: dict[int, bool] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before = self.parameter.detach().clone()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.moved[state.global_step] = not torch.equal(self.before, self.parameter)


def test_a_step_without_a_readable_image_moves_nothing_and_has_no_loss(lines: Path, tmp_path: Path) -> None:
    model, processor = load_model("tiny-random")
    rows = load_splits(DataArguments(str(lines)), PromptRenderer(processor), 2048, 0, evaluate=False).train
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        num_train_epochs=2,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=1e-3,
        weight_decay=0.1,  # which would move them, as the momentum would
        lr_scheduler_type="constant",
        logging_steps=1,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = create_trainer(model, processor, rows, arguments)
    watch = Watch(model)
    trainer.add_callback(watch)
    trainer.train()
    order = [number for epoch in (0, 1) for (number,) in trainer.batch_plan().batches(epoch)]
    assert watch.moved == {step: number != 2 for step, number in enumerate(order, start=1)}
    logged = [row["step"] for row in trainer.state.log_history if "loss" in row]
    assert logged == [step for step, number in enumerate(order, start=1) if number != 2]
    assert all(row["loss"] > 1 for row in trainer.state.log_history if "loss" in row)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_run_goes_on_and_lists_the_image_once(lines: Path, tmp_path: Path, run: Any, workers: int) -> None:
    words = ("train", *WORDS, "--dataset_name", lines, "--output_dir", tmp_path / "out", "--eval_strategy", "no")
    one = ("--per_device_train_batch_size", 1, "--gradient_accumulation_steps", 1, "--num_train_epochs", 2)
    code, _, err = run(*words, *one, "--dataloader_num_workers", workers)
    assert code == 0, err
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "set_aside.jsonl").read_text().splitlines()]
    assert (row["source"], row["reason"]) == ("train.jsonl:3", "unreadable_image")


def test_a_damaged_image_in_an_evaluation_weighs_nothing(lines: Path, tmp_path: Path) -> None:
    found = []
    for numbers in ([0, 1, 2, 3], [0, 1, 3]):
        torch.manual_seed(0)
        model, processor = load_model("tiny-random")
        rows = load_splits(DataArguments(str(lines)), PromptRenderer(processor), 2048, 0, evaluate=False).train
        arguments = TrainingArguments(
            output_dir=str(tmp_path), report_to="none", per_device_eval_batch_size=1, eval_generate=False
        )
        trainer = create_trainer(model, processor, rows, arguments, rows.select(numbers))
        found.append(trainer.evaluate()["eval_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_an_epoch_without_any_readable_image_is_an_error(lines: Path, tmp_path: Path, run: Any) -> None:
    for number in (0, 1, 3):
        harm(lines.parent / "images" / f"train-{number}.png")
    words = ("train", *WORDS, "--dataset_name", lines, "--output_dir", tmp_path / "out", "--eval_strategy", "no")
    code, _, err = run(*words)
    assert code == 2
    assert "error: no image of an epoch can be read" in err
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.slow
def test_two_ranks_of_which_one_has_no_readable_image_make_the_steps_of_one(lines: Path, tmp_path: Path) -> None:
    def losses(ranks: int) -> list[float]:
        output = tmp_path / str(ranks)
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
        words = (*WORDS, "--dataset_name", str(lines), "--output_dir", str(output), "--learning_rate", "1e-3")
        cut = ("--per_device_train_batch_size", "1", "--gradient_accumulation_steps", str(2 // ranks))
        more = ("--num_train_epochs", "2", "--eval_split", "train", "--per_device_eval_batch_size", "1")
        command = [sys.executable, *launch, str(ROOT / "finetune.py"), *words, *cut, *more, "--eval_steps", "2"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        history = json.loads((output / "trainer_state.json").read_text())["log_history"]
        return [row[name] for row in history for name in ("loss", "eval_loss") if name in row]

    one = losses(1)
    assert len(one) == 6
    assert losses(2) == pytest.approx(one, rel=1e-4)
