"""Pairs of image and text, written down: what is a file stays where it is, and the same pairs give the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import draw_line
from PIL import Image

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.image_list import write_samples
from glm_ocr_finetune.readers import load_rows


def rows_of(folder: Path, image_folder: str | None, split: str = "train") -> list[dict[str, Any]]:
    return list(load_rows(str(folder), split=split, image_folder=image_folder))


def test_paths_and_pictures_become_rows_that_the_readers_take(tmp_path: Path) -> None:
    elsewhere = tmp_path / "scans" / "deep"
    elsewhere.mkdir(parents=True)
    draw_line("one").save(elsewhere / "1.png")
    picture = draw_line("two")
    out = tmp_path / "out"
    written = write_samples([(elsewhere / "1.png", "one"), (picture, "zwei ü\n2")], [(picture, "two")], out)
    assert written.image_folder == str(elsewhere)
    rows = rows_of(written.folder, written.image_folder)
    assert [(row["text"], row["problem"]) for row in rows] == [("one", None), ("zwei ü\n2", None)]
    assert rows[0]["image"]["path"] == str(elsewhere / "1.png")
    assert np.array_equal(np.asarray(Image.open(rows[1]["image"]["path"])), np.asarray(picture))
    (held_out,) = rows_of(written.folder, written.image_folder, "validation")
    assert held_out["image"]["path"] == rows[1]["image"]["path"]  # the same picture is kept once
    assert sorted(path.name for path in out.iterdir()) == [written.folder.name]


def test_the_same_pairs_give_the_same_folder(tmp_path: Path) -> None:
    pairs = [(draw_line("one"), "one"), (draw_line("two"), "two")]
    first, again = (write_samples(pairs, None, tmp_path).folder for _ in range(2))
    other = write_samples([(draw_line("one"), "one"), (draw_line("two"), "three")], None, tmp_path).folder
    assert first == again != other
    assert write_samples(pairs, None, tmp_path).image_folder is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I;16"])
def test_pictures_of_any_mode_are_kept(tmp_path: Path, mode: str) -> None:
    picture = draw_line("one").convert(mode) if mode != "I;16" else Image.new("I;16", (140, 56), 40_000)
    written = write_samples([(picture, "one")], None, tmp_path)
    (row,) = rows_of(written.folder, None)
    assert row["problem"] is None
    assert Image.open(row["image"]["path"]).size == (140, 56)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "there are no train samples"),
        (["a.png"], r"train sample 0 is 'a.png' \(str\); expected a pair"),
        ([{"image": "a.png", "text": "a"}], "train sample 0 is .* expected a pair"),
        ([(7, "a")], r"train sample 0: the image is '7' \(int\)"),
        ([(Image.new("L", (9, 9)), None)], r"train sample 0: the text is 'None' \(NoneType\)"),
        ([(Image.new("L", (9, 9)), "a"), ("nowhere.png", "b")], "train sample 1: there is no image nowhere.png"),
    ],
)
def test_what_is_no_sample_is_named(tmp_path: Path, samples: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_samples(samples, None, tmp_path)
    assert not list(tmp_path.iterdir())
