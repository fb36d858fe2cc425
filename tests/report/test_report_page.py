"""The report's page in a headless Chromium: what a user does with it, with keyboard, phone and dark mode."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools import CHROMIUM, Browser
from runs import make_run, misread, write_rows

from glm_ocr_finetune.report import build_report, build_report_of_files

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

ROWS = "[...document.querySelectorAll('#samples-browser tbody tr:not(.detail)')]"
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
        for name in ["paper", "ink", "soft", "accent", "good", "bad", "bad-tint", "mark-missed", "mark-written"]
    }
    for text in ("ink", "soft", "accent", "good", "bad"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
    for text, behind in (("bad", "bad-tint"), ("ink", "bad-tint"), ("ink", "mark-missed"), ("ink", "mark-written")):
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
    beside = "[...document.querySelectorAll('#samples-browser *')].filter(e => e.getBoundingClientRect().right > 391)"
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
    started = time.perf_counter()
    report = build_report_of_files(tmp_path / "tuned.jsonl", tmp_path / "base.jsonl", tmp_path / "report.html")
    built = time.perf_counter() - started
    chromium.open(report)
    opened = chromium.run("Number(document.documentElement.dataset.readyMs)")
    print(f"built in {built:.1f} s, {report.stat().st_size / 1e6:.1f} MB, opened in {opened} ms")
    assert built < 30
    assert report.stat().st_size < 20_000_000
    assert opened < 3000
    assert "of 10,000" in chromium.run("document.querySelector('#samples-browser .status').textContent")
    type_filter(chromium, "9999")
    assert chromium.run(IDS) == ["9999"]
