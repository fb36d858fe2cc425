"""The trainer beside its steps: what it holds when it is made, and when it stops by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.vision.encoder import VisionEncoder


def test_it_is_whole_when_it_is_made(build_trainer: Any) -> None:
    trainer = build_trainer(save_total_limit=2)
    assert isinstance(trainer.encoder, VisionEncoder)
    assert (trainer.judge, trainer.sidecar, trainer.record, trainer.sample_lengths) == (None, None, None, None)
    assert trainer.checkpoints_kept == 2
    assert not trainer.args.padding_free  # TRL's; rows of samples are this package's


def test_the_arguments_that_were_given_stay_as_they_are(processor: Any, line_folder: Path, tmp_path: Path) -> None:
    from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
    from glm_ocr_finetune.args import DataArguments
    from glm_ocr_finetune.data.splits import load_splits

    renderer = PromptRenderer(processor)
    rows = load_splits(DataArguments(str(line_folder)), renderer, 2048, 0, evaluate=False).train
    given = TrainingArguments(output_dir=str(tmp_path), report_to="none", eval_strategy="no", save_total_limit=3)
    create_trainer(load_model("tiny-random")[0], processor, rows, given, collator=VLMDataCollator(renderer))
    assert (given.padding_free, given.save_total_limit) == (True, 3)


@pytest.mark.parametrize("metric", ["eval_cer", "eval_loss"])
def test_early_stopping_counts_evaluations_without_a_better_one(
    line_folder: Path, tmp_path: Path, run: Any, metric: str
) -> None:
    words = ("train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--output_dir", tmp_path / "out")
    rate = ("--learning_rate", 1e-12, "--lr_scheduler_type", "constant", "--max_steps", 12)  # nothing gets better
    every = ("--eval_steps", 2, "--save_steps", 2, "--early_stopping_patience", 2, "--metric_for_best_model", metric)
    code, _, err = run(*words, *rate, *every, "--eval_samples", 2, "--report_to", "none")
    assert code == 0, err
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert (state["best_global_step"], state["global_step"]) == (2, 6)


def test_early_stopping_goes_on_counting_when_a_run_is_resumed(build_trainer: Any) -> None:
    common = {"evaluate": True, "learning_rate": 1e-12, "metric_for_best_model": "eval_loss", "max_steps": 12}
    first = build_trainer(**common | {"max_steps": 4}, early_stopping_patience=2)
    first.train()
    assert first.state.best_global_step == 2
    second = build_trainer(**common, early_stopping_patience=2)
    second.train(resume_from_checkpoint=str(Path(first.args.output_dir) / "checkpoint-4"))
    assert second.state.global_step == 6
