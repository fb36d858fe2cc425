"""Rows of pages: each sample with its image, its outline in that image's pixels, its name and its group."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...inputs.images import ImageError, read_size
from ...inputs.labels import clean_label
from ..rows import Row, make_row
from .kinds import read_pages
from .layout import Page, PageError, Polygon
from .pictures import Picture, PictureFinder
from .samples import Sample, samples_of
from .sources import Source

logger = logging.getLogger(__name__)

MOST_SAID = 20
"""Files that cannot be read are said one by one up to here; all are listed as rows set aside."""
_SHAPE = 0.02
"""Relative difference in aspect ratio up to which an image is taken to be that of its page."""
_ROUNDING = 3
"""Pixels that width or height may be off in spite of that: those of small images say little of their shape."""


@dataclass
class Tally:
    """What is said when all pages are read; ``counts`` are samples by kind."""

    pages: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    missing: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    scaled: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    twice: list[tuple[str, str]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def broken(self, file: str, detail: str) -> None:
        """Say that a file cannot be read."""
        self.unreadable += 1
        if self.unreadable <= MOST_SAID:
            logger.warning("%s cannot be read: %s", file, detail)

    def describe(self, image: str, file: str) -> None:
        """Note that a file describes an image."""
        if self.files.setdefault(image, file) != file:
            self.twice.append((self.files[image], file))

    def say(self) -> None:
        """One line for each kind of what is not as the files say."""
        if self.unreadable > MOST_SAID:
            logger.warning("page files that cannot be read: %d more", self.unreadable - MOST_SAID)
        if self.missing:
            logger.warning("page images not found: %d, e.g. %s (--image_folder)", len(self.missing), self.missing[0])
        if self.renamed:
            logger.info("page images found under another name: %d, e.g. %s: %s", *self._first(self.renamed))
        if self.scaled:
            logger.info("pages whose coordinates are scaled to the size of their image: %d", len(self.scaled))
        if self.unused:
            logger.info("images that no page file describes: %d, e.g. %s", len(self.unused), self.unused[0])
        if self.twice:
            logger.warning("pages described by two files, both read: %d, e.g. %s and %s", *self._first(self.twice))

    def has_something_to_say(self) -> bool:
        """Whether any of this must be said again when the same files are read again."""
        return any((self.unreadable, self.missing, self.renamed, self.scaled, self.twice, self.unused))

    @staticmethod
    def _first(pairs: Sequence[tuple[str, str]]) -> tuple[int, str, str]:
        return len(pairs), *pairs[0]


@dataclass(frozen=True)
class Placement:
    """A page's image, how its coordinates become pixels there, or why they do not (as in ``rows.PROBLEMS``)."""

    path: str
    problem: str | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    bottom: float | None = None
    size: str = ""

    @property
    def detail(self) -> str:
        """What the problem is about."""
        return f"{self.path} {self.size}".rstrip()

    def region(self, points: Polygon) -> list[list[float]]:
        """The outline in pixels of the image, from its top left corner."""
        across, down = self.scale
        scaled = [[x * across, y * down] for x, y in points]
        return scaled if self.bottom is None else [[x, self.bottom - y] for x, y in scaled]


