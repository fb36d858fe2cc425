"""PAGE XML and ALTO with what was read in the place of their texts; all else in them stays as it is."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from lxml import etree

from ..errors import UserError
from ..readers.pages.alto import joint_of, line_text, parse_alto
from ..readers.pages.archives import unpack
from ..readers.pages.kinds import ALTO, PAGE_XML, kind_of, read_file
from ..readers.pages.page_rows import Names
from ..readers.pages.page_xml import parse_page_xml, preferred_text
from ..readers.pages.samples import samples_of
from ..readers.pages.xml_input import Element, child, children, local_name, parse_xml
from .results import read_results

logger = logging.getLogger(__name__)

AFTER_TEXT = {"TextLine": ("TextStyle", "UserDefined", "Labels")}
"""What the PAGE schema puts behind TextEquiv; in a region that is TextStyle alone."""
WANTS_PLAIN = re.compile("/20(09|10)-[0-9-]+}")  # releases of PAGE in which each TextEquiv has a PlainText
OF_OLD_TEXT = ("WC", "CC", "SUBS_TYPE", "SUBS_CONTENT")
EXTENT = ("HPOS", "VPOS", "WIDTH", "HEIGHT")
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_xml(results: Path, folder: Path, regions: Path, level: str | None) -> int:
    """Write each PAGE or ALTO file of which something was read; returns how many.

    Args:
        regions: what was given: a file, folder or zip.
        level: at which it was read.
    """
    root = regions if regions.is_dir() else unpack(regions) if regions.suffix.lower() == ".zip" else regions.parent
    rows = ((row["id"], row["text"]) for row in read_results(results) if "text" in row)
    count = 0
    for name, read in groupby(rows, key=lambda row: row[0].rpartition(":")[0] or row[0]):
        if not (root / name).is_file():
            raise UserError(f"{root / name} is not there any more; its regions were read")
        count += _write_file(root / name, name, folder / name, dict(read), level)
    return count


def _write_file(source: Path, name: str, target: Path, texts: dict[str, str], level: str | None) -> bool:
    """Write one file with its texts; False for a format that has no place for them."""
    kind = kind_of(source)
    if kind not in (PAGE_XML, ALTO):
        logger.warning("%s is neither PAGE XML nor ALTO; its texts are in the results alone", source)
        return False
    tree = _parsed(source)
    root = tree.getroot()
    joint = joint_of(root)
    elements = _elements(root, name, level)
    lost = [id for id, text in texts.items() if not _put(elements.get(id), NOT_IN_XML.sub("\ufffd", text), joint)]
    if lost:
        logger.warning("%s has no place for %d texts, e.g. %s; they are in the results alone", name, len(lost), lost[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    tree.write(str(target), xml_declaration=True, encoding="UTF-8", standalone=tree.docinfo.standalone)
    return True


def _parsed(file: Path) -> Element:
    """A file as it stands, comments and processing instructions too, once it is known to declare no entities."""
    data = read_file(file)
    parse_xml(data)
    return etree.ElementTree(etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True)))


def _elements(root: Element, name: str, level: str | None) -> dict[str, Element]:
    """Name of a line or region, as the reader gives it -> its element."""
    pages = parse_alto(root) if local_name(root).lower() == "alto" else parse_page_xml(root)
    names = Names(name, is_alone=len(pages) == 1)
    return {names.next(sample): sample.element for page in pages for sample in samples_of(page, level)}


def _put(element: Element | None, text: str, joint: str) -> bool:
    """Put a text where it belongs; False where there is no such place."""
    if element is None:
        return False
    if local_name(element) == "TextBlock":
        return _put_block(element, text, joint)
    if local_name(element.getroottree().getroot()).lower() == "alto":
        _put_line(element, text, joint)
    else:
        _put_page(element, text)
    return True


def _put_page(element: Element, text: str) -> None:
    """Put a text into the preferred ``TextEquiv`` of a region or line, or into a new one where the schema wants it."""
    chosen = preferred_text(element)
    if chosen is None:
        chosen = element.makeelement(_named(element, "TextEquiv"))
        behind = next(children(element, *AFTER_TEXT.get(local_name(element), ("TextStyle",))), None)
        element.insert(len(element) if behind is None else element.index(behind), chosen)
        if WANTS_PLAIN.search(chosen.tag):
            etree.SubElement(chosen, _named(element, "PlainText"))
    for name in ("conf", "comments"):
        chosen.attrib.pop(name, None)  # of the text that was there, as is what its plain form says
    for plain in children(chosen, "PlainText"):
        _fill(plain, "")
    unicode = child(chosen, "Unicode")
    if unicode is None:
        unicode = etree.SubElement(chosen, _named(element, "Unicode"))
    _fill(unicode, text)


def _put_block(block: Element, text: str, joint: str) -> bool:
    """Put the text of an ALTO block into its lines, where there are as many."""
    lines, texts = list(children(block, "TextLine")), text.split("\n")
    if len(lines) != len(texts):
        return False
    for line, own in zip(lines, texts, strict=True):
        _put_line(line, own, joint)
    return True


def _put_line(line: Element, text: str, joint: str) -> None:
    """Put a text into an ALTO line: word by word where that gives it, else as one string of the line's extent."""
    words, strings = text.split(), list(children(line, "String"))
    if strings and len(strings) == len(words):
        _put_words(line, strings, words)
    if not strings or line_text(line, joint) != " ".join(words):
        _put_string(line, strings, " ".join(words))


def _put_words(line: Element, strings: Sequence[Element], words: Sequence[str]) -> None:
    for string, word in zip(strings, words, strict=True):
        _set_content(string, word)
    for hyphen in list(children(line, "HYP")):
        sign = hyphen.get("CONTENT") or "-"
        if words[-1].endswith(sign) and words[-1] != sign:
            strings[-1].set("CONTENT", words[-1].removesuffix(sign))
        else:
            line.remove(hyphen)


def _put_string(line: Element, strings: Sequence[Element], text: str) -> None:
    """One string, the first there was, in the place of all."""
    string = strings[0] if strings else etree.SubElement(line, _named(line, "String"))
    for other in list(children(line, "String", "SP", "HYP")):
        if other is not string:
            line.remove(other)
    _set_content(string, text)
    for shape in list(children(string, "Shape")):
        string.remove(shape)
    for name in EXTENT:
        string.attrib.pop(name, None)
        if line.get(name):
            string.set(name, line.get(name))


def _set_content(string: Element, text: str) -> None:
    """The text of a String, without what is said of the one before: certainty, division, variants and glyphs."""
    string.set("CONTENT", text)
    for name in OF_OLD_TEXT:
        string.attrib.pop(name, None)
    for inner in list(children(string, "ALTERNATIVE", "Glyph")):
        string.remove(inner)


def _fill(element: Element, text: str) -> None:
    for inner in list(element):
        element.remove(inner)
    element.text = text


def _named(element: Element, name: str) -> str:
    namespace = etree.QName(element).namespace
    return f"{{{namespace}}}{name}" if namespace else name
