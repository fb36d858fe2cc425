"""The journal of a long reading: whole lines, cut ones, failures, and the merge of shares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.reading.journal import Journal, claim, merge


def rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_that_was_cut_anywhere_is_read_again(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "j" / "1.jsonl"
    with Journal(file) as journal:
        journal.append({"id": "a", "text": "ä\nb"})
        journal.append({"id": "β", "text": "二"})
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    with Journal(file) as journal:
        assert journal.done == ({"a"} if cut < len(whole) - whole.index(b"\n") else set())
        for name in ("a", "β"):
            if name not in journal.done:
                journal.append({"id": name, "text": "again"})
    assert [row["id"] for row in rows(file)] == ["a", "β"]


def test_failures_are_done_unless_they_are_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "1.jsonl"
    with Journal(file) as journal:
        journal.append({"id": "a", "error": "no picture"})
    with Journal(file) as journal:
        assert journal.done == {"a"}
    with Journal(file, retry=True) as journal:
        assert journal.done == set()
        journal.append({"id": "a", "text": "now"})
    with Journal(file, retry=True) as journal:
        assert journal.done == {"a"}
    assert merge([file], ["a"], tmp_path / "all.jsonl") == (1, [])
    assert rows(tmp_path / "all.jsonl") == [{"id": "a", "text": "now"}]


def test_shares_are_merged_in_the_order_of_the_names(tmp_path: Path) -> None:
    for part, names in enumerate((["c", "a"], ["d"])):
        with Journal(tmp_path / f"{part}.jsonl") as journal:
            for name in names:
                journal.append({"id": name, "text": name.upper()})
    files = sorted(tmp_path.glob("*.jsonl"))
    assert merge(files, iter("abcd"), tmp_path / "all") == (3, ["b"])
    assert [row["text"] for row in rows(tmp_path / "all")] == ["A", "C", "D"]


def test_another_file_and_another_writer(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("[1]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"x.jsonl:1 is no line of a journal"):
        Journal(tmp_path / "x.jsonl")
    with Journal(tmp_path / "y.jsonl"), pytest.raises(UserError, match="another process is writing"):
        Journal(tmp_path / "y.jsonl")


def test_a_folder_holds_the_readings_of_one_model_and_prompt(tmp_path: Path) -> None:
    claim(tmp_path / "out", {"model": "a", "prompt": "Lies:"})
    claim(tmp_path / "out", {"model": "a", "prompt": "Lies:"})
    with pytest.raises(UserError, match="made with prompt 'Lies:', now 'Read:': use another --output_dir"):
        claim(tmp_path / "out", {"model": "a", "prompt": "Read:"})
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="reading.json cannot be read: Not a directory"):
        claim(tmp_path / "file", {"model": "a"})


def test_what_another_share_has_read_is_not_read_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "1-of-1.jsonl") as journal:
        journal.append({"id": "a", "text": "x"})
        journal.append({"id": "b", "error": "x"})
    with Journal(tmp_path / "1-of-2.jsonl") as journal:
        journal.skip(tmp_path.glob("*.jsonl"))
        assert journal.done == {"a"}
