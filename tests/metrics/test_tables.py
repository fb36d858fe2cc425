"""TEDS of real tables against copies changed by hand, where the published definition gives the value in closed form,
and of broken ones against the published code, which is needed for the tests only."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import time

import pytest
from lxml import etree, html
from rapidfuzz.distance import Levenshtein
from shared_data import DATA, needs_shared

from glm_ocr_finetune.metrics import Reading, ScoringSettings, TableScores, score_tables, score_with_tables
from glm_ocr_finetune.metrics import tables as tables_module
from glm_ocr_finetune.metrics.tables import MAX_PAIR_VISITS, MAX_TRUTH_VISITS, prepare_tables

MANIFEST = DATA / "tables-icdar2013-us" / "manifest.jsonl"
AS_IT_IS = ScoringSettings("none")
needs_teds = pytest.mark.skipif(
    importlib.util.find_spec("table_recognition_metric") is None, reason="table-recognition-metric is not installed"
)
SMALL = "<table><tr><td>k</td><td>m</td></tr><tr><td>p</td><td>q</td></tr></table>"
NODES = 1 + 2 + 4  # table, tr, td


def truths(most_cells: int = 10_000) -> list[str]:
    rows = [json.loads(line)["text"] for line in MANIFEST.read_text(encoding="utf-8").splitlines()]
    return [text for text in rows if text.count("<td") <= most_cells]


def nodes(table: str) -> int:
    return 1 + table.count("<tr") + table.count("<td")


def score_pairs(pairs: list[tuple[str, str]]) -> TableScores:
    readings = [Reading(str(index), truth, prediction) for index, (truth, prediction) in enumerate(pairs)]
    return score_tables(readings, AS_IT_IS)


def grid(rows: int, text: str) -> str:
    return "<table>" + ("<tr>" + f"<td>{text}</td>" * 20 + "</tr>") * rows + "</table>"


@needs_shared
def test_equal_tables_are_one() -> None:
    tables = truths()
    scores = score_pairs([(table, table) for table in tables])
    assert (scores.teds, scores.teds_structure, scores.count) == (1, 1, len(tables))


@needs_shared
def test_one_change_costs_what_the_definition_says() -> None:
    """A changed cell costs its normalised edit distance, a lost cell, row end or span costs 1, each over the nodes."""
    tables = truths(most_cells=60)
    assert len(tables) > 5
    pairs, expected = [], []
    for table in tables:
        cell = next(match for match in re.finditer(r"<td>([^<&]{3,})</td>", table))
        changed = "#" + cell[1][1:]
        distance = Levenshtein.distance(cell[1], changed) / len(cell[1])
        for prediction, cost, structure_cost in (
            (table.replace(cell[0], f"<td>{changed}</td>", 1), distance, 0),
            (table.replace("<td>", '<td rowspan="7">', 1), 1, 1),
            (table.replace("</tr>", "<td></td></tr>", 1), 1, 1),
        ):
            larger = max(nodes(table), nodes(prediction))
            pairs.append((table, prediction))
            expected.append((1 - cost / larger, 1 - structure_cost / larger))
    scores = score_pairs(pairs)
    assert [(sample.teds, sample.teds_structure) for sample in scores.samples] == [
        pytest.approx(values, abs=1e-9) for values in expected
    ]
    assert scores.not_scored == ()


@needs_shared
@needs_teds
def test_equals_the_published_code() -> None:
    from table_recognition_metric import TEDS

    tables = truths(most_cells=45)[:6]
    pairs = [(table, other) for table in tables[:3] for other in tables[3:]]
    pairs += [(table, table.replace("1", "7").replace("<td></td>", "")) for table in tables]
    scores = score_pairs(pairs)
    teds, structure = TEDS(), TEDS(structure_only=True)
    for (truth, prediction), sample in zip(pairs, scores.samples, strict=True):
        whole = [f"<html><body>{text}</body></html>" for text in (prediction, truth)]
        assert sample.teds == pytest.approx(teds(*whole), abs=1e-9)
        assert sample.teds_structure == pytest.approx(structure(*whole), abs=1e-9)


FRAGMENTS = [
    "<td>",
    "</td>",
    "<tr>",
    "</tr>",
    "<table>",
    "</table>",
    "<b>",
    "</b>",
    "<td\tcolspan=3>",
    "<th\trowspan=x>",
    "x",
    "é",
    "<caption>",
    "<br>",
    "<div>\n",
    "",
    "",
    "",
    "</div>",
    "<tbody>",
    "<thead>",
    "</thead>",
    "<sup>2</sup>",
    "<p>",
    "&amp;",
    "&lt;b&gt;",
    "<unk>",
    "<li>",
    "<!--c-->",
    "<col>",
    "<option>",
]


@needs_teds
def test_broken_tables_equal_the_published_code() -> None:
    from table_recognition_metric import TEDS

    rng = random.Random(0)
    texts = ["<table>" + "".join(rng.choices(FRAGMENTS, k=rng.randint(1, 30))) for _ in range(150)]
    scores = score_pairs(list(zip(texts, texts[1:], strict=False)))
    teds, structure = TEDS(), TEDS(structure_only=True)
    for truth, prediction, sample in zip(texts, texts[1:], scores.samples, strict=False):
        (one, *ones), (other, *others) = (published_form(text) for text in (truth, prediction))
        if not ones and not others:
            assert sample.teds == pytest.approx(teds(other, one), abs=1e-9)
            assert sample.teds_structure == pytest.approx(structure(other, one), abs=1e-9)


def published_form(text: str) -> list[str]:
    """The tables as the published code wants them: no th, thead or col, spans that are numbers."""
    tables = html.fromstring(f"<html><body>{text}</body></html>").xpath("//table[not(ancestor::table)]")
    for table in tables:
        etree.strip_elements(table, "colgroup", "col", with_tail=False)
        etree.strip_tags(table, "thead", "tbody", "tfoot", etree.Comment)
        for cell in table.iter("th", "td"):
            cell.tag = "td"
            if cell.get("rowspan") == "x":
                cell.set("rowspan", "1")
    return [
        f"<html><body>{html.tostring(table, encoding='unicode', with_tail=False)}</body></html>" for table in tables
    ]


@pytest.mark.parametrize("text", ["a\x01b", "a&#1;b", "a\ufffeb", "<script>\x01</script>"])
def test_characters_that_xml_forbids_are_characters(text: str) -> None:
    prediction = SMALL.replace("k", text)
    scores = score_tables([Reading("1", SMALL, prediction), Reading("2", prediction, prediction)])
    assert [sample.teds for sample in scores.samples] == pytest.approx([1 - 1 / NODES, 1])


@pytest.mark.parametrize(
    "prediction",
    [
        SMALL.replace("td>", "th>"),
        SMALL.replace("<table>", "<table><thead>").replace("</tr><tr>", "</tr></thead><tbody><tr>"),
        f"Here it is:\n```html\n<html><body>{SMALL}</body></html>\n```",
        SMALL.replace("<table>", "<table><colgroup><col/><col/></colgroup>"),
        SMALL.replace("<td>k", "<td> k\n"),
        SMALL.replace("</td>", "").replace("</tr>", ""),
        SMALL.replace("<table>", "<TABLE><!-- c -->"),
    ],
)
def test_other_ways_to_write_the_same_table(prediction: str) -> None:
    assert prepare_tables(prediction) == prepare_tables(SMALL)


def test_spans_of_one_are_no_spans() -> None:
    scores = score_tables([Reading("1", SMALL, SMALL.replace("<td>k", '<td colspan="x" rowspan="1.9">k'))])
    assert (scores.teds, scores.teds_structure) == (1, 1)


def test_header_text_counts() -> None:
    """The published code ignores the text of th; here a wrong header costs as much as a wrong cell."""
    header = SMALL.replace("<td>k</td>", "<th>k</th>")
    scores = score_tables([Reading("1", header, header.replace("k</th>", "x</th>"))])
    assert scores.teds == pytest.approx(1 - 1 / NODES)
    assert scores.teds_structure == 1


def test_letters_beyond_ascii_are_one_letter_each() -> None:
    truth = SMALL.replace("k", "éü日ក")
    scores = score_tables([Reading("1", truth, truth.replace("é", "è"))])
    assert scores.teds == pytest.approx(1 - (1 / 4) / NODES)


def test_text_normalisation_reaches_the_cells() -> None:
    truth, prediction = SMALL.replace("k", "Café  au\nlait"), SMALL.replace("k", "cafe\u0301 au lait!")
    assert score_tables([Reading("1", truth, prediction)], ScoringSettings("nfc_case_punct")).teds == 1


@pytest.mark.parametrize("prediction", ["", "no table", "| a | b |\n|---|---|", "<tablet>", "<tr><td>a</td></tr>"])
def test_no_table_in_the_prediction_is_zero_and_listed(prediction: str) -> None:
    scores = score_tables([Reading("bad", SMALL, prediction), Reading("good", SMALL, SMALL)])
    assert (scores.teds, scores.teds_structure) == (0.5, 0.5)
    assert scores.no_table == ("bad",)
    assert scores.not_scored == ()


@pytest.mark.parametrize("prediction", ["<table", "<table>", "<table><tr><td>\0", "<table>" * 50, "<table colspan=x>"])
def test_broken_tables_are_scored_low_and_never_raise(prediction: str) -> None:
    teds = score_tables([Reading("1", SMALL, prediction)]).teds
    assert teds is not None
    assert teds < 0.5


def test_readings_without_a_table_in_the_truth_are_left_out() -> None:
    scores = score_tables([Reading("1", "plain text", SMALL)])
    assert (scores.count, scores.teds) == (0, None)


def test_several_tables_are_paired_in_order() -> None:
    scores = score_tables([Reading("1", f"{SMALL} and {SMALL}", SMALL), Reading("2", SMALL, SMALL + SMALL)])
    assert [(sample.teds, sample.num_tables) for sample in scores.samples] == [(0.5, 2), (0.5, 2)]


def bounded(monkeypatch: pytest.MonkeyPatch, truth: int, pair: int) -> None:
    monkeypatch.setattr(tables_module, "MAX_TRUTH_VISITS", truth)
    monkeypatch.setattr(tables_module, "MAX_PAIR_VISITS", pair)


def test_a_prediction_too_large_counts_as_zero_is_listed_and_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prediction that loops must not leave the mean by being too large to compare."""
    visits = prepare_tables(SMALL)[0].visits
    bounded(monkeypatch, visits, 4 * visits**2)
    looping = SMALL.replace("</table>", "<tr><td>z</td><td>z</td></tr>" * 8 + "</table>")
    pairs = {"loops": (SMALL, looping), "a": (SMALL, SMALL.replace("k", "x")), "two": (SMALL * 2, SMALL + looping)}
    scores = score_tables([Reading(name, *pair) for name, pair in pairs.items()])
    assert scores.too_large == ("loops", "two")
    assert scores.not_scored == ()
    assert [sample.teds for sample in scores.samples] == pytest.approx([0, 1 - 1 / NODES, 1 / 2])
    assert scores.teds == pytest.approx((1 - 1 / NODES + 1 / 2) / 3)
    assert "counted as 0: 0 predictions without a table, 2 too large" in str(scores)


