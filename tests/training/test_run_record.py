"""What a continuation does with arguments, a model and data that are not those of its checkpoint."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_ocr_finetune import TrainingArguments, load_model
from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.data.splits import Splits, load_splits
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.training.run_record import (
    RunRecord,
    arguments_with_effect,
    compare_arguments,
    digest_of_model,
    digest_of_samples,
    read_record,
    record_run,
    refuse_other_data,
)

CHECKPOINT = Path("run/checkpoint-3")


def arguments(
    model: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    training = TrainingArguments(**{"output_dir": "unused", "report_to": "none", "learning_rate": 1e-3} | changes)
    return arguments_with_effect(ModelArguments(**model or {}), DataArguments(**data or {}), training)


def record(values: dict[str, Any], ranks: int = 1) -> RunRecord:
    return RunRecord("name", values, ranks, "model", {"training": "data"}, 12)


def lines(new: dict[str, Any], ranks: int = 1) -> list[str]:
    return compare_arguments(record(arguments()), new, ranks, CHECKPOINT)


def test_the_same_arguments_say_nothing() -> None:
    assert lines(arguments()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"output_dir": "b"},
        {"logging_steps": 3},
        {"save_steps": 100},
        {"cache_vision_features": "off"},
        {"run_name": "x"},
    ],
)
def test_what_changes_no_weight_is_not_mentioned(changes: dict[str, Any]) -> None:
    assert lines(arguments(**changes)) == []


@pytest.mark.parametrize(("name", "value", "was"), [("learning_rate", 0.05, "0.001"), ("weight_decay", 0.1, "0.0")])
def test_what_the_optimizer_holds_is_said_to_stay(name: str, value: float, was: str) -> None:
    (line,) = lines(arguments(**{name: value}))
    assert line.startswith(f"{name} stays {was}, as checkpoint-3 has it; the {value}")


@pytest.mark.parametrize(
    ("name", "value"), [("max_steps", 9), ("max_grad_norm", 0.5), ("lr_scheduler_type", "constant"), ("max_length", 99)]
)
def test_what_is_carried_out_is_said_with_both_values(name: str, value: Any) -> None:
    old = arguments()[name]
    said = [line for line in lines(arguments(**{name: value})) if not line.startswith("warmup")]  # settled by another
    assert said == [f"{name} is {value} from here on; checkpoint-3 was saved with {old}"]


def test_data_arguments_and_ranks_are_compared() -> None:
    assert lines(arguments(data={"prompt": "Read:"}))[0].startswith("prompt is Read: from here on")
    assert "may come twice" in lines(arguments(seed=7))[0]
    assert lines(arguments(), ranks=2)[0].startswith("ranks is 2 from here on; checkpoint-3 was saved with 1")


def test_other_ranks_with_the_same_steps_are_told_apart_from_those_with_others() -> None:
    def said(before: dict[str, Any], after: dict[str, Any], ranks: tuple[int, int]) -> list[bool]:
        found = compare_arguments(record(arguments(**before), ranks[0]), arguments(**after), ranks[1], CHECKPOINT)
        return ["each step has the same samples" in line for line in found]

    four, two, one = ({"gradient_accumulation_steps": n} for n in (4, 2, 1))
    assert said(two, one, (1, 2)) == [True, True]
    assert said(two, one, (1, 4)) == said(four, one, (1, 2)) == [False, False]
    assert said({"per_device_train_batch_size": 8}, {}, (1, 2)) == [True, True]  # 8 x 1 is 4 x 2
    by_length = {"train_sampling_strategy": "group_by_length"}
    assert said(two | by_length, one | by_length, (1, 2)) == [True, True]
    assert said(by_length | {"per_device_train_batch_size": 8}, by_length, (1, 2)) == [False, False]


def test_what_ranks_share_has_to_stay() -> None:
    def saved(sharding: str, ranks: int = 2) -> RunRecord:
        return record(arguments() | {"sharding": sharding}, ranks)

    with pytest.raises(UserError, match="was saved with FSDP and cannot be continued with whole weights on each rank"):
        compare_arguments(saved("FSDP"), arguments(), 2, CHECKPOINT)
    with pytest.raises(UserError, match="was saved by 2 ranks, and DeepSpeed continues with as many only; start 2"):
        compare_arguments(saved("ZeRO-2"), arguments() | {"sharding": "ZeRO-2"}, 4, CHECKPOINT)
    assert len(compare_arguments(saved("FSDP"), arguments() | {"sharding": "FSDP"}, 4, CHECKPOINT)) == 1


@pytest.mark.parametrize("model", [{"use_lora": True}, {"freeze_vision_tower": False}])
def test_what_a_checkpoint_does_not_fit_is_refused(model: dict[str, Any]) -> None:
    (name,) = model
    with pytest.raises(UserError, match=f"--{name} is {model[name]}, but run/checkpoint-3 was saved with"):
        lines(arguments(model))


def test_lora_is_compared_by_what_it_comes_to() -> None:
    lora = {"use_lora": True, "lora_rank": 8}
    old = record(arguments(lora))
    assert compare_arguments(old, arguments(lora | {"lora_alpha": 16}), 1, CHECKPOINT) == []
    with pytest.raises(UserError, match="--lora_alpha is 8, but .* was saved with 16"):
        compare_arguments(old, arguments(lora | {"lora_alpha": 8}), 1, CHECKPOINT)
    assert lines(arguments({"lora_rank": 99})) == []  # no LoRA in either


@pytest.fixture
def splits(line_folder: Path, processor: Any) -> Splits:
    return load_splits(DataArguments(str(line_folder)), PromptRenderer(processor), 2048, 0, evaluate=False)


def test_other_samples_have_another_digest(splits: Splits) -> None:
    rows = splits.train
    assert digest_of_samples(rows) == digest_of_samples(rows.select(range(len(rows))))
    others = [rows.select(range(11)), rows.select([1, 0, *range(2, 12)])]
    changed = rows.with_format(None).map(lambda row: {"text": row["text"] + "!"})
    assert len({digest_of_samples(one) for one in (rows, *others, changed)}) == 4


def test_another_base_has_another_digest_and_adapters_do_not_count() -> None:
    model, _ = load_model("tiny-random")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1e-4
    assert digest_of_model(model) != digest_of_model(other)
    adapted = [load_model("tiny-random", use_lora=True)[0] for _ in range(2)]
    assert digest_of_model(adapted[0]) == digest_of_model(adapted[1])


def test_a_continuation_keeps_its_name_and_what_is_restored(splits: Splits, tmp_path: Path) -> None:
    model, _ = load_model("tiny-random")
    first = record_run(arguments(), 1, model, splits, None)
    first.write(tmp_path)
    assert read_record(tmp_path) == first
    second = record_run(arguments(learning_rate=0.5, max_steps=7), 1, model, splits, first)
    assert second.run == first.run != record_run(arguments(), 1, model, splits, None).run
    assert (second.arguments["learning_rate"], second.arguments["max_steps"]) == (1e-3, 7)


def test_other_data_and_another_base_are_refused() -> None:
    one = record(arguments())
    refuse_other_data(one, replace(one, data={"training": "data", "evaluation": "new"}), CHECKPOINT)
    with pytest.raises(UserError, match="the training data differ from those of run/checkpoint-3"):
        refuse_other_data(one, replace(one, data={"training": "other"}), CHECKPOINT)
    with pytest.raises(UserError, match="the base model differs from that of run/checkpoint-3"):
        refuse_other_data(one, replace(one, model="other"), CHECKPOINT)


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / "run.json").write_text("{")
    assert read_record(tmp_path) is None
