"""A step is its label tokens: loss and gradient are means over them, however accumulation and ranks cut the step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import step_gradients
import torch
from step_gradients import PER_STEP, TEXTS, gradients, of_the_trainer

from glm_ocr_finetune.data.batching import BatchPlan
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.inputs.prompt import IGNORED, PromptRenderer

ROOT = Path(__file__).parents[2]
Steps = list[tuple[float, dict[str, torch.Tensor]]]


def order() -> list[list[int]]:
    """Numbers of the samples in each of the three steps, as the seed of the runs has them."""
    lengths = torch.zeros(len(TEXTS)).numpy()
    return BatchPlan(lengths, PER_STEP, None, False, 42, epoch=lambda: 0).batches(0)


@cache
def by_hand(use_lora: bool) -> Steps:
    """Loss and gradients of each step: plain cross entropy, one sample after the other, no trainer and no batch."""
    model, processor = step_gradients.base(use_lora)
    collator, rows = VLMDataCollator(PromptRenderer(processor)), step_gradients.samples()
    steps = []
    for numbers in order():
        total, count = 0.0, 0
        model.zero_grad()
        for number in numbers:
            batch = collator([rows[number]])
            labels = batch.pop("labels")[0, 1:]
            logits = model(**batch).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
            loss.backward()
            total, count = total + loss.item(), count + int((labels != IGNORED).sum())
        steps.append((total / count, {name: grad / count for name, grad in gradients(model).items()}))
    return steps


def assert_equal(losses: list[float], found: list[dict[str, torch.Tensor]], use_lora: bool = False) -> None:
    expected = by_hand(use_lora)
    assert losses == pytest.approx([loss for loss, _ in expected], rel=1e-5)
    assert len(found) == len(expected) == 3
    for step, (_, gradient) in zip(found, expected, strict=True):
        assert step.keys() == gradient.keys()
        for name, value in gradient.items():
            torch.testing.assert_close(step[name], value, rtol=1e-3, atol=1e-6, msg=name)


def test_the_steps_are_not_alike() -> None:
    """A mean of means would not pass for the mean: samples of a step differ by a factor of ten and more in length."""
    assert [len(step) for step in order()] == [4, 4, 2]
    assert all(max(map(len, texts)) > 8 * min(map(len, texts)) for texts in ([TEXTS[i] for i in s] for s in order()))


@pytest.mark.parametrize(("size", "accumulation"), [(4, 1), (2, 2), (1, 4)])
@pytest.mark.parametrize(
    "how",
    [{}, {"padding_free": False}, {"cached": True}, {"use_lora": True}, {"gradient_checkpointing": True}],
    ids=str,
)
def test_a_step_is_the_same_however_it_is_cut(
    tmp_path: Path, size: int, accumulation: int, how: dict[str, Any]
) -> None:
    trainer, keep = of_the_trainer(tmp_path, size, accumulation, **how)
    assert_equal(step_gradients.losses(trainer), keep.steps, how.get("use_lora", False))


def on_two_ranks(folder: Path, **settings: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    script = [step_gradients.__file__, str(folder), json.dumps(settings)]
    done = subprocess.run([*command, *script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    saved: dict[str, Any] = torch.load(folder / "gradients.pt")
    return saved


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "accumulation", "how"),
    [
        (2, 1, {}),
        (2, 1, {"use_lora": True}),
        (1, 2, {"padding_free": False, "cached": True}),
        (2, 1, {"fsdp": True}),
        (1, 2, {"fsdp": True, "use_lora": True, "cached": True}),
    ],
)
def test_two_ranks_make_the_steps_of_one(tmp_path: Path, size: int, accumulation: int, how: dict[str, Any]) -> None:
    """Of the five batches of two, the second rank has none in the last step."""
    saved = on_two_ranks(tmp_path, size=size, accumulation=accumulation, **how)
    assert_equal(saved["losses"], saved["steps"], how.get("use_lora", False))


def test_the_evaluation_loss_is_the_mean_over_label_tokens(tmp_path: Path) -> None:
    expected = sum(loss * count for (loss, _), count in zip(by_hand(False), tokens(), strict=True)) / sum(tokens())
    for size in (1, 3, 10):
        model, processor = step_gradients.base(False)
        arguments = step_gradients.TrainingArguments(
            output_dir=str(tmp_path), per_device_eval_batch_size=size, report_to="none", eval_generate=False
        )
        rows = step_gradients.samples()
        trainer = step_gradients.create_trainer(model, processor, rows, arguments, eval_dataset=rows)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)


def tokens() -> list[int]:
    """Label tokens of each step."""
    _, processor = step_gradients.base(False)
    collator, rows = VLMDataCollator(PromptRenderer(processor)), step_gradients.samples()
    return [int((collator([rows[i] for i in step])["labels"] != IGNORED).sum()) for step in order()]
