"""IAM's lists, kraken's Arrow files, tar shards and Excel workbooks."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from writing import picture, read, texts, write

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import content_key
from glm_ocr_finetune.readers import list_splits

PNG = io.BytesIO()
Image.new("L", (40, 30), 200).save(PNG, "PNG")

WORDS = """#--- words.txt ---#
#
a01-000u-00-00 ok 154 408 768 27 51 AT A
a01-000u-00-01 err 154 507 766 213 48 NN MOVE
a01-000u-00-02 ok 154 796 764 70 50 , ,
broken line
"""
LINES = """a01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to|stop|Mr.|Gaitskell|from
a01-000u-01 err 156 19 395 932 1850 105 nominating|any
"""


def test_iam_words(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "words" / "a01" / "a01-000u" / f"a01-000u-00-0{number}.png")
    write(tmp_path / "words.txt", WORDS)
    rows = read(tmp_path)
    assert [row["problem"] or row["text"] for row in rows] == ["A", "bad_segmentation", ",", "invalid_record"]
    assert (rows[0]["group"], rows[0]["source"]) == ("a01-000u", "words.txt:3")


def test_iam_lines_are_preferred_and_keep_badly_cut_words(tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / "lines" / "a01" / "a01-000u" / f"a01-000u-0{number}.png")
    write(tmp_path / "ascii" / "words.txt", WORDS)
    write(tmp_path / "ascii" / "lines.txt", LINES)
    assert texts(tmp_path) == ["A MOVE to stop Mr. Gaitskell from", "nominating any"]
    assert texts(tmp_path / "ascii" / "lines.txt") == texts(tmp_path)


def test_iam_images_in_one_folder(tmp_path: Path) -> None:
    picture(tmp_path / "a01-000u-00-00.png")
    write(tmp_path / "words.txt", "a01-000u-00-00 ok 154 408 768 27 51 AT A\n")
    assert texts(tmp_path) == ["A"]


def compile_lines(path: Path, rows: list[tuple[str, bytes]], **flags: list[bool]) -> Path:
    import pyarrow as pa

    lines = pa.array(
        [{"text": text, "im": image} for text, image in rows], pa.struct([("text", pa.string()), ("im", pa.binary())])
    )
    table = pa.table({"lines": lines} | {name: pa.array(values) for name, values in flags.items()})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return path


def test_kraken(tmp_path: Path) -> None:
    rows = [(" amber\n", PNG.getvalue()), ("cedar", PNG.getvalue()), ("", PNG.getvalue())]
    none = [False] * 3
    path = compile_lines(tmp_path / "all.arrow", rows, train=none, validation=none, test=none)
    assert list_splits(str(path)) == ["train"]
    assert texts(path) == ["amber", "cedar", "empty_label"]
    assert read(path)[0]["image"]["bytes"] == PNG.getvalue()


def test_kraken_splits(tmp_path: Path) -> None:
    from glm_ocr_finetune.readers import load_rows

    rows = [("amber", PNG.getvalue()), ("cedar", PNG.getvalue())]
    compile_lines(tmp_path / "a.arrow", rows, train=[True, False], validation=[False, True], test=[False, False])
    assert list_splits(str(tmp_path)) == ["train", "validation"]
    assert load_rows(str(tmp_path), split="validation")["text"][:] == ["cedar"]


def test_catmus_columns(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"im": ImageFeature(), "text": Value("string"), "language": Value("string")})
    row = {"im": [{"bytes": PNG.getvalue(), "path": None}], "text": ["amber"], "language": ["Latin"]}
    Dataset.from_dict(row, features=features).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    assert texts(tmp_path) == ["amber"]


def shard(path: Path, **members: str | bytes) -> Path:
    mode = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            content = data.encode() if isinstance(data, str) else data
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_shards(tmp_path: Path) -> None:
    image = PNG.getvalue()
    shard(
        tmp_path / "train-000.tar", **{"1.png": image, "1.txt": "amber\n", "2.png": image, "2.json": '{"text": 1.50}'}
    )
    shard(tmp_path / "train-001.tar.gz", **{"d/3.gt.txt": "cedar", "d/3.PNG": image})
    shard(tmp_path / "val-000.tar", **{"4.png": image, "4.json": '"dogwood"'})
    assert list_splits(str(tmp_path)) == ["train", "validation"]
    rows = read(tmp_path)
    assert [row["text"] for row in rows] == ["amber", "1.50", "cedar"]
    assert rows[2]["source"] == "train-001.tar.gz:d/3"
    assert [content_key(row["image"]) for row in rows] == 3 * [content_key(image)]
    assert [row["image"]["bytes"] is None for row in rows] == [True, True, False], "only a compressed tar is copied"


def test_files_of_one_key_need_not_be_neighbours(tmp_path: Path) -> None:
    image = PNG.getvalue()
    members = {"1.png": image, "2.png": image, "1.txt": "amber", "2.txt": "cedar"}
    assert texts(shard(tmp_path / "a.tar", **members)) == ["amber", "cedar"]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"1.png": PNG.getvalue()}, "not_transcribed"),
        ({"1.txt": "amber"}, "no_image"),
        ({"1.png": PNG.getvalue(), "1.txt": ""}, "empty_label"),
        ({"1.png": PNG.getvalue(), "1.txt": b"\xff\xff\xff"}, "invalid_text"),
        ({"1.png": PNG.getvalue(), "1.json": "{"}, "invalid_record"),
        ({"1.png": PNG.getvalue(), "1.json": "{}"}, "empty_label"),
        ({"1.png": PNG.getvalue(), "1.json": '{"text": ["a"]}'}, "label_not_text"),
        ({"1.png": PNG.getvalue(), "1.json": '["a"]'}, "label_not_text"),
    ],
)
def test_samples_that_cannot_be_used(members: dict[str, Any], problem: str, tmp_path: Path) -> None:
    good = {"0.png": PNG.getvalue(), "0.json": '{"text": "good"}'}
    assert texts(shard(tmp_path / "a.tar", **good, **members)) == ["good", problem]


def test_links_and_other_members_are_no_samples(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, data in (("1.txt", b"amber"), ("README", b"x"), ("../../evil.png", PNG.getvalue()), ("x.npy", b"1")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert texts(tmp_path / "a.tar") == ["no_image", "not_transcribed"]
    assert not (tmp_path.parent / "evil.png").exists()


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, b"\x1f\x8b\x08cut"])
def test_damaged_tars_are_one_line(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.tar cannot be read as a tar|no rows") as error:
        read(write(tmp_path / "a.tar", data))
    assert "\n" not in str(error.value)


def test_a_tar_that_is_cut_off(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", **{"1.png": PNG.getvalue(), "1.txt": "amber", "2.png": b"x" * 100_000})
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(UserError, match="cannot be read as a tar"):
        read(path)


def workbook(path: Path, *sheets: list[list[Any]], formats: dict[str, str] | None = None) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Sheet {number}")
        for row in rows:
            sheet.append(row)
        for cell, number_format in (formats or {}).items():
            sheet[cell].number_format = number_format
    book.save(path)
    return path


def test_workbooks(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        [" Image ", "Text", None],
        ["images/0.png", 1784, "x"],
        ["images\\1.png", "007"],
        [],
        ["images/2.png", None],
    ]
    path = workbook(folder / "labels.XLSX", [["notes"], ["nothing"]], rows)
    with caplog.at_level("INFO"):
        found = read(path)
    assert [row["problem"] or row["text"] for row in found] == ["1784", "007", "empty_label"]
    assert [row["source"] for row in found] == ["labels.XLSX:2", "labels.XLSX:3", "labels.XLSX:5"]
    assert "reading the sheet 'Sheet 1' of 'Sheet 0', 'Sheet 1'" in caplog.text


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (1.5, "0.00", "1.50"),
        (1234.5, "#,##0.00", "1,234.50"),
        (0.125, "0.0%", "12.5%"),
        (1784.0, "General", "1784"),
        (1.25, "General", "1.25"),
        ("1.50", "@", "1.50"),
        (7, "0", "7"),
        (True, "General", "label_not_text"),
    ],
)
def test_numbers_as_excel_shows_them(value: Any, number_format: str, text: str, folder: Path) -> None:
    rows = [["image", "text"], ["images/0.png", value], ["images/0.png", "x"]]
    assert texts(workbook(folder / "a.xlsx", rows, formats={"B2": number_format})) == [text, "x"]


def test_dates_are_no_text(folder: Path) -> None:
    import datetime

    rows = [["image", "text"], ["images/0.png", datetime.date(1784, 12, 1)], ["images/0.png", "x"]]
    assert texts(workbook(folder / "a.xlsx", rows)) == ["label_not_text", "x"]


def test_workbooks_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no sheet whose first row names its columns"):
        read(workbook(folder / "a.xlsx", [["a", "b"], [1, 2]]))
    with pytest.raises(UserError, match="is not an Excel workbook"):
        read(write(folder / "b.xlsx", b"PK\x03\x04cut"))
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"needs openpyxl: pip install 'glm-ocr-finetune\[xlsx\]'"):
        read(folder / "a.xlsx")


@pytest.mark.parametrize("name", ["nonsense", "CSV"])
def test_unknown_formats_are_listed(name: str, folder: Path) -> None:
    with pytest.raises(UserError, match=f"--data_format {name} is not known; expected one of: saved, .*pairs"):
        read(folder, data_format=name)


def test_the_table_of_formats_has_them_all() -> None:
    from glm_ocr_finetune.readers import FORMATS

    table = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert not [name for name in FORMATS if f"| `{name}` |" not in table]


def test_named_formats(folder: Path) -> None:
    write(folder / "rows.csv", "image,text\nimages/0.png,from the table\n")
    write(folder / "images" / "0.txt", "from the pair")
    assert texts(folder) == ["from the table"]
    assert texts(folder, data_format="pairs") == ["from the pair"]
    assert texts(folder, data_format="table") == ["from the table"]
    with pytest.raises(UserError, match="holds nothing of the format webdataset"):
        read(folder, data_format="webdataset")


def test_json_of_shards_is_read_by_its_columns(tmp_path: Path) -> None:
    row = json.dumps({"caption": "amber", "prompt": "<image>Read:"})
    found = read(shard(tmp_path / "a.tar", **{"1.png": PNG.getvalue(), "1.json": row}))[0]
    assert (found["text"], found["prompt"]) == ("amber", "Read:")
