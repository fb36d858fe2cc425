"""Files that are damaged, hostile or nonsense: one line or a row set aside with its reason, never a traceback, never silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import page_files as write
import pytest
from page_files import LINES, TEXTS

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import ImageError, read_size
from glm_ocr_finetune.readers import load_rows
from glm_ocr_finetune.readers.rows import image_of

Spoil = Callable[[str], "str | bytes"]


def doctype(declarations: str, name: str = "x") -> Spoil:
    def spoil(text: str) -> str:
        head, _, rest = text.partition("?>")
        rest = rest[rest.index("<html") :] if "<html" in rest else rest
        return f"{head}?><!DOCTYPE {name} [{declarations}]>" + rest.replace("amber", "&a;")

    return spoil


LAUGHS = '<!ENTITY a "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 or str()};" * 10}">' for n in range(1, 10))

ANY_XML: dict[str, Spoil] = {
    "empty": lambda text: "",
    "blank": lambda text: " \r\n\t ",
    "mark only": lambda text: "\ufeff",
    "zeros": lambda text: b"\0" * 500,
    "a picture": lambda text: b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    "words": lambda text: "no markup at all",
    "declaration only": lambda text: '<?xml version="1.0"?>',
    "cut in the middle": lambda text: text[: len(text) // 2],
    "cut at its end": lambda text: text[:-3],
    "cut in a character": lambda text: text.encode()[: text.encode().index("ĕ".encode()) + 1],
    "unclosed quote": lambda text: text[::-1].replace('"', "", 1)[::-1],
    "unknown encoding": lambda text: text.replace("UTF-8", "KLINGON-1"),
    "UTF-16 declared": lambda text: text.replace("UTF-8", "UTF-16").encode("utf-16-le")[5:],
    "other bytes": lambda text: text.replace("ĕ", "é").encode("latin-1", "replace"),
    "entity": doctype('<!ENTITY a "amber">'),
    "external entity": doctype('<!ENTITY a SYSTEM "file:///etc/passwd">'),
    "network entity": doctype('<!ENTITY a SYSTEM "http://127.0.0.1:1/x">'),
    "parameter entity": doctype('<!ENTITY % b SYSTEM "file:///etc/passwd"> %b; <!ENTITY a "x">'),
    "laughs": doctype(LAUGHS),
}
STRICT_XML: dict[str, Spoil] = {
    "wrong nesting": lambda text: text.replace("</TextLine>", "</TextLin>", 1),
    "unknown prefix": lambda text: text.replace("<TextLine", "<pc:TextLine", 1).replace(
        "</TextLine", "</pc:TextLine", 1
    ),
    "two roots": lambda text: text + text.partition("?>")[2],
    "text behind": lambda text: text + "and more",
    "control character": lambda text: text.replace("amber", "am\x01ber"),
    "character zero": lambda text: text.replace("amber", "am&#0;ber"),
    "unknown entity": lambda text: text.replace("amber", "&nbsp;"),
    "attribute twice": lambda text: text.replace("<TextLine", '<TextLine a="1" a="2"', 1),
    "nested without end": lambda text: text.replace("amber", "<a>" * 5000 + "</a>" * 5000),
    "root alone": lambda text: (
        text[: text.index("<Metadata" if "<Metadata" in text else "<Desc")] + f"</{root_of(text)}>"
    ),
    "another root": lambda text: text.replace(f"<{root_of(text)}", "<svg").replace(f"</{root_of(text)}", "</svg"),
}
PAGE: dict[str, Spoil] = {
    "empty page": lambda text: write.page_xml(""),
    "points of words": lambda text: points(text, "a,b c,d"),
    "points without pairs": lambda text: points(text, "1,2 3"),
    "one point": lambda text: points(text, "1,2"),
    "no points": lambda text: points(text, ""),
    "points without end": lambda text: points(text, "1e999,2 3,1e999 5,5"),
    "outside of the page": lambda text: points(text, "9000,10 9100,10 9100,30"),
    "left of the page": lambda text: points(text, "-90,10 -10,10 -10,30"),
    "huge": lambda text: points(text, "1,1 99999999999999999999999,1 5,9999999999999999999"),
    "flat": lambda text: points(text, "10,10 90,10 50,10"),
}
ALTO: dict[str, Spoil] = {
    "empty page": lambda text: write.alto(""),
    "unit": lambda text: text.replace(">pixel<", ">cubit<"),
    "no numbers": lambda text: text.replace("HPOS", "X"),
    "numbers of words": lambda text: text.replace('HPOS="', 'HPOS="x'),
    "no width": lambda text: text.replace(' WIDTH="100"', ' WIDTH="0"'),
    "minus": lambda text: text.replace(' HEIGHT="20"', ' HEIGHT="-20000"'),
    "no end": lambda text: text.replace(' VPOS="', ' VPOS="1e999'),
    "far away": lambda text: text.replace(' HPOS="', ' HPOS="77777'),
    "not a number": lambda text: text.replace(' HPOS="10"', ' HPOS="nan"').replace(' HPOS="150"', ' HPOS=""'),
}
HOCR: dict[str, Spoil] = {
    "no page": lambda text: text.replace("ocr_page", "ocr_sheet"),
    "empty page": lambda text: write.hocr(""),
    "no box": lambda text: text.replace("bbox", "bax"),
    "box of words": lambda text: text.replace("bbox 10", "bbox ten").replace("bbox 150", "bbox ten"),
    "box of three": lambda text: text.replace("bbox 10 ", "bbox ").replace("bbox 150 ", "bbox "),
    "box turned round": lambda text: text.replace("bbox 1", "bbox -99999"),
    "box far away": lambda text: (
        text.replace("bbox 1", "bbox 99991").replace(" 110 ", " 99999 ").replace(" 250 ", " 99999 ")
    ),
}
TABLES: dict[str, Spoil] = {
    "zeros": lambda text: b"\0" * 500,
    "cut in a character": lambda text: text.encode()[: text.encode().index("ĕ".encode()) + 1],
    "other bytes": lambda text: text.encode().replace("ĕ".encode(), b"\xff"),
    "a picture": lambda text: b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    "a carriage return in a line": lambda text: text.replace("amber", "am\rber").replace("cedar", "ce\rdar"),
    "far away": lambda text: (
        text.replace("\t10\t", "\t99999\t").replace("\t150\t", "\t99999\t").replace("WordStr 1", "WordStr 99991")
    ),
}
TSV: dict[str, Spoil] = {
    "header alone": lambda text: text.partition("\n")[0],
    "short rows": lambda text: "\n".join(row if row.startswith("level") else row[:9] for row in text.splitlines()),
    "left of words": lambda text: text.replace("\t10\t", "\tten\t").replace("\t150\t", "\tten\t"),
    "no end": lambda text: text.replace("\t20\t90", "\t1e999\t90"),
    "no words": lambda text: text.replace("\n5\t", "\n4\t"),
    "half a line": lambda text: text[: text.rindex("\t20\t90")],
}
BOX: dict[str, Spoil] = {
    "empty": lambda text: "",
    "words": lambda text: "no box at all",
    "numbers of words": lambda text: text.replace(" 10 ", " ten "),
    "half a line": lambda text: text[: text.rindex(" ")],
    "characters": lambda text: text.replace("WordStr", "a").replace("#", "").replace("\t", "b"),
    "no area": lambda text: (
        text.replace("WordStr 10 170 110 190", "WordStr 10 170 10 170")
        .replace(" 140 110 160", " 140 10 140")
        .replace("WordStr 150 170 250", "WordStr 150 170 150")
    ),
}
ABBYY: dict[str, Spoil] = {
    "no page": lambda text: text.replace("<page", "<sheet").replace("</page", "</sheet"),
    "no lines": lambda text: text.replace("<line", "<row").replace("</line", "</row"),
    "edges of words": lambda text: text.replace(' l="', ' l="x'),
    "no edges": lambda text: text.replace(" r=", " q="),
    "turned round": lambda text: text.replace(' t="', ' t="999'),
}  # fmt: skip

CASES = {
    "PAGE XML": ANY_XML | STRICT_XML | PAGE,
    "ALTO": ANY_XML | STRICT_XML | ALTO,
    "hOCR": ANY_XML | HOCR,
    "ABBYY XML": ANY_XML | ABBYY,
    "Tesseract TSV": TABLES | TSV,
    "Tesseract box": TABLES | BOX,
}
HARMLESS = {("hOCR", "unclosed quote"), ("hOCR", "unknown entity")}
"""What browsers read, too."""


def root_of(text: str) -> str:
    return "alto" if "<alto" in text else "PcGts"


def points(text: str, instead: str) -> str:
    for line in LINES:
        text = text.replace(" ".join(f"{x},{y}" for x, y in line.corners), instead)
    return text


def spoilt(name: str, case: str) -> tuple[str, bytes]:
    file, writer = write.FORMATS[name]
    data = CASES[name][case](writer())
    return file, data if isinstance(data, bytes) else data.encode()


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases])
def test_alone_it_is_one_line_and_in_a_folder_it_is_set_aside(
    tmp_path: Path, name: str, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    file, data = spoilt(name, case)
    assert data != write.FORMATS[name][1]().encode(), "nothing was spoilt"
    write.draw_page(tmp_path / "p.png")
    (tmp_path / file).write_bytes(data)
    alone = reasons(tmp_path / file)
    assert alone or (name, case) in HARMLESS
    assert not any("\n" in reason or "Traceback" in reason for reason in alone)
    assert "root:" not in str(alone), "an external file was read"
    write.draw_page(tmp_path / "good.png")
    write.write(tmp_path / "good.xml", write.page_xml(image="good.png"))
    with caplog.at_level(logging.INFO, "glm_ocr_finetune"):
        rows = load_rows(str(tmp_path), split="train").to_list()
    assert [row["text"] for row in rows if row["group"] == "good.png"] == TEXTS
    others = [row for row in rows if row["group"] != "good.png"]
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert others or "images that no page file describes: 1" in said


def reasons(path: Path) -> list[str]:
    """What is said of a data set without a single row that can be used; nothing when there is one."""
    try:
        rows = load_rows(str(path), split="train")
    except UserError as error:
        return [str(error) if str(path) in str(error) else f"without its path:\n{error}"]
    found = []
    for row in rows:
        try:
            assert row["problem"] or read_size(image_of(row))
            found.append(row["problem"])
        except ImageError as error:
            found.append(error.reason)
    return [] if None in found else found


def test_there_are_twenty_of_each_of_four_formats() -> None:
    assert sorted(map(len, CASES.values()))[-4:][0] >= 20


def test_many_damaged_files_are_said_up_to_a_point_and_all_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write.draw_page(tmp_path / "p.png")
    write.write(tmp_path / "p.xml", write.page_xml())
    for number in range(30):
        write.write(tmp_path / f"broken{number:02}.xml", write.page_xml()[:300])
    rows = load_rows(str(tmp_path), split="train")
    assert rows["problem"] == ["unreadable_page"] * 30 + [None] * 3
    assert sum("broken" in record.getMessage() for record in caplog.records) == 20
    assert "page files that cannot be read: 10 more" in caplog.text
    assert "not well-formed XML" in rows[0]["detail"]


def test_a_folder_without_any_good_file_says_what_is_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write.write(tmp_path / "p.xml", write.page_xml()[:300].replace("PcGts", "PcGts<"))
    with pytest.raises(UserError, match="holds nothing to read"):
        load_rows(str(tmp_path), split="train")
    assert "p.xml cannot be read: not well-formed XML" in caplog.text
