"""Messages: plain lines on what standard error is at the moment, of the main process only, and nobody else's chatter."""

from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from glm_ocr_finetune.messages import heading, quiet_others, speak, speak_unless_arranged

ours = logging.getLogger("glm_ocr_finetune")


def test_messages_follow_standard_error_wherever_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    speak()
    speak()  # twice makes no line appear twice
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", first)
    heading("Data")
    monkeypatch.setattr("sys.stderr", second)
    logging.getLogger("glm_ocr_finetune.data").info("%d rows", 3)
    assert (first.getvalue(), second.getvalue()) == ("\nData\n", "3 rows\n")


def test_other_ranks_tell_errors_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    speak()
    ours.warning("of all")
    ours.error("of one")
    assert capsys.readouterr().err == "of one\n"


def test_a_program_that_arranged_its_messages_keeps_its_way(capsys: pytest.CaptureFixture[str]) -> None:
    mine = logging.NullHandler()
    ours.handlers[:] = [mine]
    speak_unless_arranged()
    assert ours.handlers == [mine]


def test_bars_of_loading_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "0")
    quiet_others()
    assert os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] == "0"
    for name in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.delenv(name)
    quiet_others()
    assert os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] == os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


def test_a_notebook_shows_them_as_its_own_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)  # whatever it is: that it was imported tells
    speak()
    heading("Data")
    assert capsys.readouterr() == ("\nData\n", "")
