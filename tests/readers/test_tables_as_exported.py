"""CSV, TSV and JSON as spreadsheets, shells and people write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from writing import picture, read, texts, write

from glm_ocr_finetune.errors import UserError

TABLE = "image,text\nimages/0.png,Müller\nimages/1.png,„Straße“\n"
READ = ["Müller", "„Straße“"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"], ids=str
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"], ids=["comma", "semicolon", "tab", "bar"])
@pytest.mark.parametrize("name", ["rows.csv", "ROWS.TSV"])
def test_encodings_line_ends_and_delimiters(name: str, encoding: str, line_end: str, mark: str, folder: Path) -> None:
    data = TABLE.replace(",", mark).replace("\n", line_end).encode(encoding)
    assert texts(write(folder / name, data)) == READ


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf16_with_a_byte_order_mark(mark: bytes, folder: Path) -> None:
    data = mark + TABLE.encode("utf-16-le" if mark == b"\xff\xfe" else "utf-16-be")
    assert texts(write(folder / "rows.csv", data)) == READ


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.JSON", "rows.ndjson"])
def test_json_lines_in_any_encoding(name: str, encoding: str, line_end: str, folder: Path) -> None:
    rows = [{"image": f"images/{index}.png", "text": text} for index, text in enumerate(READ)]
    lines = line_end.join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert texts(write(folder / name, lines.encode(encoding))) == READ


def test_joined_files_with_byte_order_marks(folder: Path) -> None:
    row = '\ufeff{"image": "images/0.png", "text": "a"}\n'
    assert texts(write(folder / "rows.jsonl", row * 2)) == ["a", "a"]


def test_windows_encoding_is_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(write(folder / "rows.csv", TABLE.encode("cp1252")))
    assert caplog.text.count("is not UTF-8: read as Windows-1252") == 1


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1251", "Привет, мир"), ("shift_jis", "日本語の文字"), ("gbk", "汉字文本"), ("cp1250", "bardzo długi łańcuch")],
)
def test_other_code_pages_are_refused(encoding: str, text: str, folder: Path) -> None:
    data = f"image;text\nimages/0.png;{text}\n".encode(encoding)
    with pytest.raises(UserError, match="neither UTF-8 nor Western European .* convert it to UTF-8"):
        read(write(folder / "rows.csv", data))


def test_one_bad_byte_is_one_bad_row(folder: Path) -> None:
    data = TABLE.encode() + b"images/2.png,M\xfcller\n"
    assert texts(write(folder / "rows.csv", data)) == [*READ, "invalid_text"]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("file_name, text", "images/0.png, amber 10"),
        ("Image,Text", "images/0.png,amber 10"),
        (" IMAGE , Transcription ", "images/0.png , amber 10 "),
        ("Datei;Text;Bemerkung", "images\\0.png;amber 10;"),
        ('"image","text"', '"images/0.png","amber 10"'),
        (",image,text", "0,images/0.png,amber 10"),
        ("image,text", "images/0.png,amber 10,,,"),
        ("sep=;\nimage;text", "images/0.png;amber 10"),
        ("\nimage,text", "images/0.png,amber 10"),
        ("images/0.png,amber 10", "images/0.png,amber 10"),
        ("amber 10;images/0.png", "amber 10;images/0.png"),
        ("filename,words", "images/0.png,amber 10  "),
    ],
)
def test_headers_as_they_come(header: str, row: str, folder: Path) -> None:
    assert set(texts(write(folder / "rows.csv", f"{header}\n{row}\n"))) == {"amber 10"}


def test_line_numbers_count_every_line(folder: Path) -> None:
    rows = read(write(folder / "rows.csv", 'sep=,\nimage,text\nimages/0.png,"a\nb"\n\nimages/1.png,c\n'))
    assert [(row["source"], row["text"]) for row in rows] == [("rows.csv:3", "a\nb"), ("rows.csv:6", "c")]


def test_quotes_and_line_breaks_in_cells(folder: Path) -> None:
    table = 'image,text\r\nimages/0.png,"two\r\nlines"\r\nimages/1.png,"""so"" he said, loudly"\r\n'
    assert texts(write(folder / "rows.csv", table)) == ["two\nlines", '"so" he said, loudly']


def test_quotes_that_do_not_pair_up_swallow_no_rows(folder: Path) -> None:
    table = 'image,text\nimages/0.png,"Hello, he said\nimages/1.png,b\nimages/2.png,c "quoted" d\nimages/3.png,"e\n'
    assert texts(write(folder / "rows.csv", table)) == ['"Hello, he said', "b", 'c "quoted" d', '"e']
    assert texts(write(folder / "rows.tsv", table.replace(",", "\t"))) == [
        '"Hello\t he said',
        "b",
        'c "quoted" d',
        '"e',
    ]


def test_two_lone_quotes_that_pair_up_by_chance(folder: Path) -> None:
    table = 'image,text\nimages/0.png,"a\nimages/1.png,b\nimages/2.png,"\nimages/3.png,d\n'
    assert texts(write(folder / "rows.csv", table)) == ['"a', "b", '"', "d"]