@dataclass
class PageReader:
    """Reads page files into rows; names are relative to ``root``."""

    root: str
    level: str | None
    finder: PictureFinder
    tally: Tally = field(default_factory=Tally)

    def rows(self, sources: Sequence[Source]) -> Iterator[Row]:
        """The rows of all files, in their order and in reading order."""
        for source in sources:
            yield from self._rows_of_file(source)

    def note_unused(self, pictures: Sequence[str]) -> None:
        """Note the images of the data set that were not asked for; when nothing was read, none."""
        if self.tally.pages:
            self.tally.unused = [path for path in pictures if path not in self.tally.files]

    def _rows_of_file(self, source: Source) -> Iterator[Row]:
        name = os.path.relpath(source.path, self.root)
        try:
            pages = self._pages(source)
        except PageError as error:
            self.tally.broken(name, str(error))
            reason = source.problem[0] if source.problem else "unreadable_page"
            yield make_row(name, problem=reason, detail=str(error), group=name)
            return
        names = Names(name, is_alone=len(pages) == 1)
        taken: set[str] = set()
        for page in pages:
            self.tally.pages += 1
            placement = self._place(page, source, taken)
            group = name if placement.problem else os.path.relpath(placement.path, self.root)
            for sample in samples_of(page, self.level):
                self.tally.counts[sample.kind] += 1
                yield _row(sample, placement, names.next(sample), group)

    def _pages(self, source: Source) -> list[Page]:
        if source.kind is None:
            raise PageError(source.problem[1] if source.problem else "of no page format")
        return read_pages(source.path, source.kind)

    def _place(self, page: Page, source: Source, taken: set[str]) -> Placement:
        """The image of a page, which no other page of its file may have: of several frames only the first is read."""
        picture = self._picture(page, source)
        if picture.problem:
            return Placement(picture.path, picture.problem)
        self.tally.describe(picture.path, os.path.relpath(source.path, self.root))
        placement = _fitted(page, picture.path)
        if placement.problem or page.is_empty:
            return placement
        if picture.path in taken:
            return Placement(picture.path, "shared_image")
        taken.add(picture.path)
        if placement.scale != (1.0, 1.0):
            self.tally.scaled.append(picture.path)
        return placement

    def _picture(self, page: Page, source: Source) -> Picture:
        names: list[str | None] = [name for name in (source.image, page.image) if name]
        names = names or [None]
        tried = [self.finder.find(name, source.path) for name in names]
        picture = next((one for one in tried if one.problem is None), tried[-1])
        if picture.problem == "missing_image":
            self.tally.missing.append(picture.path)
        elif picture.is_renamed:
            self.tally.renamed.append((os.path.basename((names[-1] or "").strip()), os.path.basename(picture.path)))
        return picture


def _row(sample: Sample, placement: Placement, source: str, group: str) -> Row:
    label = clean_label(sample.text)
    problem = sample.problem or label.reason or placement.problem
    detail = placement.detail if problem == placement.problem else None
    region = placement.region(sample.points) if sample.points and not placement.problem else None
    image = {"bytes": None, "path": placement.path}
    return make_row(source, image, label.text, None, problem, detail, region, group)


@dataclass
class Names:
    """Names of a file's samples, each once: ``0001.xml:line_3``, or with a number where there is no id of its own."""

    file: str
    is_alone: bool
    used: Counter[str] = field(default_factory=Counter)

    def next(self, sample: Sample) -> str:
        if sample.kind == "page" and self.is_alone:
            return self.file
        if not sample.id:
            self.used[sample.kind] += 1
            return f"{self.file}:{sample.kind} {self.used[sample.kind]}"
        self.used[sample.id] += 1
        again = self.used[sample.id]
        return f"{self.file}:{sample.id}" + (f" ({again})" if again > 1 else "")


def _fitted(page: Page, path: str) -> Placement:
    """How the page lies in its image. An image that cannot be opened is told when its rows are looked at."""
    try:
        height, width = read_size({"bytes": None, "path": path})
    except ImageError:
        return Placement(path)
    bottom = float(height) if page.origin == "bottom" else None
    if not (page.width and page.height):
        return Placement(path, None if page.unit == "pixel" else "unknown_scale", bottom=bottom)
    across, down = width / page.width, height / page.height
    if abs(across / down - 1) > _SHAPE and max(abs(page.width - width), abs(page.height - height)) > _ROUNDING:
        return Placement(path, "page_size_differs", size=f"{width} x {height}, not {page.width:g} x {page.height:g}")
    return Placement(path, scale=(across, down), bottom=bottom)
