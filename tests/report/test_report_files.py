"""The report without a browser: files in, errors in one line, budgets, and data that cannot leave its element."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from runs import HOSTILE, make_run, write_json, write_rows

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.metrics import Reading, Scores, ScoringSettings, compare, score, tables
from glm_ocr_finetune.report import build_report, build_report_of_files, page
from glm_ocr_finetune.report.charts import ticks
from glm_ocr_finetune.report.pictures import Album
from glm_ocr_finetune.report.samples import embedded_json, sample_rows, within_budget
from glm_ocr_finetune.report.verdict import verdict_alone, verdict_of


def table(report: Path, name: str = "samples") -> Any:
    """The data of one table of the page."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', report.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def rows_of(truth: str, prediction: str, settings: ScoringSettings | None = None) -> Any:
    scores = score([Reading("a", truth, prediction)], settings)
    return next(sample_rows([scores.samples], scores.settings))


def test_the_report_is_one_file_beside_the_run(tmp_path: Path) -> None:
    report = build_report(make_run(tmp_path))
    text = report.read_text()
    assert report == tmp_path / "report.html"
    assert not re.findall(
        r"<[^>]*\b(?:src|href)\s*=|@import|url\(", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    )
    assert str(tmp_path) not in text
    assert "empty label" in text
    assert table(report, "suspects")["rows"][0]["id"] == "train-0"


def test_optional_files_may_be_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path, base=False)
    for name in ("summary.json", "trainer_state.json", "set_aside.jsonl", "suspects.jsonl"):
        (run / name).unlink()
    text = build_report(run).read_text()
    assert "Suspect labels" not in text
    assert "Rows set aside" not in text