def test_rows_with_too_many_or_too_few_cells(folder: Path) -> None:
    rows = read(write(folder / "rows.csv", "image,text\nimages/0.png,a, b\nimages/1.png\nimages/2.png,c\n"))
    assert [row["problem"] for row in rows] == ["invalid_record", "empty_label", None]
    assert rows[0]["detail"] == "3 cells, the header has 2"


def test_tables_that_cannot_be_told(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no header line \(images/0.png, a, b\); put one above"):
        read(write(folder / "a.csv", "images/0.png,a,b\n"))
    with pytest.raises(UserError, match="2 columns called 'text'"):
        read(write(folder / "b.csv", "image,text,text\nimages/0.png,a,b\n"))


def test_csv_cells_are_never_other_types(folder: Path) -> None:
    cells = ["007", "NA", "None", "nan", "true", "1e5", "=1+1"]
    table = "image,text\n" + "".join(f"images/0.png,{cell}\n" for cell in cells)
    assert texts(write(folder / "rows.csv", table)) == cells


ITEM = '{"image": "images/0.png", "text": "a"}'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"data": [{ITEM}]}}',
        f'{{"version": "1", "data": [{ITEM}]}}',
        json.dumps(json.loads(ITEM), indent=2),
        f"\ufeff  [{ITEM}]  ",
        '{"images/0.png": "a"}',
        '{\n"0.png": "a"\n}',
        '{"images/0.png": {"text": "a", "width": 40}}',
    ],
)
def test_shapes_of_json_files(text: str, folder: Path) -> None:
    assert texts(write(folder / "rows.json", text)) == ["a"]


def test_docTR_labels_beside_their_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = {"0.png": "amber 10", "1.png": 21, "2.png": "\n", "9.png": "x"}
    write(folder / "labels.json", json.dumps(labels))
    assert texts(folder) == ["amber 10", "21", "empty_label", "missing_image"]
    assert "do not exist as written" not in caplog.text


MALFORMED = [
    ("[", "item 1 of the list is not JSON"),
    (f"[{ITEM}", "item 2 of the list is not JSON"),
    (f"[{ITEM},", "item 2 of the list is not JSON"),
    (f"[{ITEM}] trailing", "'trailing' stands behind the end of the list"),
    (f"[{ITEM}]\n[{ITEM}]", "stands behind the end of the list"),
    ("[]", "holds no rows"),
    ("{}", "holds no rows|no text column"),
    ("null", "holds no rows"),
    ("1.50", "holds no rows"),
    ('"text"', "holds no rows"),
    ("{'image': 'images/0.png'}", r"holds no rows.*Expecting property name"),
    ('{\n"image": "images/0.png",\n"text": ', "holds no rows"),
    ('{"image": "images/0.png", "text": "a", "text": "b"}', "the key 'text' stands twice"),
    ('[{"image": "images/0.png", "text": "a", "text": "b"}]', "the key 'text' stands twice"),
    ("[" * 100_000, "not JSON"),
    ('{"a":' * 100_000, "holds no rows"),
    ("<html></html>", "holds no rows"),
    ("\x00\x00\x00", "holds no rows"),
    ('{"image": "images/0.png"}', "no text column that is known; its columns: image"),
    ('{"text": "a"}', "no image column that is known; its columns: text"),
    ('{"images": [], "annotations": [{"bbox": [1, 2]}]}', "no text column that is known; its columns: bbox"),
    ('{"0.png": {"img_dimensions": [1, 2], "polygons": []}}', "holds boxes without texts"),
]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize(("text", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_json_is_one_line(text: str, message: str, name: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(write(folder / name, text))
    assert "\n" not in str(error.value)


def test_damaged_lines_among_good_ones(folder: Path) -> None:
    lines = [ITEM, ITEM[:-1], ITEM + ITEM, "[1]", "12", '{"image": "images/0.png", "text": "b"', ITEM]
    found = texts(write(folder / "rows.jsonl", "\n".join(lines)))
    assert found == ["a", *["invalid_record"] * 5, "a"]


def test_files_that_operating_systems_leave(folder: Path) -> None:
    write(folder / "train.jsonl", ITEM)
    write(folder / "._train.jsonl", b"\x00\x05\x16\x07")
    write(folder / ".DS_Store", b"\x00")
    write(folder / "Thumbs.db", b"\xd0\xcf")
    write(folder / "desktop.ini", "[x]")
    write(folder / "~$train.xlsx", b"\x05lock")
    assert texts(folder) == ["a"]


def test_a_folder_that_looks_like_a_table(folder: Path) -> None:
    (folder / "old.json").mkdir()
    write(folder / "rows.jsonl", ITEM)
    assert texts(folder) == ["a"]


def test_big_cells_and_many_columns(folder: Path) -> None:
    picture(folder / "x.png")
    names = ",".join(f"c{index}" for index in range(500))
    cells = ",".join("y" for _ in range(500))
    table = f"image,{names},text\nx.png,{cells},{'z' * 150_000}\n"
    assert texts(write(folder / "rows.csv", table)) == ["z" * 150_000]
