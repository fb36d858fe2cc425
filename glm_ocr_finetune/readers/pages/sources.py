"""Which files of a data set are read as pages: by METS where there is one, each page once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from .folders import Contents, is_inside
from .kinds import BOX, KINDS, METS, TSV, Kind, kind_of, read_file
from .layout import PageError
from .mets import MetsPage, parse_mets
from .pictures import stem_of
from .xml_input import parse_xml

_FOLDERS_OF_FORMATS = frozenset(("page", "alto", "hocr", "abbyy", "xml", "pagexml", "page_xml", "altoxml", "mets"))


@dataclass(frozen=True)
class Source:
    """A file to read: absolute path, format, and the image that METS names for it.

    ``problem``: (reason, detail) of a file that cannot be read; its kind is then None, as that of METS is.
    """

    path: str
    kind: Kind | None
    image: str | None = None
    problem: tuple[str, str] | None = None
    is_mets: bool = False


@dataclass
class Selection:
    """The files to read, and what is said about those that are not."""

    sources: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)

    @property
    def kinds(self) -> list[Kind]:
        """The formats that occur, the preferred first."""
        found = {source.kind for source in self.sources}
        return [kind for kind in KINDS if kind in found]


def holds_pages(contents: Contents) -> bool:
    """Whether any file is of a page format; box files and TSV beside ``.gt.txt`` are its by-products."""
    kinds = (look_at(path).kind for path in contents.documents)
    return any(kind and not (contents.has_line_texts and kind in (BOX, TSV)) for kind in kinds)


def select(contents: Contents, root: str) -> Selection:
    """What is to be read of a folder's contents."""
    looked = [look_at(path) for path in contents.documents]
    selection = Selection()
    named = dict(_mets_files(source.path for source in looked if source.is_mets))
    for mets, pages in named.items():
        _read_by_mets(mets, pages, looked, selection)
    seen = {source.path for source in selection.sources}
    covered = tuple(os.path.dirname(mets) + os.sep for mets in named)
    rest = [source for source in looked if source.path not in seen and (source.kind or source.problem)]
    inside = [source for source in rest if source.path.startswith(covered) and source.kind] if covered else []
    outside = [source for source in rest if not (source.path.startswith(covered) and source.kind)] if covered else rest
    selection.sources += _each_page_once(outside, selection.notes)
    _say_unread(inside, contents, root, selection.notes)
    return selection


def select_by_mets(mets: str) -> Selection:
    """What is to be read of the files that a METS names; none where none is there."""
    selection = Selection()
    for path, pages in _mets_files([mets]):
        folder = os.path.dirname(path)
        named = (_located(file.href, path) for page in pages for file in page.texts)
        inside = [name for name in named if name and is_inside(os.path.realpath(name), os.path.realpath(folder))]
        _read_by_mets(path, pages, [look_at(name) for name in inside], selection)
    return selection


def look_at(path: str) -> Source:
    """A file and its format, by its first bytes."""
    try:
        kind = kind_of(path)
    except PageError as error:
        return Source(path, None, problem=("unreadable_page", str(error)))
    return Source(path, kind if isinstance(kind, Kind) else None, is_mets=kind == METS)


def _mets_files(paths: Iterable[str]) -> Iterator[tuple[str, list[MetsPage]]]:
    """METS files of which at least one page file is there; of others the folder is read as if they were not."""
    for path in paths:
        try:
            pages = parse_mets(parse_xml(read_file(path)))
        except PageError:
            continue
        if any(_located(file.href, path) for page in pages for file in page.texts):
            yield path, pages


def _read_by_mets(mets: str, pages: list[MetsPage], looked: list[Source], selection: Selection) -> None:
    kinds = {source.path: source for source in looked}
    for page in pages:
        there = [(file, kinds.get(_located(file.href, mets) or "")) for file in page.texts]
        file, found = next(((file, source) for file, source in there if source and source.kind), (page.texts[0], None))
        if found is None:
            missing = os.path.normpath(os.path.join(os.path.dirname(mets), file.href))
            selection.sources.append(
                Source(missing, None, problem=("missing_page", f"not there, though {os.path.basename(mets)} names it"))
            )
        else:
            image = next(iter(page.images), None)
            selection.sources.append(Source(found.path, found.kind, _from(mets, image)))
            selection.groups.add(file.group)


def _located(href: str, mets: str) -> str | None:
    """The file that a METS names, where it is there; whether it may be read is seen by its being in the data set."""
    for name in (href, unquote(href)):
        path = os.path.normpath(os.path.join(os.path.dirname(mets), name.removeprefix("file://").replace("\\", "/")))
        if os.path.isfile(path):
            return path
    return None


def _from(mets: str, image: str | None) -> str | None:
    """An image as it is named from the folder of its METS; a URL stays one, its last part is a name, too."""
    if image is None or "://" in image:
        return image
    return _located(image, mets) or os.path.join(os.path.dirname(mets), unquote(image))


def _each_page_once(sources: list[Source], notes: list[str]) -> list[Source]:
    """Of files of several formats with one stem (``page/0001.xml``, ``alto/0001.xml``) those of the preferred one."""
    best: dict[str, int] = {}
    rank = {kind: position for position, kind in enumerate(KINDS)}
    for source in sources:
        if source.kind:
            best[_stem(source.path)] = min(rank[source.kind], best.get(_stem(source.path), len(KINDS)))
    is_best = [source.kind is None or rank[source.kind] == best[_stem(source.path)] for source in sources]
    left = Counter(source.kind.name for source, kept in zip(sources, is_best, strict=True) if source.kind and not kept)
    if left:
        named = ", ".join(f"{count} {name}" for name, count in left.items())
        notes.append(f"not read, as another format describes the same pages: {named}")
    return [source for source, kept in zip(sources, is_best, strict=True) if kept]


def _stem(path: str) -> str:
    folder, name = os.path.split(path)
    parts = (part for part in folder.split(os.sep) if part.lower() not in _FOLDERS_OF_FORMATS)
    return os.sep.join((*parts, stem_of(name)))


def _say_unread(inside: list[Source], contents: Contents, root: str, notes: list[str]) -> None:
    unnamed = [source.path for source in inside]
    for reason, paths in (
        ("METS names others or none of them", unnamed),
        ("links out of the data set", contents.links),
    ):
        if paths:
            notes.append(f"not read ({reason}): {len(paths)}, e.g. {os.path.relpath(paths[0], root)}")