def test_losses_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "trainer_state.json").write_text('{"log_history": [{"step": 1, "loss": NaN}, {"step": 2, "loss": 0.5}]}')
    text = build_report(run).read_text()
    assert "step 2: 0.5" in text
    assert "nan" not in re.findall("<svg.*?</svg>", text, re.DOTALL)[0].lower()


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    text = build_report(make_run(tmp_path)).read_text()
    assert "could not be read: 1, the first is images/missing.png (missing image)" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{", "summary.json line 1 is not JSON"),
        ("trainer_state.json", "[]", "holds a list; expected a JSON object"),
        ("set_aside.jsonl", "3\n", "a line that is no JSON object"),
        ("suspects.jsonl", '{"id": "a", "text": 3}\n', "line 1: 'text' is not text"),
        ("suspects.jsonl", '{"id": "a", "text": "\\ud800", "prediction": ""}\n', "half of a surrogate pair"),
        ("evaluation/base.jsonl", '{"id": "a", "text": "b", "prediction": "b"}\n', "are on one side only"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    run = make_run(tmp_path)
    (run / name).write_text(content)
    with pytest.raises(UserError, match=message):
        build_report(run)


def test_a_folder_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither readings nor a trainer_state.json; expected the --output_dir"):
        build_report(tmp_path)


def test_the_advice_of_the_run_is_given(tmp_path: Path) -> None:
    run = make_run(tmp_path, worse=True)
    write_json(run / "summary.json", {"next_step": "train for a <week> with --num_train_epochs 9"})
    text = build_report(run).read_text()
    assert '</b> train for a &lt;week&gt; with <code class="flag">--num_train_epochs</code> 9.' in text
    assert "a third of" not in text


def test_a_probe_is_told_by_its_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_json(run / "summary.json", {"run": {"probe": {"verdict_text": "No difference", "base": {"corpus_cer": 1}}}})
    text = build_report(run).read_text()
    assert '<dt>probe</dt><dd dir="auto">No difference</dd>' in text


def score_of(predictions: list[str], truth: str = "the quick brown fox") -> Scores:
    return score([Reading(str(i), truth, text, stopped=True) for i, text in enumerate(predictions)])


def test_the_verdict_says_what_limits_it_and_what_to_do() -> None:
    base, tuned = (
        score_of(["the brown cat and a long tail"] * 20),
        score_of(["t h e q u i c k", "x the the the the"] * 10),
    )
    found = verdict_of(compare(base, tuned))
    assert found.kind == "mixed"
    assert "but not usable yet (CER" in found.headline
    assert found.headline.endswith(" and worse by loops")
    assert any(line.startswith("Ends in a loop 0.00 % → 50.00 %") for line in found.contradictions)
    assert found.next_step


@pytest.mark.parametrize(
    ("base", "tuned", "kind", "step"),
    [
        (["the quick"] * 9, ["the quick brown fox"] * 9, "better", None),
        (["the quick brown fox"] * 9, ["the quick"] * 9, "worse", "--learning_rate"),
        (["the quick"] * 9, ["the quick"] * 9, "open", "--num_train_epochs"),
        (["the quick"] * 5, ["the quick brown fox"] * 5, "open", "--eval_samples"),
    ],
)
def test_only_a_better_model_needs_no_next_step(base: list[str], tuned: list[str], kind: str, step: str | None) -> None:
    found = verdict_of(compare(score_of(base), score_of(tuned)))
    assert found.kind == kind
    assert (found.next_step is None) == (step is None)
    assert (step or "") in (found.next_step or "")


def test_few_samples_are_said_first_with_and_without_a_base() -> None:
    few, right = score_of(["the quick"] * 2), score_of(["the quick brown fox"] * 2)
    assert verdict_of(compare(few, right)).headline.startswith("Only 2 readings: too few")
    assert verdict_alone(few).headline.startswith("Only 2 samples, too few to judge by: 52.63 % of characters")
    assert verdict_alone(score_of(["the quick brown f0x"] * 9)).headline == "5.26 % of characters are wrong"
    assert "not usable yet" in verdict_alone(score_of(["the quick"] * 9)).headline


def test_characters_are_not_told_from_each_other_where_alignment_is_chance(tmp_path: Path) -> None:
    for name, reading in (("far", "zzzz zz z"), ("near", "the quikc brown fax")):
        rows = [{"id": str(i), "text": "the quick brown fox", "prediction": reading} for i in range(8)]
        write_rows(tmp_path / f"{name}.jsonl", rows)
    pages = {
        name: build_report_of_files(tmp_path / f"{name}.jsonl", None, tmp_path / f"{name}.html").read_text()
        for name in ("far", "near")
    }
    assert "Not shown: at a mean CER of" in pages["far"]
    assert 'data-examples="' not in pages["far"]
    assert "Accuracy by script</h2>" not in pages["far"]
    assert 'data-examples="' in pages["near"]
    assert "Not shown" not in pages["near"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((220, 40), (220, 40)),
        ((2400, 100), (1200, 50)),
        ((6000, 100), (2880, 48)),
        ((1240, 1754), (990, 1400)),
        ((1000, 8000), (175, 1400)),
    ],
)
def test_pictures_stay_large_enough_to_read(tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]) -> None:
    Image.new("L", size, 255).save(tmp_path / "a.png")
    picture = Album(10**7).picture(tmp_path, "a.png")
    assert picture
    assert (picture.width, picture.height) == pytest.approx(shown, abs=1)


def test_a_row_says_why_its_tables_were_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = ("<table>" + "<tr><td>a</td></tr>" * rows + "</table>" for rows in (1, 9))
    monkeypatch.setattr(tables, "MAX_TRUTH_VISITS", 20)
    monkeypatch.setattr(tables, "MAX_PAIR_VISITS", 80)
    pairs = {"fine": (small, small), "loops": (small, large), "left out": (large, small)}
    rows = [
        {"id": name, "text": truth, "prediction": text, "prompt": "Table Recognition:"}
        for name, (truth, text) in pairs.items()
    ]
    write_rows(tmp_path / "tuned.jsonl", rows)
    page = build_report_of_files(tmp_path / "tuned.jsonl", None, tmp_path / "report.html")
    found = {row["id"]: row["readings"][0] for row in table(page)["rows"]}
    assert (found["fine"]["teds"], found["loops"]["teds"]) == (1, 0)
    assert "teds" not in found["left out"]
    assert "table_note" not in found["fine"]
    assert "counts as 0" in found["loops"]["table_note"]
    assert "left out" in found["left out"]["table_note"]
    text = re.sub(r"<[^>]+>|\s+", " ", page.read_text())
    assert re.search(r"Samples with a table +2 ", text)
    assert re.search(r"counted as 0 +1 .*table too large +1 ", text)


def test_rows_beyond_the_limit_are_counted_not_hidden(tmp_path: Path) -> None:
    report = build_report(make_run(tmp_path), max_samples=5)
    listed = table(report)["rows"]
    assert len(listed) == 5
    assert "The worst 5 of 36 are listed" in report.read_text()
    rates = [row["readings"][-1]["cer"] for row in listed]
    assert rates == sorted(rates, reverse=True)


