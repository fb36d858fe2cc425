"""What is made of the results: texts, Markdown, and page files with the texts in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from glm_ocr_finetune.reading.outputs import write_outputs

PAGE = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!-- kept --><PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"><Page imageFilename="a.png"
 imageWidth="9" imageHeight="9"><TextRegion id="r"><Coords points="0,0 9,9"/>
<TextLine id="one"><Coords points="0,0 9,9"/><TextEquiv index="1"><Unicode>other</Unicode></TextEquiv>
<TextEquiv index="0" conf="0.4"><Unicode>old</Unicode></TextEquiv></TextLine>
<TextLine id="two"><Coords points="0,0 9,9"/><TextStyle bold="true"/></TextLine>
<TextLine id="three"><Coords points="0,0 9,9"/><TextEquiv><Unicode>stays</Unicode></TextEquiv></TextLine>
</TextRegion></Page></PcGts>"""

ALTO = """<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Layout><Page ID="p"><PrintSpace><TextBlock ID="b">
<TextLine ID="one" HPOS="1" VPOS="2" WIDTH="3" HEIGHT="4"><String CONTENT="old" WC="0.3" HPOS="1"/><SP/><String CONTENT="words"/></TextLine>
<TextLine ID="two" HPOS="5" VPOS="6" WIDTH="7" HEIGHT="8"><String CONTENT="one"/><HYP CONTENT="-"/></TextLine>
</TextBlock></PrintSpace></Page></Layout></alto>"""


def results(folder: Path, *rows: dict[str, object]) -> Path:
    file = folder / "readings.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def test_texts_and_documents_keep_the_folders_and_never_leave_their_own(tmp_path: Path) -> None:
    rows = [
        {"id": "/scans/α/a.pdf#page=1", "document": "/scans/α/a.pdf", "text": "erste\nSeite"},
        {"id": "/scans/α/a.pdf#page=2", "document": "/scans/α/a.pdf", "error": "gone"},
        {"id": "/scans/α/a.pdf#page=3", "document": "/scans/α/a.pdf", "text": "δ"},
        {"id": "/scans/b.png", "document": "/scans/b.png", "text": "b"},
    ]
    file = results(tmp_path, *rows)
    assert write_outputs("text", file, tmp_path, None).startswith("3 texts in ")
    found = {p.relative_to(tmp_path / "texts").as_posix() for p in (tmp_path / "texts").rglob("*.txt")}
    assert found == {"α/a.pdf#page=1.txt", "α/a.pdf#page=3.txt", "b.png.txt"}
    assert write_outputs("markdown", file, tmp_path, None).startswith("2 documents in ")
    assert (tmp_path / "markdown" / "α" / "a.pdf.md").read_text(encoding="utf-8") == "erste\nSeite\n\nδ\n"
    outside = results(
        tmp_path, {"id": "../../x", "document": "../../x", "text": "x"}, {"id": "/y", "document": "/y", "text": "y"}
    )
    write_outputs("text", outside, tmp_path / "new", None)
    assert {p.name for p in (tmp_path / "new" / "texts").rglob("*.txt")} == {"x.txt", "y.txt"}


def canonical(root: etree._Element) -> bytes:
    return etree.tostring(root, method="c14n")


def test_page_xml_gets_the_texts_and_nothing_else_changes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "p.xml"
    source.write_text(PAGE, encoding="utf-8")
    file = results(
        tmp_path,
        {"id": "p.xml:one", "document": "a.png", "text": "neu <1> & ſ"},
        {"id": "p.xml:two", "document": "a.png", "text": "zwei"},
    )
    write_outputs("xml", file, tmp_path, source)
    written = etree.parse(str(tmp_path / "xml" / "p.xml")).getroot()
    texts = {
        line.get("id"): [t.findtext("{*}Unicode") for t in line.findall("{*}TextEquiv")]
        for line in written.iter("{*}TextLine")
    }
    assert texts == {"one": ["other", "neu <1> & ſ"], "two": ["zwei"], "three": ["stays"]}
    two = next(line for line in written.iter("{*}TextLine") if line.get("id") == "two")
    assert [etree.QName(child).localname for child in two] == ["Coords", "TextEquiv", "TextStyle"]
    two.remove(two.find("{*}TextEquiv"))
    one = next(line for line in written.iter("{*}TextLine") if line.get("id") == "one").findall("{*}TextEquiv")[1]
    one.set("conf", "0.4")
    one.find("{*}Unicode").text = "old"
    assert canonical(written) == canonical(etree.fromstring(PAGE.encode()))
    assert "<!-- kept -->" in (tmp_path / "xml" / "p.xml").read_text(encoding="utf-8")


def test_alto_keeps_words_where_there_are_as_many(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.xml").write_text(ALTO, encoding="utf-8")
    file = results(
        tmp_path,
        {"id": "a.xml:one", "document": "a", "text": "new text"},
        {"id": "a.xml:two", "document": "a", "text": "two and three"},
    )
    write_outputs("xml", file, tmp_path, tmp_path / "in")
    lines = list(etree.parse(str(tmp_path / "xml" / "a.xml")).iter("{*}TextLine"))
    assert [dict(child.attrib) for child in lines[0]] == [{"CONTENT": "new", "HPOS": "1"}, {}, {"CONTENT": "text"}]
    assert [dict(child.attrib) for child in lines[1]] == [
        {"CONTENT": "two and three", "HPOS": "5", "VPOS": "6", "WIDTH": "7", "HEIGHT": "8"}
    ]


@pytest.mark.parametrize("form", ["jsonl", "text"])
def test_nothing_is_read(tmp_path: Path, form: str) -> None:
    assert str(tmp_path) in write_outputs(form, results(tmp_path), tmp_path, None)
