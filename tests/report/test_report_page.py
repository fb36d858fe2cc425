"""The report's page in a headless Chromium: what a user does with it, with keyboard, phone and dark mode."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devtools import CHROMIUM, Browser
from PIL import Image
from runs import make_run, misread, write_rows

from glm_ocr_finetune.report import build_report, build_report_of_files

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

ROWS = "[...document.querySelectorAll('#samples-browser tbody tr:not(.detail, .strip)')]"
IDS = ROWS + ".map(row => row.querySelector('.expand').textContent)"
COLOUR = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(make_run(tmp_path_factory.mktemp("run"), count=117))


@pytest.fixture
def page(chromium: Browser, report: Path) -> Browser:
    chromium.open(report)
    return chromium


def header(name: str) -> str:
    return f"[...document.querySelectorAll('#samples-browser thead button')].find(b => b.textContent === '{name}')"


def chip(name: str) -> str:
    return f"[...document.querySelectorAll('#samples-browser .chips button')].find(b => b.textContent.startsWith('{name}'))"


def column(name: str) -> str:
    return ROWS + f".map(row => row.querySelector('[data-label=\"{name}\"]').textContent)"


def type_filter(page: Browser, text: str) -> None:
    script = "const input = document.querySelector('#samples-browser input'); input.value = %s;"
    page.run(f"(() => {{ {script % json.dumps(text)} input.dispatchEvent(new Event('input')) }})()")


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split()[0].replace("−", "-")) for text in texts]


def test_it_says_which_model_reads_better(page: Browser) -> None:
    assert page.run("document.querySelector('h1').textContent") == "The tuned model reads better than the base."
    assert "grapheme clusters; NFC" in page.run("document.querySelector('.note').textContent")


def test_a_worse_model_is_called_that_in_a_warning(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(build_report(make_run(tmp_path, worse=True)))
    assert "WORSE" in chromium.run("document.querySelector('[role=alert].worse h1').textContent")
    paint = "getComputedStyle(document.querySelector('.verdict')).backgroundColor"
    assert chromium.run(paint) != chromium.run(COLOUR)


def predictions(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """A prediction file with an id for each row."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{name}.jsonl", ({"id": str(i), **row} for i, row in enumerate(rows)))
    return folder / f"{name}.jsonl"


def test_better_is_not_green_where_it_is_not_usable(chromium: Browser, report: Path, tmp_path: Path) -> None:
    truth = "the quick brown fox"
    base = predictions(tmp_path, "base", [{"text": truth, "prediction": "a wholly different and long text"}] * 20)
    loops = [{"text": truth, "prediction": text} for text in ("the q", "x the the the the")] * 10
    chromium.open(build_report_of_files(predictions(tmp_path, "tuned", loops), base, tmp_path / "report.html"))
    headline = chromium.run("document.querySelector('.verdict.mixed h1').textContent")
    assert "but not usable yet (CER" in headline
    assert chromium.run("document.title") == f"Reading report: {headline.replace(chr(160), ' ').rstrip('.')}"
    against = chromium.run("[...document.querySelectorAll('.verdict li')].map(line => line.textContent)")
    assert any(line.replace(chr(160), " ").startswith("Ends in a loop 0.00 % → 50.00 %") for line in against)
    assert "--num_train_epochs" in chromium.run("document.querySelector('.verdict .next').textContent")
    border = "getComputedStyle(document.querySelector('.verdict')).borderLeftColor"
    mixed = chromium.run(border)
    chromium.open(report)
    assert chromium.run("document.querySelector('.verdict').className") == "verdict better"
    assert chromium.run(border) != mixed


def test_arrows_show_which_way_is_better(page: Browser) -> None:
    rows = "[...document.querySelectorAll('.summary tbody tr')].map(row => row.querySelector('th').innerText)"
    found = {text.split("\xa0")[0]: text.split("\xa0")[1].split()[0] for text in page.run(rows)}
    assert found["Character error rate"] == found["Ends in a loop"] == "↓"
    assert found["Exact match"] == found["Stopped by itself"] == "↑"
    assert found["Length ratio"] == "→"
    assert not {"▲", "▼"} & set(page.run("document.body.innerText"))


