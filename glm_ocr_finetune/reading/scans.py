"""What is to be read, one page or region after another: files, folders, patterns, lists, PDFs, zips and data sets.

Nothing but names is held: a million scans take no more memory than a thousand.
"""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..inputs.images import AnyImage, ImageError, image_suffixes, num_animation_frames, open_upright, page_sizes
from ..inputs.pdf_pages import PdfError, num_pages, page_path
from ..readers.pages.archives import unpack
from ..readers.rows import PROBLEMS, counted, image_of

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL import Image

logger = logging.getLogger(__name__)

PDF, ZIP, LIST = ".pdf", ".zip", ".txt"
PAGED = (".tif", ".tiff")
UNPLACED = ("no_coordinates", "page_size_differs", "unknown_scale", "shared_image")  # the whole page would be read
UNFOUND = ("missing_image", "ambiguous_image", "image_is_url", "empty_page", "unreadable_page", "no_image")
RANGE = re.compile(r"(\d+)(?:(-)(\d+)?)?")

_Found = tuple[Path, str]
"""A file, and how it is called."""


@dataclass(frozen=True)
class Scan:
    """One page, or one region of a page.

    Attributes:
        id: names it, the same in every run.
        image: as ``inputs.images`` takes it.
        document: the file that it is a page or a region of.
        page: number in the document, from 1.
        frame: of a file with several.
        prompt: its own, or None.
        problem: why it cannot be read, where that is known by now.
        num_pages: of the document, as far as it matters for its name.
    """

    id: str
    image: AnyImage
    document: str
    page: int = 1
    frame: int = 0
    prompt: str | None = None
    problem: str | None = None
    num_pages: int = 1

    @property
    def name(self) -> str:
        """How messages and headers call it."""
        return self.id if self.num_pages == 1 else f"{self.document} page {self.page}"

    def open(self) -> Image.Image:
        """The picture, upright. Raises ImageError."""
        if self.problem:
            raise ImageError("unreadable_image", self.problem)
        return open_upright(self.image, self.frame)


def scans_of_files(
    names: Sequence[str], recursive: bool = False, pages: str | None = None, said: set[str] | None = None
) -> Iterator[Scan]:
    """The pages of files, folders, patterns and lists of these, in the order of their names; each file once.

    Args:
        pages: ranges of pages to read of each PDF and TIFF, such as ``1-3,7,10-``.
        said: what was said before, and is not said again where the same scans are asked for again.

    Raises:
        UserError: there is no such file, nothing in a folder can be read, or a range cannot be understood or is that
            of no page.
    """
    ranges = _ranges(pages)
    unmatched, longest, is_known = set(ranges), 0, True
    say = partial(_say_once, set() if said is None else said)
    for file, name in _each_once(found for one in names for found in _files(one, recursive, say)):
        for scan in _pages_of(file, name, say):
            matching = [one for one in ranges if scan.page in one]
            unmatched.difference_update(matching)
            longest, is_known = max(longest, scan.num_pages), is_known and not scan.problem
            if matching or not ranges or scan.problem:  # of a damaged file the pages are not known
                yield scan
    if unmatched and is_known:
        wrong = ",".join(one.text for one in ranges if one in unmatched)
        raise UserError(f"--pages {wrong}: no document has such a page; the longest has {counted(longest, 'page')}")


def _each_once(files: Iterable[_Found]) -> Iterator[_Found]:
    given: set[str] = set()
    for file, name in files:
        if name not in given:
            given.add(name)
            yield file, name


def _say_once(said: set[str], text: str) -> None:
    if text not in said:
        said.add(text)
        logger.warning("%s", text)


def scans_of_rows(rows: Dataset, of_pages: bool = True) -> Iterator[Scan]:
    """The images of a data set, whether transcribed or not.

    Args:
        of_pages: whole pages are wanted too; else what has no outline cannot be read.
    """
    for index in range(len(rows)):
        row: dict[str, Any] = rows[index]
        problem = _problem_of(row, of_pages)
        yield Scan(row["source"], image_of(row), row["group"] or row["source"], prompt=row["prompt"], problem=problem)


def _problem_of(row: dict[str, Any], of_pages: bool) -> str | None:
    """Why the image of a row cannot be read; that it has no label is no reason."""
    if row["image"] and (row["region"] or (of_pages and row["problem"] not in UNPLACED)):
        return None
    if row["problem"] in UNPLACED or row["problem"] in UNFOUND:
        return ": ".join(filter(None, (PROBLEMS[row["problem"]], row["detail"])))
    return PROBLEMS["no_coordinates"] if row["image"] else row["problem"] or "no_image"


def shard(scans: Iterable[Scan], part: str | None) -> Iterator[Scan]:
    """Every n-th scan, the k-th of each n, where ``part`` is ``k/n``. Raises UserError where it is not."""
    number, count = shard_of(part)
    return islice(scans, number - 1, None, count)


