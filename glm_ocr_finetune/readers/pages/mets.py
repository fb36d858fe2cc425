"""METS: which text file belongs to which page image, and in which order the pages stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from .layout import PageError
from .xml_input import Element, local_name

_BEST = ("GT", "PAGE", "ALTO", "FULLTEXT")
"""Words in the name of a file group: ground truth before anything else, PAGE before ALTO."""


@dataclass(frozen=True)
class MetsFile:
    """``href`` as the file has it; ``group`` is the USE (or ID) of the innermost file group with one."""

    group: str
    href: str
    is_xml: bool


@dataclass(frozen=True)
class MetsPage:
    """The files of one page: texts, the preferred group first, and images."""

    texts: tuple[MetsFile, ...]
    images: tuple[str, ...]


def parse_mets(root: Element) -> list[MetsPage]:
    """The pages that have a text file, in the order of the physical structure. Raises ``PageError`` without any."""
    files = dict(_files(root))
    pages = [_page([files[ref] for ref in refs if ref in files]) for refs in _references(root)]
    pages = [page for page in pages if page.texts]
    pages = pages or [MetsPage((file,), ()) for file in files.values() if file.is_xml]
    if not pages:
        raise PageError("METS that names no XML file of a page")
    return pages


def _files(root: Element) -> Iterator[tuple[str, MetsFile]]:
    for element in root.iter("{*}file"):
        locations = (location for location in element if local_name(location) == "FLocat")
        href = next((_attribute(location, "href") for location in locations), "").strip()
        if href and element.get("ID"):
            yield element.get("ID"), MetsFile(_group(element), href, _is_xml(element, href))


def _group(file: Element) -> str:
    names = (group.get("USE") or group.get("ID") for group in file.iterancestors("{*}fileGrp"))
    return next((name for name in names if name), "")


def _attribute(element: Element, name: str) -> str:
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _is_xml(element: Element, href: str) -> bool:
    return PurePosixPath(href).suffix.lower() == ".xml" or "xml" in (element.get("MIMETYPE") or "").lower()


def _references(root: Element) -> Iterator[list[str]]:
    """The file ids of each division of the physical structure that names files itself."""
    maps = [one for one in root.iter("{*}structMap") if (one.get("TYPE") or "").upper() == "PHYSICAL"]
    for structure in maps or list(root.iter("{*}structMap")):
        for division in structure.iter("{*}div"):
            refs = [child.get("FILEID") for child in division if local_name(child) == "fptr" and child.get("FILEID")]
            if refs:
                yield refs


def _page(files: list[MetsFile]) -> MetsPage:
    # Of groups that are alike the last one: OCR-D appends the result of each further step.
    texts = sorted([file for file in files[::-1] if file.is_xml], key=_rank)
    return MetsPage(tuple(texts), tuple(file.href for file in files if not file.is_xml))


def _rank(file: MetsFile) -> int:
    words = file.group.upper()
    score = [word in words for word in _BEST]
    return -sum(2 ** (len(_BEST) - position) for position, has_it in enumerate(score) if has_it)