@pytest.mark.parametrize("prediction", [SMALL, grid(1, "a"), grid(2, "a"), grid(30, "a"), "no table"])
def test_a_truth_too_large_is_left_out_whatever_was_read(monkeypatch: pytest.MonkeyPatch, prediction: str) -> None:
    """So base and tuned model leave out the same samples, and no reading can choose to be left out."""
    bounded(monkeypatch, prepare_tables(SMALL)[0].visits, 10**9)
    readings = [Reading("large", grid(1, "a"), prediction), Reading("small", SMALL, SMALL)]
    scores = score_tables(readings)
    assert (scores.count, scores.teds, scores.not_scored) == (1, 1, ("large",))
    asked = [Reading(one.id, one.truth, one.prediction, prompt="Table Recognition:") for one in readings]
    samples = {sample.reading.id: sample.table for sample in score_with_tables(asked).samples}
    assert samples["large"] is None
    assert samples["small"] is not None


def test_the_bounds_leave_room_for_any_page_and_for_predictions_four_times_as_large() -> None:
    (page,) = prepare_tables(grid(75, "a"))
    assert page.visits < MAX_TRUTH_VISITS
    assert MAX_TRUTH_VISITS * 4 * MAX_TRUTH_VISITS <= MAX_PAIR_VISITS


