"""A region is its part of the upright page: its size without decoding, its pixels with white around the polygon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glm_ocr_finetune.inputs import image_files, images
from glm_ocr_finetune.inputs.images import ImageError, content_key, image_name, open_upright, read_size
from glm_ocr_finetune.inputs.regions import RegionError, box_of, cut

DIAMOND = [[20.0, 0.0], [40.0, 10.0], [20.0, 20.0], [0.0, 10.0]]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A black page of 100 x 60 pixels, with a red rectangle at 10..29 x 5..14."""
    picture = Image.new("RGB", (100, 60), "black")
    picture.paste("red", (10, 5, 30, 15))
    picture.save(tmp_path / "page.png")
    return tmp_path / "page.png"


def of(page: Path, region: Any) -> dict[str, Any]:
    return {"bytes": None, "path": str(page), "region": region}


def test_a_box_of_two_points_is_cut_exactly(page: Path) -> None:
    image = of(page, [[10, 5], [30, 15]])
    assert read_size(image) == (10, 20)
    assert (np.asarray(open_upright(image)) == (255, 0, 0)).all()
    assert (np.asarray(open_upright(of(page, [[30, 15], [10, 5]]))) == (255, 0, 0)).all()


def test_outside_of_a_polygon_is_white_and_inside_is_the_page(page: Path) -> None:
    part = np.asarray(open_upright(of(page, [[x + 50, y + 20] for x, y in DIAMOND])))
    assert part.shape == (20, 40, 3)
    assert (part[10, 20] == 0).all()
    assert (part[[0, 0, 19, 19], [0, 39, 0, 39]] == 255).all()
    share = (part == 0).all(axis=2).mean()
    assert 0.45 < share < 0.6  # a diamond is half of its box; the outline counts as inside


def test_a_region_in_memory_is_cut_like_one_in_a_file(page: Path) -> None:
    there, here = of(page, DIAMOND), {"bytes": page.read_bytes(), "path": None, "region": DIAMOND}
    assert open_upright(there).tobytes() == open_upright(here).tobytes()
    assert read_size(there) == read_size(here) == (20, 40)
    assert content_key(there) == content_key(here)


def test_points_are_those_of_the_upright_page(tmp_path: Path) -> None:
    lying = Image.new("RGB", (60, 100), "black")
    lying.paste("red", (5, 10, 15, 30))  # what the upright page shows at 10..29 x 45..54
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "page.png", exif=exif)
    assert read_size(of(tmp_path / "page.png", [[0, 0], [100, 60]])) == (60, 100)
    upright = np.asarray(open_upright(tmp_path / "page.png"))
    reds = np.argwhere(upright[..., 0] == 255)
    (top, left), (bottom, right) = reds.min(axis=0), reds.max(axis=0) + 1
    image = of(tmp_path / "page.png", [[int(left), int(top)], [int(right), int(bottom)]])
    assert (np.asarray(open_upright(image)) == (255, 0, 0)).all()


def test_what_juts_out_is_clipped(page: Path) -> None:
    assert read_size(of(page, [[-5, -5], [30, 20]])) == (20, 30)
    assert open_upright(of(page, [[90, 50], [102, 61.5]])).size == (10, 10)


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        ([[1, 2]], "invalid_region"),
        ([[1, 2], [3]], "invalid_region"),
        ([[1, 2], [float("nan"), 4]], "invalid_region"),
        ([[1, 2], [float("inf"), 4]], "invalid_region"),
        ([[5, 5], [5, 40]], "region_without_area"),
        ([[5, 5], [5, 5]], "region_without_area"),
        ([[5, 5], [15, 15], [25, 25]], "region_without_area"),
        ([[200, 5], [300, 40]], "region_outside_page"),
        ([[-300, 5], [-200, 40]], "region_outside_page"),
        ([[50, 5], [300, 40]], "region_outside_page"),
        ([[0, 0], [1e300, 1e300]], "region_outside_page"),
    ],
)
def test_a_region_that_cannot_be_cut_has_its_reason(page: Path, region: Any, reason: str) -> None:
    for look in (read_size, open_upright):
        with pytest.raises(ImageError, match=r"page\.png") as raised:
            look(of(page, region))
        assert raised.value.reason == reason
    with pytest.raises(RegionError, match="region"):
        box_of(region, 60, 100)


def test_a_missing_page_is_missing(tmp_path: Path) -> None:
    for look in (read_size, open_upright, content_key):
        with pytest.raises(ImageError, match="no such file") as raised:
            look(of(tmp_path / "gone.png", DIAMOND))
        assert raised.value.reason == "missing_image"


def test_a_page_is_decoded_once_for_lines_in_a_row(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, read = [], image_files.to_rgb
    monkeypatch.setattr(image_files, "to_rgb", lambda image: decoded.append(1) or read(image))
    images._decoded_file.cache_clear()
    for left in range(0, 50, 10):
        open_upright(of(page, [[left, 0], [left + 10, 10]]))
    assert len(decoded) == 1


def test_a_page_that_has_changed_is_read_anew(page: Path) -> None:
    image = of(page, [[10, 5], [30, 15]])
    before, key = open_upright(image).getpixel((0, 0)), content_key(image)
    Image.new("RGB", (40, 20), "blue").save(page)
    os.utime(page, ns=(1, 1))
    assert (before, open_upright(image).getpixel((0, 0))) == ((255, 0, 0), (0, 0, 255))
    assert read_size(of(page, [[30, 0], [44, 10]])) == (10, 10)
    assert content_key(image) != key


def test_a_crop_is_nobody_elses(page: Path) -> None:
    image = of(page, [[10, 5], [30, 15]])
    open_upright(image).paste("white", (0, 0, 20, 10))
    assert open_upright(image).getpixel((0, 0)) == (255, 0, 0)


def test_keys_and_names_tell_regions_apart(page: Path) -> None:
    whole, first, second = {"bytes": None, "path": str(page)}, of(page, DIAMOND), of(page, DIAMOND[:3])
    assert len({content_key(whole), content_key(first), content_key(second)}) == 3
    assert content_key(first) == content_key(of(page, [[int(x), int(y)] for x, y in DIAMOND]))
    assert image_name(first) == f"{page} region 20,0 40,10"
    assert image_name(of(page, None)) == image_name(of(page, [])) == str(page)


def test_a_polygon_that_crosses_itself_is_not_empty(page: Path) -> None:
    picture = cut(Image.open(page).convert("RGB"), [[0, 0], [40, 20], [40, 0], [0, 20]])
    assert 0.3 < (np.asarray(picture) == 0).all(axis=2).mean() < 0.7
