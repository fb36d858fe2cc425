"""A tuned model is asked as it was tuned, unless the user says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_ocr_finetune.model.checkpoint import Sidecar
from glm_ocr_finetune.reading.asking import Asking, how_to_ask


@pytest.fixture
def tuned(tmp_path: Path) -> str:
    Sidecar("tiny", "Formula Recognition:", "no_think", None, ["Table Recognition:"]).write(tmp_path)
    return str(tmp_path)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the package says, as it says it."""
    caplog.set_level("INFO", logger="glm_ocr_finetune")
    return caplog


def test_a_base_model_is_asked_as_servers_do(said: pytest.LogCaptureFixture) -> None:
    assert how_to_ask("tiny", None, None, None) == Asking("Text Recognition:", "serve")
    assert how_to_ask("tiny", None, "", "no_think") == Asking("", "no_think")  # an empty prompt is a prompt
    assert said.text == ""


def test_a_tuned_model_is_asked_as_it_was_tuned(said: pytest.LogCaptureFixture, tuned: str) -> None:
    assert how_to_ask(tuned, None, None, None) == Asking("Formula Recognition:", "no_think")
    assert f"prompt 'Formula Recognition:' (no_think): what {tuned} was tuned with" in said.text
    assert "also tuned with, for --prompt: 'Table Recognition:'" in said.text


def test_the_adapter_counts_and_not_its_base(tuned: str) -> None:
    assert how_to_ask("tiny", tuned, None, None) == Asking("Formula Recognition:", "no_think")


def test_what_is_given_wins_and_what_it_differs_from_is_said(said: pytest.LogCaptureFixture, tuned: str) -> None:
    assert how_to_ask(tuned, None, "Read:", None) == Asking("Read:", "no_think")
    assert f"{tuned} was tuned with 'Formula Recognition:' (no_think)" in said.text