@pytest.mark.slow
def test_a_pair_at_the_bound_takes_less_than_a_minute() -> None:
    truth, prediction = grid(79, "ab"), grid(312, "ac")
    (one,), (other,) = prepare_tables(truth), prepare_tables(prediction)
    assert 0.95 * MAX_PAIR_VISITS < one.visits * other.visits <= MAX_PAIR_VISITS
    start = time.process_time()
    scores = score_tables([Reading("1", truth, prediction)])
    assert time.process_time() - start < 60
    assert scores.too_large == ()
    assert scores.teds == pytest.approx((79 + 79 * 20 * 0.5 + 1) / (1 + 312 * 21))


@needs_shared
@pytest.mark.slow
def test_two_hundred_real_tables_in_bounded_time() -> None:
    tables = truths()
    readings = [
        Reading(
            str(index), tables[index % len(tables)], re.sub(r"[aeiou](?=[^<>]*<)", "o", tables[index % len(tables)])
        )
        for index in range(200)
    ]
    start = time.process_time()
    scores = score_tables(readings)
    assert time.process_time() - start < 60
    assert scores.not_scored == ()
    assert scores.teds is not None
    assert 0.8 < scores.teds < 1
    assert scores.teds_structure == 1


def test_tables_that_were_asked_for_are_among_the_scores() -> None:
    row_more = SMALL.replace("</table>", "<tr><td></td></tr></table>")
    predictions = [SMALL, row_more, "no table"]
    asked = [Reading(f"t{i}", SMALL, text, prompt="Table Recognition:") for i, text in enumerate(predictions)]
    scores = score_with_tables([*asked, Reading("other", SMALL, "", prompt="Text Recognition:")])
    expected = (1 + (1 - 2 / (NODES + 2)) + 0) / 3
    assert scores.values["teds"] == scores.values["teds_structure"] == pytest.approx(expected)
    assert scores.by_prompt["Text Recognition:"].values["teds"] is None
    assert scores.to_dict()["tables"] == {
        "count": 3,
        "no_table": ["t2"],
        "too_large": [],
        "not_scored": [],
    }