def test_a_run_without_an_evaluation_has_a_page(chromium: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for file in (run / "evaluation").glob("*.jsonl"):
        file.unlink()
    chromium.open(build_report(run))
    assert chromium.run("document.querySelector('h1').textContent") == "This run was not evaluated."
    assert chromium.run("document.querySelectorAll('svg').length") == 2
    assert chromium.run("document.querySelectorAll('#suspects-browser .expand').length") == 4
    assert chromium.run("document.getElementById('samples-browser')") is None


@pytest.mark.parametrize("width", [1280, 390])
def test_lines_and_pages_are_wide_enough_to_read(chromium: Browser, tmp_path: Path, width: int) -> None:
    """A long line keeps its height (scrolled in its own box, not with the page), a page opens to a readable width."""
    rows = [{"text": "a", "prediction": "b", "image": name} for name in ("line.png", "short.png", "page.png")]
    for name, size in (("line.png", (3000, 60)), ("short.png", (300, 50)), ("page.png", (1240, 1754))):
        Image.new("L", size, 255).save(tmp_path / name)
    file = predictions(tmp_path, "tuned", rows)
    chromium.open(build_report_of_files(file, None, tmp_path / "report.html"), width=width)
    chromium.run(ROWS + "[2].querySelector('.expand').click()")
    boxes = "[...document.querySelectorAll('%s .thumb')].map(e => [e.clientWidth, e.clientHeight])"
    (line, short) = chromium.run(boxes % ".strip")
    assert line[1] >= 22 if width == 1280 else line[1] >= 27
    assert line[0] > width / 2
    assert short == [300, 50]
    assert chromium.run(boxes % ".detail")[0][0] >= 700
    assert chromium.run("document.documentElement.scrollWidth") == width


HOSTILE_TABLE = (
    "<table onclick='window.broken=1'><caption>c</caption><tr><th colspan=2 style='position:fixed'>head</th></tr>"
    "<tr><td>x<sup>2</sup><script>window.broken=1</script><img src=http://127.0.0.1:9/x onerror='window.broken=1'></td>"
    "<td><a href='javascript:window.broken=1'>link</a><table><tr><td>inner</td></tr></table><style>*{display:none}</style>"
    "<iframe src=http://127.0.0.1:9/></iframe></td></tr><tr><td>last</td><td>cell</td></tr></table>"
)


def test_tables_are_drawn_beside_each_other_with_their_teds(chromium: Browser, tmp_path: Path) -> None:
    truth = "<table><tr><th colspan=2>head</th></tr><tr><td>x<sup>2</sup></td><td>y</td></tr></table>"
    asked = {"text": truth, "prompt": "Table Recognition:"}
    base = predictions(tmp_path, "base", [asked | {"prediction": "none at all"}])
    tuned = predictions(tmp_path, "tuned", [asked | {"prediction": truth.replace("y", "z")}])
    chromium.open(build_report_of_files(tuned, base, tmp_path / "report.html"))
    assert chromium.run(column("Truth")) == ["head\nx2 | y"]
    assert numbers(chromium.run(column("Tuned TEDS"))) == [83.33]
    chromium.run("document.querySelector('#samples-browser .expand').click()")
    heads = chromium.run("[...document.querySelectorAll('.side h3')].map(h => h.textContent)")
    assert heads == ["Truth", "BaseTEDS 0.00 %, structure 0.00 %", "TunedTEDS 83.33 %, structure 100.00 %"]
    tops = chromium.run("[...document.querySelectorAll('.side')].map(e => Math.round(e.getBoundingClientRect().top))")
    assert len(set(tops)) == 1
    assert chromium.run("document.querySelector('.drawn th').colSpan") == 2
    assert chromium.run("document.querySelectorAll('.drawn sup').length") == 2
    assert chromium.run("[...document.querySelectorAll('.drawn .differs')].map(e => e.textContent)") == ["z"]
    assert chromium.run("document.querySelectorAll('.side')[1].querySelector('.blank').textContent") == "no table"


def test_tables_bring_nothing_but_text_and_spans(chromium: Browser, tmp_path: Path) -> None:
    row = {"text": HOSTILE_TABLE, "prediction": HOSTILE_TABLE.replace("last", "lost"), "prompt": "Table Recognition:"}
    chromium.open(build_report_of_files(predictions(tmp_path, "tuned", [row]), None, tmp_path / "report.html"))
    chromium.run("document.querySelector('#samples-browser .expand').click()")
    assert chromium.run("window.broken") is None
    drawn = "[...document.querySelectorAll('.drawn *')]"
    assert set(chromium.run(drawn + ".map(e => e.tagName)")) == {"TR", "TH", "TD", "SUP"}
    allowed = "['class', 'colspan', 'rowspan', 'dir']"
    assert chromium.run(drawn + f".every(e => [...e.attributes].every(a => {allowed}.includes(a.name)))")
    assert chromium.run("performance.getEntriesByType('resource').length") == 0
    assert chromium.run("[...document.querySelectorAll('.drawn .differs')].map(e => e.textContent)") == ["lost"]


def test_a_table_of_thousands_of_rows_is_drawn_in_part(chromium: Browser, tmp_path: Path) -> None:
    loop = "<table>" + "<tr><td rowspan=70000>a</td><td colspan=5000>b</td></tr>" * 3000 + "</table>"
    row = {"text": "<table><tr><td>a</td></tr></table>", "prediction": loop, "prompt": "Table Recognition:"}
    chromium.open(build_report_of_files(predictions(tmp_path, "tuned", [row]), None, tmp_path / "report.html"))
    chromium.run("document.querySelector('#samples-browser .expand').click()")
    assert chromium.run("document.querySelectorAll('.drawn')[1].rows.length") == 400
    assert chromium.run("document.querySelector('.drawn caption').textContent") == "2600 more rows are not shown"


def test_a_row_that_is_missing_does_not_tint_the_rest(chromium: Browser, tmp_path: Path) -> None:
    rows = [f"<tr><td>row {i}</td><td>{i * i}</td></tr>" for i in range(9)]
    tables = [f"<table>{''.join(some)}</table>" for some in (rows, rows[:3] + rows[4:])]
    row = dict(zip(("text", "prediction"), tables, strict=True))
    chromium.open(build_report_of_files(predictions(tmp_path, "tuned", [row]), None, tmp_path / "report.html"))
    chromium.run("document.querySelector('#samples-browser .expand').click()")
    assert chromium.run("document.querySelectorAll('.drawn td').length") == 34
    assert chromium.run("document.querySelectorAll('.drawn .differs').length") == 0


def test_rows_come_worst_first_in_pages_of_fifty(page: Browser) -> None:
    first = page.run(IDS)
    assert len(first) == 50
    rates = numbers(page.run(column("Tuned CER")))
    assert rates == sorted(rates, reverse=True)
    page.run("document.querySelector('#samples-browser .next').click()")
    assert not set(first) & set(page.run(IDS))
    assert "51–100 of 117" in page.run("document.querySelector('#samples-browser .status').textContent")


def test_columns_are_sorted_by_keyboard_both_ways(page: Browser) -> None:
    page.run(header("Base CER") + ".focus()")
    page.press("Enter")
    assert page.run(header("Base CER") + ".closest('th').getAttribute('aria-sort')") == "descending"
    falling = numbers(page.run(column("Base CER")))
    assert falling == sorted(falling, reverse=True)
    page.press("Enter")
    assert page.run(header("Base CER") + ".closest('th').getAttribute('aria-sort')") == "ascending"
    rising = numbers(page.run(column("Base CER")))
    assert rising == sorted(rising)
    assert max(rising) < max(falling)


def test_ids_sort_by_their_numbers(page: Browser) -> None:
    page.run(header("Sample") + ".click()")
    assert page.run(IDS)[:3] == ["sample-0", "sample-1", "sample-2"]


def test_the_filter_finds_truth_source_and_id(page: Browser) -> None:
    type_filter(page, "السلام")
    assert len(page.run(IDS)) == 13
    assert all("السلام" in text for text in page.run(column("Truth")))
    type_filter(page, "ODD.jsonl")
    assert "of 58, filtered from 117" in page.run("document.querySelector('#samples-browser .status').textContent")
    type_filter(page, "sample-116")
    assert page.run(IDS) == ["sample-116"]
    type_filter(page, "nothing has this")
    assert page.run(IDS) == []
    assert "No row matches" in page.run("document.querySelector('#samples-browser .status').textContent")


def test_chips_filter_and_say_that_they_are_pressed(page: Browser) -> None:
    page.run(chip("not exact") + ".click()")
    assert page.run(chip("not exact") + ".getAttribute('aria-pressed')") == "true"
    shown = numbers(page.run(column("Tuned CER")))
    assert shown
    assert min(shown) > 0
    page.run(chip("not exact") + ".click()")
    page.run(chip("loops") + ".click()")
    assert 0 < len(page.run(IDS)) < 10


def test_an_opened_row_shows_the_difference_in_colour_and_shape(page: Browser) -> None:
    type_filter(page, "sample-16")
    page.run("document.querySelector('#samples-browser .expand').focus()")
    page.press("Enter")
    assert page.run("document.querySelector('#samples-browser .expand').getAttribute('aria-expanded')") == "true"
    blocks = "[...document.querySelectorAll('.detail .difference')]"
    assert page.run(blocks + ".map(block => block.querySelector('h3').textContent)") == ["Base", "Tuned"]
    assert page.run(blocks + "[0].querySelectorAll('p')[0].textContent") == "The quick brown fox16"
    assert page.run(blocks + "[0].querySelectorAll('p')[1].textContent") == misread("The quick brown fox16", 16)
    shapes = page.run("['del', 'ins'].map(tag => getComputedStyle(document.querySelector(tag)).textDecorationLine)")
    assert shapes == ["line-through", "underline"]
    page.press("Enter")
    assert page.run("document.querySelectorAll('.detail').length") == 0


def test_line_breaks_and_writing_directions_are_kept(page: Browser) -> None:
    type_filter(page, "sample-12")
    page.run("document.querySelector('#samples-browser .expand').click()")
    assert page.run("document.querySelector('.detail p').textContent") == "first line\nsecond line12"
    assert page.run("getComputedStyle(document.querySelector('.detail p')).whiteSpaceCollapse") == "preserve"
    type_filter(page, "sample-18")
    page.run("document.querySelector('#samples-browser .expand').click()")
    directions = "[...document.querySelectorAll('.detail p[dir]')].map(p => getComputedStyle(p).direction)"
    assert set(page.run(directions)) == {"rtl"}


def test_marks_inside_a_word_leave_its_letters_joined(page: Browser) -> None:
    type_filter(page, "sample-18")
    page.run("document.querySelector('#samples-browser .expand').click()")
    width = (
        "(e => { const r = document.createRange(); r.selectNodeContents(e); return r.getBoundingClientRect().width })"
    )
    marked = page.run(f"{width}(document.querySelector('.detail del').parentElement)")
    page.run("(p => p.textContent = p.textContent)(document.querySelector('.detail del').parentElement)")
    plain = page.run(f"{width}(document.querySelector('.detail p'))")
    assert marked == pytest.approx(plain, abs=1)


def test_markup_in_truths_and_facts_is_text(page: Browser) -> None:
    type_filter(page, "window.broken")
    page.run("document.querySelectorAll('#samples-browser .expand').forEach(button => button.click())")
    assert "</script><script>" in page.run(column("Truth"))[0]
    assert page.run("window.broken") is None
    assert page.run("document.querySelectorAll('img[onerror], script:not([type])').length") == 1


def test_examples_of_a_confusion_are_shown_on_demand(page: Browser) -> None:
    button = "document.querySelector('[data-examples]')"
    page.run(button + ".click()")
    assert sorted(page.run(IDS)) == sorted(json.loads(page.run(button + ".dataset.examples")))
    page.run("document.querySelector('#samples-browser .status button').click()")
    assert len(page.run(IDS)) == 50


def test_pictures_are_made_when_they_come_into_view(page: Browser) -> None:
    made = "document.querySelectorAll('.thumb[src^=\"data:image/webp\"]').length"
    assert page.run(made) == 0
    page.run("document.querySelector('#samples-browser').scrollIntoView()")
    assert 0 < page.wait(made) < 50


def test_dark_follows_the_system_and_the_toggle(chromium: Browser, report: Path) -> None:
    chromium.open(report)
    light = chromium.run(COLOUR)
    chromium.run("document.getElementById('scheme').click()")
    dark = chromium.run(COLOUR)
    assert light != dark
    chromium.open(report, dark=True)
    assert chromium.run(COLOUR) == dark
    chromium.run("document.getElementById('scheme').click()")
    assert chromium.run(COLOUR) == light


@pytest.mark.parametrize("dark", [False, True])
def test_texts_have_the_contrast_of_wcag_aa(chromium: Browser, report: Path, dark: bool) -> None:
    chromium.open(report, dark=dark)
    colours = {
        name: chromium.run(
            f"(() => {{ const e = document.body.appendChild(document.createElement('i'));"
            f"e.style.color = 'var(--{name})'; return getComputedStyle(e).color.match(/[0-9.]+/g).map(Number) }})()"
        )
        for name in [
            "paper",
            "ink",
            "soft",
            "accent",
            "good",
            "bad",
            "bad-tint",
            "warn-tint",
            "mark-missed",
            "mark-written",
        ]
    }
    for text in ("ink", "soft", "accent", "good", "bad"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
    for text, behind in (
        ("bad", "bad-tint"),
        ("ink", "bad-tint"),
        ("ink", "warn-tint"),
        ("ink", "mark-missed"),
        ("ink", "mark-written"),
    ):
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of two sRGB colours, WCAG 2.2."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: list[float]) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_phone_needs_no_sideways_scrolling(chromium: Browser, report: Path) -> None:
    chromium.open(report, width=390, height=844)
    chromium.run("document.querySelectorAll('.expand').forEach(button => button.click())")
    chromium.run("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert chromium.run("document.documentElement.scrollWidth") == 390
    shown = "[...document.querySelectorAll('#samples-browser *:not(.picture *)')]"
    beside = shown + ".filter(e => e.getBoundingClientRect().right > 391)"
    assert chromium.run(beside + ".length") == 0


def test_suspect_labels_have_their_table(page: Browser) -> None:
    assert page.run("document.querySelector('#suspects-browser thead').textContent") == "SampleLabelModel readsTrust"
    page.run("document.querySelector('#suspects-browser .expand').click()")
    assert page.run("document.querySelector('#suspects-browser .detail del').textContent")
    cells = "[...document.querySelectorAll('#suspects-browser [data-label=\"Trust\"]')].map(cell => cell.textContent)"
    assert page.run(cells) == ["< 0.0001", "0.0010", "0.0020", "0.0030"]
    trust = "[...document.querySelectorAll('#suspects-browser thead button')].find(b => b.textContent === 'Trust')"
    page.run(trust + ".click()")
    assert page.run(cells) == ["0.0030", "0.0020", "0.0010", "< 0.0001"]
    note = "document.querySelector('#suspects-browser tbody .meta:last-child').textContent"
    assert page.run(note) == "in doubt: “l” after 2 characters"
    page.run(trust + ".click()")
    assert page.run(note) == "in doubt: the end after 2 characters"


def test_one_reader_alone_has_a_report(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(build_report(make_run(tmp_path, base=False)))
    assert "of characters are wrong" in chromium.run("document.querySelector('h1').textContent")
    assert chromium.run("document.querySelector('#samples-browser thead').textContent") == "SampleTruthReadingCER"


@pytest.mark.slow
def test_ten_thousand_predictions_open_in_three_seconds(chromium: Browser, tmp_path: Path) -> None:
    truths = [f"{i} the quick brown fox jumps over the lazy dog, ភាសាខ្មែរ ជាភាសាផ្លូវការ and back" for i in range(10_000)]
    for name, wrong in (("base", 2), ("tuned", 5)):
        rows = (
            {"id": str(i), "text": truth, "prediction": misread(truth, i) if i % wrong == 0 else truth}
            for i, truth in enumerate(truths)
        )
        write_rows(tmp_path / f"{name}.jsonl", rows)
    started = time.process_time()
    report = build_report_of_files(tmp_path / "tuned.jsonl", tmp_path / "base.jsonl", tmp_path / "report.html")
    built = time.process_time() - started
    chromium.open(report)
    opened = chromium.run("Number(document.documentElement.dataset.readyMs)")
    print(f"built in {built:.1f} s, {report.stat().st_size / 1e6:.1f} MB, opened in {opened} ms")
    assert built < 30
    assert report.stat().st_size < 20_000_000
    assert opened < 3000
    assert "of 10,000" in chromium.run("document.querySelector('#samples-browser .status').textContent")
    type_filter(chromium, "9999")
    assert chromium.run(IDS) == ["9999"]
