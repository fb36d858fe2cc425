"""Page files with what was read in them: in the right places, and nothing else changed."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path

import pytest
from drawing import draw_line
from lxml import etree

from glm_ocr_finetune.cli import main
from glm_ocr_finetune.readers.pages.alto import joint_of, line_text
from glm_ocr_finetune.reading.page_outputs import write_xml

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


def results(folder: Path, texts: dict[str, str]) -> Path:
    file = folder / "readings.jsonl"
    rows = [{"id": name, "document": "d", "text": text} for name, text in texts.items()]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def written(folder: Path, name: str, source: str, texts: dict[str, str], level: str | None = None) -> etree._Element:
    """The root of a file after these texts, by the ids in it, were put into it."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / name).write_text(source, encoding="utf-8")
    file = results(folder, {f"{name}:{id}": text for id, text in texts.items()})
    assert write_xml(file, folder / "xml", folder / "in", level) == 1
    return etree.parse(str(folder / "xml" / name)).getroot()


def canonical(root: etree._Element) -> bytes:
    return etree.tostring(root, method="c14n")


def test_page_xml_gets_the_texts_and_nothing_else_changes(tmp_path: Path) -> None:
    root = written(tmp_path, "p.xml", PAGE, {"one": "neu <1> & ſ", "two": "zwei"})
    texts = {
        line.get("id"): [t.findtext("{*}Unicode") for t in line.findall("{*}TextEquiv")]
        for line in root.iter("{*}TextLine")
    }
    assert texts == {"one": ["other", "neu <1> & ſ"], "two": ["zwei"], "three": ["stays"]}
    two = next(line for line in root.iter("{*}TextLine") if line.get("id") == "two")
    assert [etree.QName(child).localname for child in two] == ["Coords", "TextEquiv", "TextStyle"]
    two.remove(two.find("{*}TextEquiv"))
    one = next(line for line in root.iter("{*}TextLine") if line.get("id") == "one").findall("{*}TextEquiv")[1]
    one.set("conf", "0.4")
    one.find("{*}Unicode").text = "old"
    assert canonical(root) == canonical(etree.fromstring(PAGE.encode()))
    assert "<!-- kept -->" in (tmp_path / "xml" / "p.xml").read_text(encoding="utf-8")


def test_a_region_has_its_text_behind_its_lines(tmp_path: Path) -> None:
    """The schema has Labels before the lines of a region, and behind the text of a line."""
    source = PAGE.replace("<TextLine", '<Labels><Label value="x"/></Labels><TextLine', 1)
    root = written(tmp_path, "p.xml", source, {"r": "a\nb"}, level="region")
    region = next(root.iter("{*}TextRegion"))
    names = [etree.QName(child).localname for child in region]
    assert names == ["Coords", "Labels", "TextLine", "TextLine", "TextLine", "TextEquiv"]
    assert region.findtext("{*}TextEquiv/{*}Unicode") == "a\nb"


def test_what_xml_cannot_hold_and_what_was_said_of_the_old_text_goes(tmp_path: Path) -> None:
    source = PAGE.replace(
        "<TextEquiv><Unicode>stays", '<TextEquiv index="x" comments="c"><PlainText>o</PlainText><Unicode>stays'
    )
    root = written(tmp_path, "p.xml", source, {"three": "a\x00b\x1bc\ud7ff"})
    equivalent = next(line for line in root.iter("{*}TextLine") if line.get("id") == "three").find("{*}TextEquiv")
    assert [(etree.QName(child).localname, child.text) for child in equivalent][0] == ("PlainText", None)
    assert equivalent.findtext("{*}Unicode") == "a\ufffdb\ufffdc\ud7ff"
    assert dict(equivalent.attrib) == {"index": "x"}


def test_releases_that_demand_a_plain_text_get_an_empty_one(tmp_path: Path) -> None:
    root = written(tmp_path, "p.xml", PAGE.replace("2019-07-15", "2010-03-19"), {"two": "zwei", "three": "drei"})
    two = next(line for line in root.iter("{*}TextLine") if line.get("id") == "two").find("{*}TextEquiv")
    assert [(etree.QName(child).localname, child.text) for child in two] == [("PlainText", None), ("Unicode", "zwei")]


def test_lines_without_an_id_and_with_a_used_one_are_found_again(tmp_path: Path) -> None:
    source = PAGE.replace('id="one"', "").replace('id="three"', 'id="two"')
    root = written(tmp_path, "p.xml", source, {"line 1": "first", "two": "second", "two (2)": "third"})
    found = [
        {equivalent.findtext("{*}Unicode") for equivalent in line.findall("{*}TextEquiv")}
        for line in root.iter("{*}TextLine")
    ]
    assert found == [{"other", "first"}, {"second"}, {"third"}]