def test_texts_and_pictures_stay_within_their_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "TEXT_BUDGET", 4000)
    monkeypatch.setattr(page, "PICTURE_BUDGET", 3000)
    rows = table(build_report(make_run(tmp_path)))["rows"]
    assert 1 < len(rows) < 36
    assert 0 < sum("picture" in row for row in rows) < len(rows)


def test_pairs_are_made_by_id_not_by_order(tmp_path: Path) -> None:
    texts = ["one", "two", "three"]
    rows = [{"id": text, "text": text, "prediction": text} for text in texts]
    write_rows(tmp_path / "tuned.jsonl", rows)
    write_rows(tmp_path / "base.jsonl", reversed(rows))
    report = build_report_of_files(tmp_path / "tuned.jsonl", tmp_path / "base.jsonl", tmp_path / "new" / "report.html")
    assert all(reading["exact"] for row in table(report)["rows"] for reading in row["readings"])


def test_tables_and_formulas_have_their_figures_where_they_were_asked_for(tmp_path: Path) -> None:
    asked = [
        {"id": "t", "text": "<table><tr><td>1</td></tr></table>", "prompt": "Table Recognition:"},
        {"id": "f", "text": r"\frac{a}{b}", "prompt": "Formula Recognition:"},
    ]
    write_rows(tmp_path / "tuned.jsonl", [row | {"prediction": row["text"]} for row in asked])
    write_rows(tmp_path / "base.jsonl", [row | {"prediction": ""} for row in asked])
    report = build_report_of_files(tmp_path / "tuned.jsonl", tmp_path / "base.jsonl", tmp_path / "report.html")
    text = re.sub(r"<[^>]+>|\s+", " ", report.read_text())
    assert re.search(r"Tables, TEDS&nbsp; ↑ +higher is better +0.00 % +100.00 % +\+100.00 pp", text)
    assert re.search(r"Formulas, edit distance&nbsp; ↓ +lower is better +100.00 % +0.00 %", text)
    assert re.search(r"Tables read as none +1 +0 ", text)
    assert "Tables, TEDS" not in build_report(make_run(tmp_path / "run")).read_text()


def test_embedded_data_cannot_close_its_element() -> None:
    text = embedded_json({"text": HOSTILE + "<!--\u2028"})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text)["text"] == HOSTILE + "<!--\u2028"


def test_a_difference_is_lengths_of_equal_missed_and_written() -> None:
    assert rows_of("kitten", "sitting")["readings"][0]["difference"] == [0, 1, 1, 3, 1, 1, 1, 0, 1]
    assert rows_of("a😀b", "a😀c")["readings"][0]["difference"] == [3, 1, 1]
    assert rows_of("same", "same")["readings"][0]["difference"] == [4, 0, 0]
    assert rows_of("", "")["readings"][0]["difference"] == []


@pytest.mark.parametrize("normalisation", ["none", "nfc", "nfc_case", "nfc_case_punct"])
def test_a_difference_spans_the_texts_that_it_marks(normalisation: Any) -> None:
    row = rows_of(" Straße,\n\n e\u0301te \r\n😀", "STRASSE\te\u0301té\n", ScoringSettings(normalisation))
    reading = row["readings"][0]
    lengths = reading["difference"]
    truth, text = row_texts(row)
    assert sum(lengths[0::3]) + sum(lengths[1::3]) == len(truth.encode("utf-16-le")) // 2
    assert sum(lengths[0::3]) + sum(lengths[2::3]) == len(text.encode("utf-16-le")) // 2
    assert "\n" in truth


def row_texts(row: Any) -> tuple[str, str]:
    """The two texts that the page marks up."""
    reading = row["readings"][0]
    return reading.get("truth_compared", row["truth"]), reading.get("text_compared", reading["text"])


def test_the_budget_keeps_the_first_rows() -> None:
    rows = [{"text": "x" * 10}] * 5
    assert len(within_budget(rows, 2 * len(embedded_json(rows[0])))) == 2


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.0123), (0, 30), (10, 60), (5, 5), (0, 0), (0, 123456)])
def test_ticks_reach_around_their_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert found[0] <= low
    assert found[-1] >= high
    assert found == sorted(set(found))
