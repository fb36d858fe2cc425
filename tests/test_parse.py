"""From what is typed to the dataclasses: who gave what, other spellings, and mistakes that name the right word."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from glm_ocr_finetune.args import EvaluateArguments, InferenceArguments
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.parse import Given, parse_light, parse_train, show_settings


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
        ("lora_ranc: 4\n", r"unknown argument lora_ranc; did you mean lora_rank\? \(in --config\)"),
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
        (["--cer_unit", "letter"], "invalid choice: 'letter'"),
        (["--max_samples", "many"], "invalid int value: 'many'"),
        (["--dataset"], "--dataset"),
    ],
)
def test_light_commands_refuse_in_words_of_the_user(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_light(words, EvaluateArguments, "evaluate")


def test_settings_are_shown_with_where_they_came_from(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = InferenceArguments(model="tiny", prompt="Table Recognition:")
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "handlers", [caplog.handler])
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "propagate", False)
    with caplog.at_level(logging.INFO, "glm_ocr_finetune"):
        show_settings([arguments], Given(frozenset({"model"}), frozenset()), {"prompt": "why not"})
    assert caplog.messages == ["model = tiny (command line)", "prompt = Table Recognition: (why not)"]
