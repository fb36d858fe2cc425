"""The kept inputs of every target raise nothing, and a target does raise where it should."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzzing import drawing, targets
from glm_ocr_finetune.errors import UserError

CORPUS = Path(targets.__file__).parent / "corpus"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("target", targets.TARGETS)
def test_what_reached_all_code_is_no_fault(target: str) -> None:
    files = sorted((CORPUS / target).iterdir())
    assert files, "python -m fuzzing TARGET --minimise"
    for file in files:
        targets.TARGETS[target](file.read_bytes())


def test_a_message_of_two_lines_is_a_fault() -> None:
    error = UserError("one")
    error.args = ("one\ntwo",)
    with pytest.raises(targets.Fault), targets.one_line():
        raise error


def test_a_row_that_is_neither_usable_nor_explained_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import glm_ocr_finetune.readers

    class Rows:
        def to_list(self) -> list[dict[str, object]]:
            return [{"text": "", "image": None, "source": "rows.csv", "problem": None}]

    monkeypatch.setattr(glm_ocr_finetune.readers, "load_rows", lambda *args, **options: Rows())
    with pytest.raises(targets.Fault):
        targets.load(Path("rows.csv"))


def test_a_quoted_name_with_line_ends_is_shown_in_one_line() -> None:
    assert str(UserError("columns: a\nb\x1b[2J\u202e\ud800")) == "columns: a\\nb\\x1b[2J\\u202e\\ud800"


def test_the_same_bytes_draw_the_same() -> None:
    keys = ("text", "image")
    assert drawing.Drawer(b"\x05\x01\x02\x03 amber").value(keys) == drawing.Drawer(b"\x05\x01\x02\x03 amber").value(
        keys
    )


def test_xml_holds_whatever_is_drawn() -> None:
    from lxml import etree

    for seed in range(40):
        root = etree.fromstring(next(iter(targets.DOCUMENTS.values())).encode())
        drawing.changed(root, drawing.Drawer(bytes((seed * 37 + i * 101) % 256 for i in range(120))))
        etree.fromstring(etree.tostring(root))
