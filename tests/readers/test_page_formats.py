"""Each page format is read alike, whatever program wrote it, in whatever encoding, with whatever is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import page_files as write
import pytest
from page_files import LINES, TEXTS, Box

from glm_ocr_finetune.inputs.images import open_upright
from glm_ocr_finetune.readers import load_rows
from glm_ocr_finetune.readers.pages.kinds import ALTO, BOX, HOCR, KINDS, PAGE_XML, TSV, kind_of
from glm_ocr_finetune.readers.pages.layout import Page, PageError
from glm_ocr_finetune.readers.pages.mets import parse_mets
from glm_ocr_finetune.readers.pages.xml_input import parse_xml
from glm_ocr_finetune.readers.rows import image_of

XML = [name for name, (file, _) in write.FORMATS.items() if file.endswith((".xml", ".hocr"))]


def read(kind: Any, text: str) -> Page:
    (page,) = kind.parse(text.encode())
    return page


def texts(page: Page) -> list[str | None]:
    return [line.text for line in page.lines]


@pytest.mark.parametrize("name", write.FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    file, writer = write.FORMATS[name]
    write.draw_page(tmp_path / "p.png")
    write.write(tmp_path / file, writer())
    for given in (tmp_path, tmp_path / file):
        rows = load_rows(str(given), split="train").to_list()
        assert [row["text"] for row in rows] == TEXTS
        assert {(row["problem"], row["group"]) for row in rows} == {(None, "p.png")}
        assert len({row["source"] for row in rows}) == len(rows)
        for row in rows:
            crop = np.asarray(open_upright(image_of(row)))
            assert crop.shape == (20, 100, 3)
            assert (crop == 0).all(), "not the line's own box"


@pytest.mark.parametrize("name", write.FORMATS)
@pytest.mark.parametrize("level", ["region", "page"])
def test_levels_of_every_format(tmp_path: Path, name: str, level: str) -> None:
    file, writer = write.FORMATS[name]
    write.draw_page(tmp_path / "p.png")
    write.write(tmp_path / file, writer())
    rows = load_rows(str(tmp_path), split="train", level=level).to_list()
    whole = ["\n".join(TEXTS[:2]), TEXTS[2]]
    if level == "page" or name == "Tesseract box":  # which knows no regions
        whole = ["\n".join(TEXTS)]
    assert [row["text"] for row in rows] == whole
    assert [row["region"] is None for row in rows] == [level == "page"] * len(whole)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-sig", "iso-8859-1"])
@pytest.mark.parametrize("name", XML)
def test_encodings(name: str, encoding: str) -> None:
    file, writer = write.FORMATS[name]
    text = writer().replace("ĕ", "é").replace("ſ", "s").replace("\n", "\r\n")
    declared = {"utf-8-sig": "UTF-8", "utf-16-be-sig": "UTF-16"}.get(encoding, encoding)
    text = text.replace('encoding="UTF-8"', f'encoding="{declared}"')
    data = ("\ufeff" + text).encode("utf-16-be") if encoding == "utf-16-be-sig" else text.encode(encoding)
    kind = next(kind for kind in KINDS if kind.name == name)
    (page,) = kind.parse(data)
    assert texts(page) == ["amber & birch", "cedar <delta>", "émber stone"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("kind", "writer"), [(TSV, write.tsv), (BOX, write.wordstr)])
def test_encodings_of_tables(kind: Any, writer: Callable[[], str], encoding: str) -> None:
    (page,) = kind.parse(writer().replace("\n", "\r\n").encode(encoding))
    assert texts(page) == TEXTS


@pytest.mark.parametrize("name", XML)
def test_the_format_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    file, writer = write.FORMATS[name]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        found = kind_of(
            write.write(tmp_path / file, writer().replace("UTF-8", encoding.removesuffix("-sig")), encoding)
        )
        assert found is not None
        assert found.name == name  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "namespace",
    [
        "http://schema.primaresearch.org/PAGE/gts/pagecontent/2010-03-19",
        "https://schema.primaresearch.org/PAGE/gts/pagecontent/2013-07-15",
        "http://schema.primaresearch.org/PAGE/gts/pagecontent/2024-07-15",
        "",
    ],
)
def test_page_xml_of_any_year(namespace: str) -> None:
    assert texts(read(PAGE_XML, write.page_xml(namespace=namespace))) == TEXTS


def test_prefixes_and_foreign_elements() -> None:
    text = write.page_xml().replace("<", "<pc:").replace("<pc:/", "</pc:").replace("<pc:?xml", "<?xml")
    text = text.replace("xmlns=", "xmlns:pc=").replace("</pc:Page>", '<x:TextLine xmlns:x="urn:x"/></pc:Page>')
    assert texts(read(PAGE_XML, text)) == [None, *TEXTS]
    plain = write.alto().replace(f' xmlns="{write.ALTO}"', "")
    assert texts(read(ALTO, plain)) == TEXTS


# PAGE XML


def test_the_lowest_index_is_the_text() -> None:
    equivs = [write.page_text("machine", 1), write.page_text("truth", 0), write.page_text("other", 40)]
    for order in (equivs, equivs[::-1]):
        line = write.page_line(LINES[0], text="".join(order))
        assert texts(read(PAGE_XML, write.page_xml(f'<TextRegion id="r">{line}</TextRegion>'))) == ["truth"]
    line = write.page_line(LINES[0], text=write.page_text("machine", 1) + write.page_text("truth"))
    assert texts(read(PAGE_XML, write.page_xml(f'<TextRegion id="r">{line}</TextRegion>'))) == ["truth"]


def test_no_text_and_an_empty_one_are_told_apart() -> None:
    lines = write.page_line(LINES[0], text="") + write.page_line(LINES[1], text=write.page_text(" "))
    assert texts(read(PAGE_XML, write.page_xml(f'<TextRegion id="r">{lines}</TextRegion>'))) == [None, ""]


def test_words_are_read_where_a_line_has_no_text_of_its_own() -> None:
    glyphs = "".join(f'<Glyph id="g{letter}">{write.page_text(letter)}</Glyph>' for letter in "two")
    words = f'<Word id="w1"><Coords points="10,10 50,30"/>{write.page_text("one")}</Word><Word id="w2">{glyphs}</Word>'
    page = read(PAGE_XML, write.page_xml(f'<TextRegion id="r"><TextLine id="l">{words}</TextLine></TextRegion>'))
    assert texts(page) == ["one two"]
    assert page.lines[0].points == ((10, 10), (50, 30))


def test_reading_order_by_groups() -> None:
    boxes = [Box(f"l{number}", f"text {number}", 10, 10 * number) for number in range(6)]
    body = "".join(write.page_region(f"r{number}", [box]) for number, box in enumerate(boxes))
    order = (
        '<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="2" regionRef="r0"/>'
        '<UnorderedGroupIndexed id="u" index="1"><RegionRef regionRef="r5"/><RegionRef regionRef="r3"/>'
        '</UnorderedGroupIndexed><RegionRefIndexed index="0" regionRef="r4"/></OrderedGroup></ReadingOrder>'
    )
    page = read(PAGE_XML, write.page_xml(order + body))
    assert [region.id for region in page.regions] == ["r4", "r5", "r3", "r0", "r1", "r2"]


def test_a_region_that_the_order_leaves_out_stands_where_its_custom_says() -> None:
    body = "".join(
        write.page_region(f"r{place}", [Box(f"l{place}", str(place), 0, 0)], attributes=custom(place))
        for place in (3, 1, 0, 2)
    )
    order = "".join(f'<RegionRefIndexed index="{place}" regionRef="r{place}"/>' for place in (0, 1, 3))
    order = f'<ReadingOrder><OrderedGroup id="g">{order}</OrderedGroup></ReadingOrder>'
    for text in (order + body, body):
        assert [region.id for region in read(PAGE_XML, write.page_xml(text)).regions] == ["r0", "r1", "r2", "r3"]


def custom(place: int) -> str:
    return f'custom="structure {{type:paragraph;}} readingOrder {{index:{place};}}"'


def test_cells_of_a_table() -> None:
    places = [(1, 1), (0, 1), (1, 0), (0, 0)]
    by_number = "".join(cell(place, f'row="{place[0]}" col="{place[1]}"') for place in places)
    by_position = "".join(cell(place, "").replace("TableCell", "TextRegion") for place in places)
    for cells in (by_number, by_position):
        page = read(PAGE_XML, write.page_xml(f'<TableRegion id="t">{cells}</TableRegion>'))
        assert texts(page) == ["(0, 0)", "(0, 1)", "(1, 0)", "(1, 1)"]


def cell(place: tuple[int, int], attributes: str) -> str:
    x, y = 100 * place[1], 50 * place[0] + 5 * place[1]
    line = write.page_line(Box(f"l{place}", str(place), x, y))
    return f'<TableCell id="c{place}" {attributes}><Coords points="{x},{y} {x + 90},{y + 40}"/>{line}</TableCell>'


def test_lines_by_index_by_region_text_by_position_and_else_as_they_stand() -> None:
    lines = [Box("b", "second", 0, 50), Box("a", "first", 0, 0), Box("c", "first", 0, 90)]
    by_index = "".join(write.page_line(line, custom(place)) for line, place in zip(lines, (1, 0, 2), strict=True))
    by_text = "".join(map(write.page_line, lines)) + write.page_text("first\nsecond\nfirst")
    plain = "".join(map(write.page_line, lines))
    ids = {
        f'<TextRegion id="r">{by_index}</TextRegion>': ["a", "b", "c"],
        f'<TextRegion id="r">{by_text}</TextRegion>': ["a", "b", "c"],
        f'<TextRegion id="r" textLineOrder="top-to-bottom">{plain}</TextRegion>': ["a", "b", "c"],
        f'<TextRegion id="r">{plain}</TextRegion>': ["b", "a", "c"],
    }
    for body, expected in ids.items():
        assert [line.id for line in read(PAGE_XML, write.page_xml(body)).lines] == expected


def test_points_of_2010_and_regions_around_their_lines() -> None:
    points = "".join(f'<Point x="{x}" y="{y}"/>' for x, y in LINES[0].corners)
    line = f'<TextLine id="l"><Coords>{points}</Coords>{write.page_text("a")}</TextLine>'
    (region,) = read(PAGE_XML, write.page_xml(f'<TextRegion id="r"><Coords/>{line}</TextRegion>')).regions
    assert region.lines[0].points == tuple(LINES[0].corners)
    assert region.points == ((10, 10), (110, 30))


# ALTO


def line_of(inner: str) -> str | None:
    return texts(read(ALTO, write.alto(write.alto_line(LINES[0], inner))))[0]


def test_blanks_stand_at_sp_unless_there_is_none() -> None:
    word = '<String CONTENT="{}"/>'.format
    assert line_of(word("one") + word(":") + "<SP/>" + word("two") + "<SP/>") == "one: two"
    assert line_of(word("one") + word(":") + word("two")) == "one : two"


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ('<HYP CONTENT="-"/>', "pron-"),
        ("<HYP/>", "pron-"),
        ('<HYP CONTENT="\u00ad"/>', "pron\u00ad"),
        ('<SP/><HYP CONTENT="⸗"/>', "pron ⸗"),
    ],
)
def test_a_hyphen_is_what_stands_there(end: str, text: str) -> None:
    word = '<String CONTENT="pron" SUBS_TYPE="HypPart1" SUBS_CONTENT="prontamente"/>'
    assert line_of(word + end) == text
    assert line_of(word.replace('T="pron"', f'T="{text}"') + end.replace("<SP/>", "")) == text


def test_polygons_of_alto_in_each_way_of_writing() -> None:
    for points in ("10 10 110 10 110 30", "10,10 110,10 110,30", "10,10,110,10,110,30", "10.0,10.0 110,10 110,3e1"):
        line = f'<TextLine><Shape><Polygon POINTS="{points}"/></Shape><String CONTENT="a"/></TextLine>'
        assert read(ALTO, write.alto(line)).lines[0].points == ((10, 10), (110, 10), (110, 30))


def test_boxes_of_strings_where_the_line_has_none() -> None:
    strings = f'<String CONTENT="a" {write.alto_box(LINES[0])}/><String CONTENT="b" {write.alto_box(LINES[2])}/>'
    assert read(ALTO, write.alto(f"<TextLine>{strings}</TextLine>")).lines[0].points == ((10, 10), (250, 30))


def test_reading_order_of_alto_over_blocks_lines_and_strings() -> None:
    def order(*names: str) -> str:
        refs = "".join(f'<ElementRef REF="{name}"/>' for name in names)
        return f'<ReadingOrder><OrderedGroup ID="g">{refs}</OrderedGroup></ReadingOrder>'

    def ids(*names: str, body: str | None = None) -> list[str]:
        return [line.id for line in read(ALTO, write.alto(body, more=order(*names))).lines]

    assert ids("r2", "l2", "gone") == ["l3", "l2", "l1"]
    assert ids("l1", "r2", "l1", "l2") == ["l1", "l3", "l2"]
    strings = '<String ID="s1" CONTENT="a"/><String ID="s2" CONTENT="b"/>'
    broken = write.alto_line(LINES[0], strings) + write.alto_line(LINES[1]) + write.alto_line(LINES[2])
    assert ids("s1", "l3", "s2", "l2", body=broken) == ["l1", "l2", "l3"], "a line stays whole"


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(PageError, match="MeasurementUnit is 'furlong'"):
        read(ALTO, write.alto(unit="furlong"))


# hOCR


def hocr_text(inner: str) -> str | None:
    return texts(read(HOCR, write.hocr(write.hocr_line(LINES[0], inner))))[0]


def test_white_space_and_words_of_hocr() -> None:
    word = '<span class="ocrx_word">{}</span>'.format
    assert hocr_text("\n  one \t two\n") == "one two"
    assert hocr_text(word("one") + word("two")) == "one two"
    assert hocr_text(word("one") + ", " + word("<em>tw</em>o")) == "one, two"
    assert hocr_text(word("one") + " " + word("") + " " + word("two")) == "one two"
    assert hocr_text("caf&#233; &amp;&nbsp;ſ") == "café & ſ"


def test_hocr_that_is_no_xml_and_names_its_parts_otherwise() -> None:
    title = "image 'a b;c.png';bbox 0 0 300 200;x_source \"C:\\scans\\a.png\""
    text = (
        f"<html><meta charset=utf-8><div class='x ocr_page' title=\"{title.replace(chr(34), '&quot;')}\"><p class=ocr_par>"
        "<span class='ocr_header' title='bbox 1 2 3 4'>head</span><br><span class='ocr_line big' "
        "title='poly 1 2 3 4 5 6; bbox 0 0 9 9'>caf\u00e9</span></div></html>"
    )
    page = read(HOCR, text)
    assert page.image == "a b;c.png"
    assert [(line.text, line.points) for line in page.lines] == [
        ("head", ((1, 2), (3, 4))),
        ("café", ((1, 2), (3, 4), (5, 6))),
    ]


def test_hocr_without_lines_is_text_of_its_blocks() -> None:
    page = read(HOCR, write.hocr('<div class="ocr_carea" id="b" title="bbox 0 0 9 9">one <b>two</b></div>'))
    assert [(region.id, region.text, region.lines) for region in page.regions] == [("b", "one two", ())]


# METS


def mets(*pages: tuple[str, ...]) -> bytes:
    """A METS of files ``USE/href`` that belong to pages."""
    files = list(dict.fromkeys(file for page in pages for file in page))
    groups = "".join(
        f'<fileGrp USE="{file.split("/")[0]}"><file ID="f{number}">'
        f'<FLocat xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="{file.partition("/")[2]}"/></file></fileGrp>'
        for number, file in enumerate(files)
    )
    divisions = "".join(
        f'<div TYPE="page">{"".join(f"<fptr FILEID={chr(34)}f{files.index(file)}{chr(34)}/>" for file in page)}</div>'
        for page in pages
    )
    return f'<mets xmlns="http://www.loc.gov/METS/"><fileSec>{groups}</fileSec><structMap TYPE="PHYSICAL"><div>{divisions}</div></structMap></mets>'.encode()


def test_mets_prefers_ground_truth_then_page_then_what_came_last() -> None:
    def best(*files: str) -> str:
        (page,) = parse_mets(parse_xml(mets(files)))
        return page.texts[0].href

    assert best("OCR-D-OCR/a.xml", "OCR-D-GT-ALTO/b.xml", "OCR-D-GT-PAGE/c.xml") == "c.xml"
    assert best("OCR-D-PAGE/a.xml", "OCR-D-GT-ALTO/b.xml") == "b.xml"
    assert best("FULLTEXT/a.xml", "PAGE/b.xml", "THUMBS/a.png") == "b.xml"
    assert best("OCR-D-SEG/a.xml", "OCR-D-OCR/b.xml") == "b.xml"


def test_mets_without_a_text_is_refused() -> None:
    with pytest.raises(PageError, match="names no XML file"):
        parse_mets(parse_xml(mets(("IMG/a.png",))))


# Tesseract


def test_boxes_of_characters_need_line_ends() -> None:
    characters = "a 10 170 20 190 0\nb 20 170 30 190 0\n"
    with pytest.raises(PageError, match="single characters"):
        BOX.parse(characters.encode())
    (page,) = BOX.parse((characters + "  30 170 33 190 0\nc 33 170 40 190 0\n\t 40 170 44 190 0\n").encode())
    assert [(line.text, line.points) for line in page.lines] == [("ab c", ((10, 170), (40, 190)))]
