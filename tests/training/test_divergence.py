"""A run without finite numbers stops, names its rows, and leaves nothing that looks like a result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import WORDS, write_lines
from transformers import TrainerCallback

from glm_ocr_finetune.training.divergence import STEPS, Diverged, listed


class Poison(TrainerCallback):
    """Makes the gradient of one parameter NaN in some steps, as a kernel with a fault would."""

    def __init__(self, trainer: Any, steps: set[int]) -> None:
        self.steps, self.now = steps, 0
        self.parameter = next(p for p in trainer.model.parameters() if p.requires_grad)
        self.parameter.register_hook(lambda grad: grad * math.nan if self.now in self.steps else grad)
        self.before: dict[int, torch.Tensor] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.now = state.global_step + 1
        self.before[self.now] = self.parameter.detach().clone()


def test_the_weights_do_not_move_on_a_gradient_that_is_no_number(build_trainer: Any, caplog: Any) -> None:
    trainer = build_trainer()
    poison = Poison(trainer, {3, 5, 6})
    trainer.add_callback(poison)
    trainer.train()
    moved = {step: not torch.equal(poison.before[step], poison.before[step + 1]) for step in range(1, 6)}
    assert moved == {1: True, 2: True, 3: False, 4: True, 5: False}
    assert trainer.divergence.verdict is None
    trainer.save_model()  # the weights are sound


def test_three_steps_in_a_row_end_the_run_and_name_the_rows(build_trainer: Any) -> None:
    trainer = build_trainer(save_steps=1)
    trainer.add_callback(Poison(trainer, {2, 3, 4, 5}))
    trainer.train()
    assert (trainer.state.global_step, STEPS) == (4, 3)
    with pytest.raises(Diverged, match="gradient is not finite for 3 steps in a row, up to step 4") as stopped:
        trainer.divergence.raise_if_diverged(1e-3)
    second_epoch = trainer.batch_plan().batches(1)[0]  # three steps an epoch
    assert all(f"manifest.jsonl:{number + 1}" in str(stopped.value) for number in second_epoch)
    saved = sorted(path.name for path in Path(trainer.args.output_dir).glob("checkpoint-*"))
    assert "checkpoint-4" not in saved


def test_weights_that_are_no_numbers_are_never_saved(build_trainer: Any, tmp_path: Path) -> None:
    trainer = build_trainer()
    parameter = next(p for p in trainer.model.parameters() if p.requires_grad)
    with torch.no_grad():
        parameter.view(-1)[7] = math.inf
    with pytest.raises(Diverged, match="weights are not finite"):
        trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved").exists()


def test_an_evaluation_without_a_number_ends_the_run_and_is_not_the_best(build_trainer: Any) -> None:
    trainer = build_trainer(evaluate=True)
    head = trainer.model.lm_head

    class Break(TrainerCallback):
        """From the fourth step on the evaluation has no finite loss; training goes on with the gradients it had."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                with torch.no_grad():
                    head.weight.fill_(1e38)

    trainer.add_callback(Break())
    trainer.train()
    assert trainer.state.global_step == 4
    assert trainer.state.best_global_step == 2
    with pytest.raises(Diverged, match="the evaluation loss is (nan|inf) at step 4"):
        trainer.divergence.raise_if_diverged(1e-3)
    assert not (Path(trainer.args.output_dir) / "checkpoint-4").exists()


def test_long_lists_of_rows_are_cut() -> None:
    assert listed([f"a:{i}" for i in range(10)]).endswith("a:7 and 2 more")
    assert listed([]) == "rows not known"


def test_a_command_that_diverges_does_not_succeed(tmp_path: Path, run: Any) -> None:
    file = write_lines(tmp_path, "train", WORDS[:8])
    words = ("train", "--model_name", "tiny-random", "--dataset_name", file, "--output_dir", tmp_path / "out")
    code, _, err = run(*words, "--learning_rate", 1e9, "--max_steps", 12, "--eval_steps", 12, "--report_to", "none")
    assert code == 2
    assert "error: training has diverged" in err
    assert "train.jsonl:" in err.splitlines()[-1]
    assert "best checkpoint" not in err
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_last_step_that_breaks_the_model_is_noticed_without_an_evaluation(
    line_folder: Path, tmp_path: Path, run: Any
) -> None:
    """The weights are finite, and no step comes after the one that moved them."""
    words = ("train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--output_dir", tmp_path / "out")
    rate = ("--learning_rate", 1e12, "--lr_scheduler_type", "constant", "--warmup_ratio", 0, "--max_steps", 1)
    code, _, err = run(*words, *rate, "--eval_strategy", "no", "--report_to", "none", "--save_strategy", "no")
    assert code == 2
    assert "training has diverged: the loss is nan after step 1" in err
    assert not (tmp_path / "out" / "model.safetensors").exists()