def test_alto_keeps_words_where_there_are_as_many(tmp_path: Path) -> None:
    root = written(tmp_path, "a.xml", ALTO, {"one": "new text", "two": "two and three"})
    lines = list(root.iter("{*}TextLine"))
    assert [dict(child.attrib) for child in lines[0]] == [{"CONTENT": "new", "HPOS": "1"}, {}, {"CONTENT": "text"}]
    assert [dict(child.attrib) for child in lines[1]] == [
        {"CONTENT": "two and three", "HPOS": "5", "VPOS": "6", "WIDTH": "7", "HEIGHT": "8"}
    ]


STRINGS = {
    "hyphen": '<String CONTENT="Wort"/><HYP CONTENT="-"/>',
    "comma": '<String ID="s" CONTENT="old"/><String CONTENT=","/><SP/><String CONTENT="word"/>',
    "glyphs": '<String CONTENT="ab"><ALTERNATIVE>aa</ALTERNATIVE><Glyph ID="g" CONTENT="a"/></String>',
    "blank": "",
}


@pytest.mark.parametrize(
    ("line", "text", "children"),
    [
        ("hyphen", "Wert-", [("String", "Wert"), ("HYP", "-")]),
        ("hyphen", "Werte", [("String", "Werte")]),
        ("hyphen", "-", [("String", "-")]),
        ("hyphen", "", [("String", "")]),
        ("comma", "three new words", [("String", "three new words")]),
        ("glyphs", "a  b\nc", [("String", "a b c")]),
        ("glyphs", "new", [("String", "new")]),
        ("blank", "new", [("String", "new")]),
    ],
)
def test_an_alto_line_reads_as_what_was_read(
    tmp_path: Path, line: str, text: str, children: list[tuple[str, str]]
) -> None:
    source = ALTO.replace("</TextBlock>", f'<TextLine ID="x" HPOS="1">{STRINGS[line]}</TextLine></TextBlock>')
    root = written(tmp_path, "a.xml", source, {"x": text})
    element = next(one for one in root.iter("{*}TextLine") if one.get("ID") == "x")
    assert [(etree.QName(child).localname, child.get("CONTENT")) for child in element] == children
    assert line_text(element, joint_of(root)) == " ".join(text.split())
    assert not list(element.iter("{*}Glyph", "{*}ALTERNATIVE"))


def test_the_text_of_an_alto_block_goes_into_its_lines_or_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = written(tmp_path, "a.xml", ALTO, {"b": "eins zwei\ndrei"}, level="region")
    found = [[string.get("CONTENT") for string in line.iter("{*}String")] for line in root.iter("{*}TextLine")]
    assert found == [["eins", "zwei"], ["drei"]]
    with caplog.at_level(logging.WARNING):
        root = written(tmp_path, "a.xml", ALTO, {"b": "all in one"}, level="region")
    assert canonical(root) == canonical(etree.fromstring(ALTO.encode()))
    assert "a.xml has no place for 1 texts, e.g. a.xml:b" in caplog.text


def test_a_zip_and_a_format_without_a_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hocr = '<html><body><div class="ocr_page" title="image a.png"><span class="ocr_line" id="l">x</span></div></body></html>'
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("p.xml", PAGE)
        archive.writestr("h.hocr", hocr)
    file = results(tmp_path, {"h.hocr:l": "x", "p.xml:two": "zwei"})
    assert write_xml(file, tmp_path / "xml", tmp_path / "in.zip", None) == 1
    assert "h.hocr is neither PAGE XML nor ALTO" in caplog.text
    assert "zwei" in (tmp_path / "xml" / "p.xml").read_text(encoding="utf-8")


def test_regions_without_lines_or_outlines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A layout without any text is read by its regions; what has no outline is not read as its whole page."""
    (tmp_path / "in").mkdir()
    draw_line("amber").save(tmp_path / "in" / "a.png")
    source = """<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"><Page imageFilename="a.png"
 imageWidth="140" imageHeight="56"><TextRegion id="r"><Coords points="0,0 139,0 139,55 0,55"/></TextRegion>
<TextRegion id="s"><Coords points=""/></TextRegion></Page></PcGts>"""
    (tmp_path / "in" / "p.xml").write_text(source, encoding="utf-8")
    options = ["--level", "region", "--model", "tiny", "--max_new_tokens", "16", "--output_format", "xml"]
    assert main(["infer", "--regions", f"{tmp_path / 'in'}", "--output_dir", f"{tmp_path / 'out'}", *options]) == 1
    root = etree.parse(str(tmp_path / "out" / "xml" / "p.xml")).getroot()
    texts = {one.get("id"): one.findtext("{*}TextEquiv/{*}Unicode") for one in root.iter("{*}TextRegion")}
    assert texts == {"r": "amber", "s": None}
    assert "p.xml:s: no outline is given" in capsys.readouterr().err
    assert main(["infer", "--regions", "x", "--output_dir", "y", "--output_format", "xml", "--level", "page"]) == 2
