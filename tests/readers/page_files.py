"""Page files that tests write: the same two regions of lines in each format, and the black page they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, ImageDraw

PAGE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
ALTO = "http://www.loc.gov/standards/alto/ns-v4#"
SIZE = (300, 200)


@dataclass(frozen=True)
class Box:
    """A line: its id, its text and its box in pixels."""

    id: str
    text: str
    left: int
    top: int
    width: int = 100
    height: int = 20

    @property
    def corners(self) -> list[tuple[int, int]]:
        right, bottom = self.left + self.width, self.top + self.height
        return [(self.left, self.top), (right, self.top), (right, bottom), (self.left, bottom)]


LINES = (Box("l1", "amber & birch", 10, 10), Box("l2", "cedar <delta>", 10, 40), Box("l3", "ĕmber ſtone", 150, 10))
REGIONS = {"r1": LINES[:2], "r2": LINES[2:]}
TEXTS = [line.text for line in LINES]


def draw_page(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """A page that is black in the boxes of the lines and grey elsewhere, scaled to ``size``."""
    page = Image.new("L", SIZE, 128)
    for line in LINES:
        ImageDraw.Draw(page).rectangle((*line.corners[0], line.corners[2][0] - 1, line.corners[2][1] - 1), fill=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.resize(size, Image.Resampling.NEAREST).save(path)
    return path


def page_xml(body: str | None = None, image: str = "p.png", size: tuple[int, int] = SIZE, namespace: str = PAGE) -> str:
    """PAGE XML with this content of its Page element, or with the two regions."""
    body = "".join(page_region(id, lines) for id, lines in REGIONS.items()) if body is None else body
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<PcGts xmlns="{namespace}"><Metadata/>'
        f'<Page imageFilename={quoteattr(image)} imageWidth="{size[0]}" imageHeight="{size[1]}">{body}</Page></PcGts>'
    )


def page_region(id: str, lines: Any, more: str = "", attributes: str = "") -> str:
    inner = "".join(page_line(line) for line in lines)
    return f'<TextRegion id="{id}" {attributes}><Coords points="0,0 140,0 140,100 0,100"/>{inner}{more}</TextRegion>'


def page_line(line: Box, attributes: str = "", text: str | None = None) -> str:
    points = " ".join(f"{x},{y}" for x, y in line.corners)
    inner = page_text(line.text) if text is None else text
    return f'<TextLine id="{line.id}" {attributes}><Coords points="{points}"/>{inner}</TextLine>'


def page_text(text: str, index: int | None = None) -> str:
    told = "" if index is None else f' index="{index}"'
    return f"<TextEquiv{told}><Unicode>{escape(text)}</Unicode></TextEquiv>"


def alto(body: str | None = None, unit: str = "pixel", image: str = "p.png", more: str = "", size: Any = SIZE) -> str:
    """ALTO with this content of its PrintSpace, or with the two regions."""
    body = "".join(alto_block(id, lines) for id, lines in REGIONS.items()) if body is None else body
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<alto xmlns="{ALTO}"><Description><MeasurementUnit>{unit}'
        f"</MeasurementUnit><sourceImageInformation><fileName>{escape(image)}</fileName></sourceImageInformation>"
        f'</Description>{more}<Layout><Page ID="p1" WIDTH="{size[0]}" HEIGHT="{size[1]}"><PrintSpace>{body}'
        "</PrintSpace></Page></Layout></alto>"
    )


def alto_block(id: str, lines: Any) -> str:
    return f'<TextBlock ID="{id}">{"".join(alto_line(line) for line in lines)}</TextBlock>'


def alto_line(line: Box, inner: str | None = None) -> str:
    string = f"<String CONTENT={quoteattr(line.text)}/>" if inner is None else inner
    return f'<TextLine ID="{line.id}" {alto_box(line)}>{string}</TextLine>'


def alto_box(line: Box) -> str:
    return f'HPOS="{line.left}" VPOS="{line.top}" WIDTH="{line.width}" HEIGHT="{line.height}"'


def hocr(body: str | None = None, image: str = "p.png") -> str:
    """hOCR with this content of its page, or with the two regions."""
    body = "".join(hocr_block(id, lines) for id, lines in REGIONS.items()) if body is None else body
    title = f"image &quot;{image}&quot;; bbox 0 0 {SIZE[0]} {SIZE[1]}; ppageno 0"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n<html xmlns="http://www.w3.org/1999/xhtml">'
        f'<head><title/></head><body><div class="ocr_page" id="page_1" title="{title}">{body}</div></body></html>'
    )


def hocr_block(id: str, lines: Any) -> str:
    inner = "".join(hocr_line(line) for line in lines)
    return f'<div class="ocr_carea" id="{id}" title="bbox 0 0 140 100">{inner}</div>'


def hocr_line(line: Box, inner: str | None = None) -> str:
    words = " ".join(f'<span class="ocrx_word">{escape(word)}</span>' for word in line.text.split())
    (left, top), _, (right, bottom), _ = line.corners
    title = f"bbox {left} {top} {right} {bottom}; baseline 0 -5"
    return f'<span class="ocr_line" id="{line.id}" title="{title}">{words if inner is None else inner}</span>'


def abbyy() -> str:
    """ABBYY XML with the two regions; it names neither image nor lines."""
    blocks = "".join(
        f'<block blockType="Text" l="0" t="0" r="140" b="100"><text><par>{"".join(map(_abbyy_line, lines))}</par></text></block>'
        for lines in REGIONS.values()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<document '
        'xmlns="http://www.abbyy.com/FineReader_xml/FineReader10-schema-v1.xml" version="1.0">'
        f'<page width="{SIZE[0]}" height="{SIZE[1]}" resolution="300">{blocks}</page></document>'
    )


def _abbyy_line(line: Box) -> str:
    (left, top), _, (right, bottom), _ = line.corners
    characters = "".join(f"<charParams>{escape(character)}</charParams>" for character in line.text)
    return f'<line l="{left}" t="{top}" r="{right}" b="{bottom}"><formatting>{characters}</formatting></line>'


def tsv() -> str:
    """Tesseract's TSV with the two regions as blocks."""
    rows = ["level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"]
    rows.append(f"1\t1\t0\t0\t0\t0\t0\t0\t{SIZE[0]}\t{SIZE[1]}\t-1\t")
    for block, lines in enumerate(REGIONS.values(), 1):
        for number, line in enumerate(lines, 1):
            box = f"{line.left}\t{line.top}\t{line.width}\t{line.height}"
            rows += [
                f"5\t1\t{block}\t1\t{number}\t{n}\t{box}\t90\t{word}" for n, word in enumerate(line.text.split(), 1)
            ]
    return "\n".join(rows) + "\n"


def wordstr() -> str:
    """Tesseract's WordStr boxes, which count from the bottom edge."""
    rows = []
    for line in LINES:
        bottom = SIZE[1] - line.top - line.height
        rows.append(f"WordStr {line.left} {bottom} {line.left + line.width} {bottom + line.height} 0 #{line.text}")
        rows.append(f"\t {line.left + line.width} {bottom} {line.left + line.width + 4} {bottom + line.height} 0")
    return "\n".join(rows) + "\n"


FORMATS = {
    "PAGE XML": ("p.xml", page_xml),
    "ALTO": ("p.xml", alto),
    "hOCR": ("p.hocr", hocr),
    "ABBYY XML": ("p.xml", abbyy),
    "Tesseract TSV": ("p.tsv", tsv),
    "Tesseract box": ("p.box", wordstr),
}
"""Name of each format -> (file name, its writer)."""


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path
