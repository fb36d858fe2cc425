from __future__ import annotations

import pytest
import regex

from glm_ocr_finetune.metrics import Reading, score, script_of
from glm_ocr_finetune.metrics.confusion import MAX_EXAMPLES, SCRIPTS


def test_table_is_sorted_with_examples_each_once() -> None:
    readings = [Reading(str(index), "rn rn", "m m") for index in range(8)] + [Reading("x", "abc", "abcd")]
    table = score(readings).confusions
    counts = [(row.truth, row.prediction, row.count) for row in table]
    assert sum(count for *_, count in counts) == 8 * 4 + 1
    assert [row.count for row in table] == sorted((row.count for row in table), reverse=True)
    assert counts[-1] == ("", "d", 1)
    assert table[-1].examples == ("x",)
    assert table[0].examples == tuple(str(index) for index in range(MAX_EXAMPLES))


def test_substitution_deletion_insertion() -> None:
    table = score([Reading("1", "cat", "cut"), Reading("2", "dog", "dg"), Reading("3", "pig", "ping")]).confusions
    assert {(row.truth, row.prediction) for row in table} == {("a", "u"), ("o", ""), ("", "n")}


def test_accuracy_by_script() -> None:
    scripts = {entry.script: entry for entry in score([Reading("1", "abc где 12", "abx где 1ж2")]).scripts}
    assert (scripts["Latin"].characters, scripts["Latin"].errors) == (3, 1)
    assert scripts["Latin"].accuracy == pytest.approx(2 / 3)
    assert scripts["Cyrillic"].accuracy == 1
    assert scripts["Cyrillic"].inserted == 1
    assert scripts["Common"].characters == 4


@pytest.mark.parametrize(
    ("unit", "script"),
    [
        ("a", "Latin"),
        ("7", "Common"),
        (" ", "Common"),
        ("\u0301", "Inherited"),
        ("1\u0301", "Common"),
        ("e\u0301", "Latin"),
        ("ខ្មែ", "Khmer"),
        ("कि", "Devanagari"),
        ("نَّ", "Arabic"),
        ("漢", "Han"),
        ("\ue000", "Unknown"),
    ],
)
def test_script_of(unit: str, script: str) -> None:
    assert script_of(unit) == script


def test_all_scripts_are_known_to_regex_and_listed_once() -> None:
    assert len(set(SCRIPTS)) == len(SCRIPTS) == 155
    for name in SCRIPTS:
        regex.compile(rf"\p{{Script={name}}}")
