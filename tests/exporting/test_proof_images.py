"""Which images an export is proven with: of the data set, of the run, or drawn; of many sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from drawing import draw_line, write_lines

from glm_ocr_finetune.command_args import ExportArguments
from glm_ocr_finetune.exporting.proof_images import ProofImage, choose_images, drawn, evenly, spread
from glm_ocr_finetune.exporting.source import Source
from glm_ocr_finetune.inputs.prompt import PromptRenderer


@pytest.fixture(scope="module")
def renderer(source: Source) -> PromptRenderer:
    return PromptRenderer(source.load_processor())


def test_without_data_and_run_lines_are_drawn(source: Source, renderer: PromptRenderer) -> None:
    images, where = choose_images(source, ExportArguments(prove=10), renderer)
    assert where == "lines drawn for the purpose"
    assert len(images) == 10
    assert len({one.image.size for one in images if not isinstance(one.image, dict | str)}) > 5  # type: ignore[union-attr]


def test_none_are_chosen_when_none_are_asked_for(source: Source, renderer: PromptRenderer) -> None:
    assert choose_images(source, ExportArguments(prove=0), renderer)[0] == []


def test_a_data_set_that_is_named_comes_first(source: Source, renderer: PromptRenderer, tmp_path: Path) -> None:
    write_lines(tmp_path, "test", ("amber", "birch", "a longer line than those"))
    images, where = choose_images(source, ExportArguments(prove=2, dataset_name=str(tmp_path)), renderer)
    assert where == f"of {tmp_path}"
    assert [one.truth for one in images] == ["amber", "a longer line than those"]


def test_fewer_than_were_asked_for_is_said(
    source: Source, renderer: PromptRenderer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_lines(tmp_path, "test", ("amber", "birch"))
    for wanted in (2, 5000):
        images, _ = choose_images(source, ExportArguments(prove=wanted, dataset_name=str(tmp_path)), renderer)
        assert len(images) == 2
    assert [record.message for record in caplog.records if "--prove" in record.message] == [
        "--prove 5000: there are only 2 images, and all are read"
    ]


def test_the_evaluation_of_the_run_is_taken_where_its_images_are_left(
    source: Source, renderer: PromptRenderer, tmp_path: Path
) -> None:
    draw_line("amber").save(tmp_path / "amber.png")
    rows = [
        {
            "id": name,
            "image": str(tmp_path / f"{name}.png"),
            "text": name,
            "prediction": "",
            "prompt": "Read:",
            "region": region,
        }
        for name, region in (("amber", [[0, 0], [56, 0], [56, 28], [0, 28]]), ("gone", None))
    ]
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "tuned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    images, where = choose_images(replace(source, run=tmp_path), ExportArguments(), renderer)
    assert where == f"of the evaluation of {tmp_path.name}"
    assert [(one.name, one.prompt, one.truth) for one in images] == [("amber", "Read:", "amber")]
    assert isinstance(images[0].image, dict)
    assert images[0].image["region"] == rows[0]["region"]


def test_sizes_are_spread_and_the_unreadable_left_out() -> None:
    images = [ProofImage(str(width), draw_line("a", (width, 28)), "") for width in (84, 28, 140, 56, 112)]
    images.append(ProofImage("gone", {"path": "gone.png"}, ""))
    assert [one.name for one in spread(images, 3)] == ["28", "84", "140"]


def test_evenly() -> None:
    assert evenly("abcdefg", 3) == ["a", "d", "g"]
    assert evenly("ab", 3) == ["a", "b"]
    assert evenly("abc", 1) == ["a"]


def test_drawn_lines_have_ink_and_the_last_is_large() -> None:
    lines = [one.image for one in drawn(3, "Read:")]
    assert all(min(line.convert("L").getextrema()) < 100 for line in lines)  # type: ignore[union-attr]
    assert lines[-1].width * lines[-1].height > 500_000  # type: ignore[union-attr]