def shard_of(part: str | None) -> tuple[int, int]:
    """(k, n) of ``k/n``, 1 of 1 by default."""
    if part is None:
        return 1, 1
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--shard {part} cannot be understood; expected k/n, such as 2/8")
    return int(found[1]), int(found[2])


def _files(name: str, recursive: bool, say: Callable[[str], None], is_listed: bool = False) -> Iterator[_Found]:
    path = Path(name)
    if path.is_dir():
        yield from ((file, str(file)) for file in _inside(path, name, recursive, say))
    elif path.is_file() and path.suffix.lower() == ZIP:
        folder = unpack(path)
        yield from ((file, str(path / file.relative_to(folder))) for file in _inside(folder, name, True, say))
    elif path.is_file() and path.suffix.lower() == LIST:
        yield from _listed(path, recursive, say)
    elif path.is_file():
        yield path, name
    elif glob.has_magic(name) and (found := sorted(glob.glob(name, recursive=True))):
        yield from ((Path(one), one) for one in found if Path(one).is_file())
    elif is_listed:
        yield path, name  # one of many: it fails alone
    else:
        raise UserError(f"--image {name} does not exist")


def _listed(file: Path, recursive: bool, say: Callable[[str], None]) -> Iterator[_Found]:
    """The files that a list names, one a line, relative to where the list lies or to the working directory."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise UserError(f"--image {file} is no list of paths in UTF-8: {error}") from error
    for number, line in enumerate(map(str.strip, lines), start=1):
        beside = file.parent / line
        if line and beside.resolve() == file.resolve():
            raise UserError(f"{file}:{number} names the list itself")
        try:
            if line:
                yield from _files(str(beside if beside.exists() else line), recursive, say, is_listed=True)
        except UserError as error:
            raise UserError(f"{file}:{number}: {str(error).removeprefix('--image ')}") from error


def _inside(folder: Path, name: str, recursive: bool, say: Callable[[str], None]) -> Iterator[Path]:
    """What can be read in a folder; the rest is counted in one line."""
    readable = image_suffixes() | {PDF}
    left_out: Counter[str] = Counter()
    count = 0
    for entry in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        if entry.is_file() and not entry.name.startswith(".") and entry.suffix.lower() in readable:
            count += 1
            yield entry
        elif not (recursive and entry.is_dir()):
            left_out[_kind(entry)] += 1
    rest = ", ".join(f"{number} {kind}" for kind, number in left_out.most_common())
    if not count:
        kind = "folder" if Path(name).is_dir() else "zip"
        raise UserError(f"--image {name} is a {kind} without images; found: {rest or 'nothing'}")
    if rest:
        say(f"{name}: {count} files; left out: {rest}")


def _kind(entry: Path) -> str:
    """What an entry is counted as: its suffix, unless it is hidden (as the ._ files of macOS are) or a folder."""
    if entry.name.startswith("."):
        return "hidden"
    return "folder" if entry.is_dir() else entry.suffix.lower() or "without a suffix"


def _pages_of(file: Path, name: str, say: Callable[[str], None]) -> Iterator[Scan]:
    """The pages of a file: all of a PDF or TIFF, the first frame of anything else; a damaged file is one scan.

    Args:
        name: how the file is called, which may lie unpacked elsewhere.
    """
    path, suffix = str(file), file.suffix.lower()
    try:
        if suffix == PDF and file.is_file():
            count = num_pages(path)
            for number in range(1, count + 1):
                image = {"bytes": None, "path": page_path(path, number)}
                yield Scan(page_path(name, number), image, name, number, num_pages=count)
            return
        frames = list(page_sizes(path)) if suffix in PAGED else [0]
        if suffix not in PAGED and (count := num_animation_frames(path)) > 1:
            say(f"{name}: an animation; the first of its {count} frames is read")
    except (ImageError, PdfError) as error:
        yield Scan(name, path, name, problem=str(error).replace(path, name))
        return
    for number, frame in enumerate(frames, start=1):
        own = f"{name}#page={number}" if len(frames) > 1 else name
        yield Scan(own, {"bytes": None, "path": path}, name, number, frame, num_pages=len(frames))


@dataclass(frozen=True)
class _Range:
    """The pages from the first to the last, or to the end where that is None."""

    text: str
    first: int
    last: int | None

    def __contains__(self, page: int) -> bool:
        return self.first <= page and (self.last is None or page <= self.last)


def _ranges(pages: str | None) -> list[_Range]:
    """The ranges of ``--pages``; none where all pages are read."""
    return [] if pages is None else [_range(part.strip(), pages) for part in pages.split(",")]


def _range(text: str, pages: str) -> _Range:
    found = RANGE.fullmatch(text)
    if not found:
        raise UserError(f"--pages {pages} cannot be understood; expected ranges such as 1-3,7,10-")
    first, last = int(found[1]), int(found[3]) if found[3] else None if found[2] else int(found[1])
    if first < 1 or (last is not None and last < first):
        raise UserError(f"--pages {pages}: {text} holds no page; pages count from 1, and a range from low to high")
    return _Range(text, first, last)
