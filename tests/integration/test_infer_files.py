"""Files and folders of images as people have them: pages, hidden files, files that are no images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from drawing import draw_line
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
READ = ("infer", "--model", "tiny", "--max_new_tokens", 12, "--image")


def headers(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("==>")]


def test_every_page_of_a_tiff_is_read(tmp_path: Path, run: Run) -> None:
    lines = [draw_line(word) for word in ("amber", "birch")]
    lines[0].save(tmp_path / "two.tif", save_all=True, append_images=lines[1:])
    for index, line in enumerate(lines):
        line.save(tmp_path / f"{index}.tif")
    code, out, err = run(*READ, tmp_path / "two.tif")
    alone = [run(*READ, tmp_path / f"{index}.tif")[1] for index in range(2)]
    assert code == 0, err
    pages = [f"==> {tmp_path / 'two.tif'} page {number} <==\n" for number in (1, 2)]
    assert out == pages[0] + alone[0] + pages[1] + alone[1]
    assert alone[0] != alone[1]


def test_a_damaged_page_does_not_stop_the_others(tmp_path: Path, run: Run) -> None:
    line = draw_line("amber")
    file = tmp_path / "two.tif"
    line.save(file, save_all=True, append_images=[line], compression="tiff_adobe_deflate")
    content = bytearray(file.read_bytes())
    with Image.open(file) as opened:
        opened.seek(1)
        start = opened.tag_v2[273][0]
    content[start : start + 40] = b"\xff" * 40
    file.write_bytes(content)
    code, out, err = run(*READ, file)
    assert code == 1
    assert headers(out) == [f"==> {file} page 1 <=="]
    assert f"{file} page 2: " in err


def test_an_animation_is_one_picture_and_that_is_said(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "moving.gif"
    draw_line("amber").save(file, save_all=True, append_images=[draw_line("birch"), draw_line("cedar")])
    code, out, err = run(*READ, file)
    assert (code, headers(out)) == (0, [])
    assert f"{file}: an animation; the first of its 3 frames is read" in err


def test_what_a_folder_holds_beside_images_is_counted(line_folder: Path, tmp_path: Path, run: Run) -> None:
    for name in ("a.png", "B.JPG", "c.JFIF", "d.jp2"):
        draw_line("amber").convert("RGB").save(tmp_path / name)
    for name in ("._a.png", ".DS_Store", "notes.txt", "scan.DOCX", "scan2.docx", "README"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    shutil.copytree(line_folder / "images", tmp_path / "more.png")
    code, out, err = run(*READ, tmp_path)
    assert code == 0, err
    assert headers(out) == [f"==> {tmp_path / name} <==" for name in ("B.JPG", "a.png", "c.JFIF", "d.jp2")]
    expected = f"{tmp_path}: 4 files; left out: 2 hidden, 2 .docx, 1 without a suffix, 1 folder, 1 .txt"
    assert expected in err


def test_a_folder_of_images_alone_needs_no_word(line_folder: Path, run: Run) -> None:
    assert "left out" not in run(*READ, line_folder / "images")[2]


def test_a_folder_without_images_says_what_is_there(tmp_path: Path, run: Run) -> None:
    (tmp_path / "scan.docx").write_bytes(b"PK")
    code, _, err = run(*READ, tmp_path)
    assert code == 2
    assert f"--image {tmp_path} is a folder without images; found: 1 .docx" in err.splitlines()[-1]


@pytest.mark.parametrize("name", ["._a.png", "a.xyz"])
def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path, run: Run, name: str) -> None:
    draw_line("amber").save(tmp_path / name, format="PNG")
    code, out, _ = run(*READ, tmp_path / name)
    assert code == 0
    assert out.strip()


def test_a_folder_of_readings_says_each_thing_once(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in").mkdir()
    draw_line("amber").save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    (tmp_path / "in" / "notes.md").write_text("x")
    given = (*READ, tmp_path / "in", tmp_path / "in" / "bad.png")
    code, _, err = run(*given, "--output_dir", tmp_path / "out", "--output_format", "markdown")
    assert code == 1
    assert err.count("left out: 1 .md") == 1
    assert err.count(f"{tmp_path / 'in' / 'bad.png'}") == 1
    assert [file.name for file in (tmp_path / "out" / "markdown").iterdir()] == ["a.png.md"]
    ids = [json.loads(line)["id"] for line in (tmp_path / "out" / "readings.jsonl").read_text().splitlines()]
    assert ids == [str(tmp_path / "in" / name) for name in ("a.png", "bad.png")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--image", "{in}", "--output_format", "text"), "--output_format needs --output_dir"),
        (("--regions", "nowhere", "--output_dir", "{out}"), "--regions nowhere does not exist"),
        (("--regions", "{in}", "--output_dir", "{out}"), "a.png holds nothing of the format pages; docs/formats.md"),
    ],
)
def test_what_infer_refuses_speaks_of_its_own_flags(
    tmp_path: Path, run: Run, given: tuple[str, ...], message: str
) -> None:
    draw_line("amber").save(tmp_path / "a.png")
    words = [word.format(**{"in": tmp_path / "a.png", "out": tmp_path / "out"}) for word in given]
    code, _, err = run("infer", "--model", "tiny", *words)
    assert code == 2
    assert message in err
    assert "--data_format" not in err
