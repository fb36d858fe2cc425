"""Page formats through training and evaluation: lines of a page stay together, and both commands read them directly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from drawing import draw_line
from PIL import Image

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer

Run = Callable[..., tuple[int, str, str]]
WORDS = ("amber", "birch", "cedar", "delta", "ember", "flint", "grove", "haven", "inlet", "jetty")


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Ten pages of three lines as PAGE XML beside their images."""
    for number, word in enumerate(WORDS):
        page = Image.new("L", (160, 200), 255)
        lines = ""
        for line in range(3):
            text, top = f"{word} {line}", 60 * line
            page.paste(draw_line(text), (10, top))
            points = f"10,{top} 150,{top} 150,{top + 56} 10,{top + 56}"
            equiv = f"<TextEquiv><Unicode>{escape(text)}</Unicode></TextEquiv>"
            lines += f'<TextLine id="l{line}"><Coords points="{points}"/>{equiv}</TextLine>'
        page.save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.xml").write_text(
            f'<PcGts><Page imageFilename="{number}.png" imageWidth="160" imageHeight="200">'
            f'<TextRegion id="r">{lines}</TextRegion></Page></PcGts>',
            encoding="utf-8",
        )
    return tmp_path


def test_lines_of_a_page_are_never_on_both_sides(pages: Path, processor: Any) -> None:
    renderer = PromptRenderer(processor, "serve")
    for seed in range(5):
        data_args = DataArguments(dataset_name=str(pages), eval_split_size=0.2)
        splits = load_splits(data_args, renderer, max_length=None, seed=seed)
        assert splits.evaluation is not None
        train, held_out = ({row["group"] for row in side} for side in (splits.train, splits.evaluation))
        assert (len(train), len(held_out)) == (8, 2)
        assert not train & held_out
        assert all(row["region"] for row in splits.train)


def test_one_page_alone_is_not_divided(pages: Path, processor: Any) -> None:
    data_args = DataArguments(dataset_name=str(pages / "0.xml"), eval_split_size=0.2)
    splits = load_splits(data_args, PromptRenderer(processor, "serve"), max_length=None, seed=0)
    assert splits.evaluation is None
    assert splits.notes == ["no evaluation: too few different images or pages to hold any back (--eval_split_size)"]


@pytest.mark.parametrize(("level", "count"), [("line", 30), ("region", 10), ("page", 10)])
def test_a_dry_run_reads_pages(pages: Path, tmp_path: Path, run: Run, level: str, count: int) -> None:
    code, out, err = run(
        "train",
        *("--model_name", "tiny-random", "--dataset_name", pages, "--output_dir", tmp_path / "out"),
        *("--level", level, "--dry_run", "True", "--eval_split_size", "0"),
    )
    assert code == 0, err
    unit = f", {count} {level}s" if level != "page" else ""
    assert f"read as: PAGE XML, 10 pages{unit}\n" in err
    assert f"{count} samples to train on" in out


def test_evaluate_reads_regions_and_says_which(pages: Path, tmp_path: Path, run: Run) -> None:
    arguments = ("--dataset_name", pages, "--output_dir", tmp_path / "out", "--max_new_tokens", "2")
    code, _, err = run("evaluate", "--model", "tiny-random", "--max_samples", "4", *arguments)
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [(row["id"], row["text"], row["document"]) for row in rows] == [
        ("0.xml:l0", "amber 0", "0.png"),
        ("0.xml:l1", "amber 1", "0.png"),
        ("0.xml:l2", "amber 2", "0.png"),
        ("1.xml:l0", "birch 0", "1.png"),
    ]
    assert rows[1]["region"] == [[10, 60], [150, 60], [150, 116], [10, 116]]
    code, _, err = run("report", "--tuned", tmp_path / "out" / "predictions.jsonl", "--output", tmp_path / "r.html")
    assert code == 0, err
    page = (tmp_path / "r.html").read_text("utf-8")
    assert page.count("data:image/webp") == 4
    assert '"height":56' in page, "the line, not its page of 200"


def test_a_level_for_other_data_is_one_line(line_folder: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run(
        *("train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--level", "line"),
        *("--output_dir", tmp_path, "--dry_run", "True"),
    )
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: --level line: {line_folder} holds no pages")


def test_a_region_in_predictions_is_checked(tmp_path: Path, run: Run) -> None:
    row = {"id": "a", "text": "a", "prediction": "a", "region": [[1, 2], [3, "x"]]}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    code, _, err = run("evaluate", "--predictions", tmp_path / "p.jsonl", "--output_dir", tmp_path / "out")
    assert code == 2
    assert "line 1: 'region' is [[1, 2], [3, \"x\"]]; expected a list of [x, y] or null" in err
