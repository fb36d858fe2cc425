"""From what is typed to the dataclasses: who gave what, other spellings, and mistakes that name the right word."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.args import InferenceArguments
from glm_ocr_finetune.command_args import EvaluateArguments
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.parse import Given, parse_light, parse_train, read_train, show_settings


def test_the_command_line_wins_over_the_file_and_both_are_remembered(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("lora_rank: 4\nseed: 7\nreport_to: none\nuse_lora: true\n", encoding="utf-8")
    words = ["--config", str(config), "--lora_rank", "16", "--use-lora=True"]
    model_args, _, training_args, given = parse_train(words, "finetune.py")
    assert (model_args.lora_rank, model_args.use_lora, training_args.seed) == (16, True, 7)
    assert given.origin("lora_rank") == given.origin("use_lora") == "command line"
    assert given.origin("seed") == "configuration file"
    assert given.origin("lora_alpha") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora_ranc: 4\n", r"unknown argument lora_ranc; did you mean lora_rank\? \(in --config .*run.yaml\)"),
        ("- lora_rank\n", "holds no 'argument: value' lines"),
        ("lora_rank: [4\n", "is not YAML"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        parse_train(["--config", str(config)], "finetune.py")


def test_light_commands_take_lists_booleans_and_dashes() -> None:
    args = parse_light(
        ["--image", "a.png", "b.png", "--image", "c.png", "--max-new-tokens", "5"], InferenceArguments, "x"
    )
    assert (args.image, args.max_new_tokens, args.adapter) == (["a.png", "b.png", "c.png"], 5, None)
    assert parse_light(["--find_label_errors", "true"], EvaluateArguments, "x").find_label_errors is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--find_label_errors", "perhaps"], "'perhaps' is neither True nor False"),
        (["--cer_unit", "letter"], "--cer_unit: 'letter' is not a choice; expected one of: grapheme, codepoint"),
        (["--max_samples", "many"], "--max_samples: 'many' is not a whole number"),
        (["--dataset"], "unknown argument --dataset; did you mean --dataset_name"),
        (["--max_samples", "-3"], "--max_samples is -3; it must be at least 1"),
        (["lines"], "unexpected word 'lines'"),
        (["--max_samples"], "--max_samples: expected one argument"),
    ],
)
def test_light_commands_refuse_in_words_of_the_user(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_light(words, EvaluateArguments, "evaluate")


def written(folder: Path, text: str) -> list[str]:
    config = folder / "run.yaml"
    config.write_text(text, encoding="utf-8")
    return ["--config", str(config)]


def test_a_file_may_say_what_the_command_line_says(tmp_path: Path) -> None:
    """Lists, JSON, None, negative numbers, and the words that YAML takes for booleans."""
    text = "eval_strategy: no\nuse_lora: yes\nlora_target: [q_proj, v_proj]\nreport_to: [none]\nmax_length: null\nprompt: '- read:'\n"
    text += "lr_scheduler_kwargs: {num_cycles: 2}\ncache_vision_features: off\nmax-steps: -1\n"
    values = read_train([*written(tmp_path, text), "--max_samples", "3"], "x").values
    assert values["eval_strategy"] == "no"
    assert (values["use_lora"], values["lora_target"]) == (True, "q_proj,v_proj")
    assert (values["report_to"], values["max_length"], values["prompt"]) == (["none"], None, "- read:")
    assert values["lr_scheduler_kwargs"] == {"num_cycles": 2}
    assert (values["cache_vision_features"], values["max_steps"], values["max_samples"]) == ("off", -1, 3)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--learning_rate", "2e-5"], {"learning_rate": 2e-5}),
        (["--use_lora"], {"use_lora": True}),
        (["--no_padding_free"], {"padding_free": False}),
        (["--plan"], {"plan": "True"}),
        (["--model", "tiny"], {"model_name": "tiny"}),
        (["--save_total_limit", "None"], {"save_total_limit": None}),
        (["--lr_scheduler_kwargs", '{"num_cycles": 2}'], {"lr_scheduler_kwargs": {"num_cycles": 2}}),
        (["--report_to", "tensorboard", "none"], {"report_to": ["tensorboard", "none"]}),
    ],
)
def test_what_is_typed_becomes_a_value(
    words: list[str], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glm_ocr_finetune.argument_checks.installed", lambda package: True)
    assert read_train(words, "finetune.py").values == values


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num_train_epochs", "0"], "--num_train_epochs is 0; it must be above 0"),
        (["--learning_rate", "-1e-5"], "--learning_rate is -1e-05; it must be above 0"),
        (["--learning_rate", "nan"], "--learning_rate is nan"),
        (["--max_steps", "0"], "--max_steps is 0; it must be at least 1, or -1"),
        (["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps is 0"),
        (["--lr_scheduler_type", "cosin"], "did you mean cosine?"),
        (["--lr_scheduler_kwargs", "num_cycles=2"], "is no JSON object"),
        (["--deepspeed", "nowhere.json"], "--deepspeed: nowhere.json is no file"),
        (["--lora_rank", "4"], "--lora_rank needs --use_lora True"),
        (["--replay_ratio", "0.2"], "--replay_ratio needs --replay_dataset"),
        (["--tokens_per_batch", "500", "--per_device_train_batch_size", "2"], "exclude each other"),
        (["--plan", "8potatoes"], "--plan 8potatoes is not the size of a GPU"),
        (["--do_train", "False"], "--do_train False is not supported"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml does not exist"),
    ],
)
def test_train_refuses_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read_train(words, "finetune.py")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"--config .*run.yaml is not YAML"):
        read_train(["--config", str(tmp_path / "run.yaml")], "x")


def test_settings_are_shown_with_where_they_came_from(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = InferenceArguments(model="tiny", prompt="Table Recognition:")
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "handlers", [caplog.handler])
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "propagate", False)
    with caplog.at_level(logging.INFO, "glm_ocr_finetune"):
        show_settings([arguments], Given(frozenset({"model"}), frozenset()), {"prompt": "why not"})
    assert caplog.messages == ["model = tiny (command line)", "prompt = Table Recognition: (why not)"]


def test_a_list_that_is_typed_twice(tmp_path: Path) -> None:
    """The last one counts, as of any argument; images and servers add up."""
    values = read_train(
        ["--dataset_name", "a", "b", "--dataset_name", "c", "--report_to", "none", "--report_to", "none"], "train"
    ).values
    assert (values["dataset_name"], values["report_to"]) == (["c"], ["none"])
    assert parse_light(["--image", "a", "--image", "b", "c"], InferenceArguments, "infer").image == ["a", "b", "c"]
    config = tmp_path / "c.yaml"
    config.write_text("dataset_name: [x, 'y:0.5']\n", encoding="utf-8")
    assert read_train(["--config", str(config)], "train").values["dataset_name"] == ["x", "y:0.5"]
    assert read_train(["--config", str(config), "--dataset_name", "z"], "train").values["dataset_name"] == ["z"]
