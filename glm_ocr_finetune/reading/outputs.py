"""What is made of the merged results: a text for each page, Markdown for each document, PAGE or ALTO with the texts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from lxml import etree

from ..errors import UserError
from ..readers.pages.kinds import read_file
from ..readers.pages.xml_input import parse_xml
from ..readers.rows import counted

TEXTS, MARKDOWN, XML = "texts", "markdown", "xml"
AFTER_TEXT = ("TextStyle", "UserDefined", "Labels")  # what the PAGE schema puts behind TextEquiv


def write_outputs(form: str, results: Path, folder: Path, regions: Path | None) -> str:
    """Write results in one of ``args.OUTPUT_FORMATS``; returns a line that says what and where.

    Args:
        regions: file or folder of the PAGE or ALTO files whose regions were read, for ``xml``.
    """
    if form == "text":
        return f"{counted(_write_texts(results, folder / TEXTS), 'text')} in {folder / TEXTS}"
    if form == "markdown":
        return f"{counted(_write_markdown(results, folder / MARKDOWN), 'document')} in {folder / MARKDOWN}"
    if form == "xml" and regions is not None:
        return f"{counted(_write_xml(results, folder / XML, regions), 'file')} in {folder / XML}"
    return f"results in {results}"


def read_results(results: Path) -> Iterator[dict[str, Any]]:
    with results.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _write_texts(results: Path, folder: Path) -> int:
    count = 0
    common = _common_folder(results)
    for row in read_results(results):
        if "text" in row:
            file = folder / f"{_relative(row['id'], common)}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(row["text"] + "\n", encoding="utf-8")
            count += 1
    return count


def _write_markdown(results: Path, folder: Path) -> int:
    """A file for each document, its pages in their order with an empty line between them."""
    count = 0
    common = _common_folder(results)
    for document, rows in groupby(read_results(results), key=lambda row: row["document"]):
        file = folder / f"{_relative(document, common)}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n\n".join(row["text"] for row in rows if "text" in row) + "\n", encoding="utf-8")
        count += 1
    return count


def _common_folder(results: Path) -> str:
    """The folder that all documents lie in; empty where their names are relative to different places."""
    common: str | None = None
    for row in read_results(results):
        folder = os.path.dirname(row["document"])
        try:
            common = folder if common is None else os.path.commonpath([common, folder])
        except ValueError:  # absolute and relative ones, or other drives
            return ""
    return common or ""


def _relative(name: str, common: str) -> str:
    """A name below the common folder, and never outside the folder that is written to."""
    inside = os.path.relpath(name, common) if common else name
    parts = [part for part in Path(inside).parts if part not in ("..", os.sep) and not part.endswith((":", ":\\"))]
    return os.path.join(*parts).replace(":", "_") if parts else "page"


def _write_xml(results: Path, folder: Path, regions: Path) -> int:
    """The page files with what was read in the place of their texts; all else in them stays as it is."""
    count = 0
    root = regions if regions.is_dir() else regions.parent
    rows = (row for row in read_results(results) if "text" in row)
    for name, lines in groupby(rows, key=lambda row: row["id"].rpartition(":")[0] or row["id"]):
        source = root / name
        if not source.is_file():
            raise UserError(f"{source} is not there any more; its regions were read")
        tree = _parsed(source)
        by_id = {element.get("id") or element.get("ID"): element for element in tree.iter(etree.Element)}
        for row in lines:
            element = by_id.get(row["id"].rpartition(":")[2])
            if element is not None:
                (_set_alto if element.get("ID") else _set_page)(element, row["text"])
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        tree.write(str(file), xml_declaration=True, encoding="UTF-8", standalone=tree.docinfo.standalone)
        count += 1
    return count


def _parsed(file: Path) -> Any:
    """A file as it stands, comments and processing instructions too, once it is known to declare no entities."""
    data = read_file(file)
    parse_xml(data)
    return etree.ElementTree(etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True)))


def _set_page(element: Any, text: str) -> None:
    """Put a text into the lowest-index ``TextEquiv`` of a region or line, or into a new one where the schema wants it."""
    equivalents = element.findall("{*}TextEquiv")
    if equivalents:
        chosen = min(equivalents, key=lambda one: int(one.get("index") or 0))
    else:
        chosen = element.makeelement(_named(element, "TextEquiv"))
        behind = [child for child in element if etree.QName(child).localname in AFTER_TEXT]
        element.insert(element.index(behind[0]) if behind else len(element), chosen)
    for name in ("conf", "comments"):
        chosen.attrib.pop(name, None)  # of the text that was there
    unicode = chosen.find("{*}Unicode")
    if unicode is None:
        unicode = etree.SubElement(chosen, _named(element, "Unicode"))
    unicode.text = text


def _set_alto(element: Any, text: str) -> None:
    """Put a text into a line: word by word where there are as many, else as one string of the line's extent."""
    strings = element.findall("{*}String")
    words = text.split()
    if len(strings) == len(words):
        for string, word in zip(strings, words, strict=True):
            string.set("CONTENT", word)
            for name in ("WC", "CC", "SUBS_TYPE", "SUBS_CONTENT"):
                string.attrib.pop(name, None)
        return
    for child in element.xpath("*[local-name()='String' or local-name()='SP' or local-name()='HYP']"):
        element.remove(child)
    extent = {name: element.get(name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT") if element.get(name)}
    etree.SubElement(element, _named(element, "String"), {"CONTENT": text, **extent})


def _named(element: Any, name: str) -> str:
    namespace = etree.QName(element).namespace
    return f"{{{namespace}}}{name}" if namespace else name
