"""What is to be read, one page or region after another: files, folders, patterns, lists, PDFs, zips and data sets.

Nothing but names is held: a million scans take no more memory than a thousand.
"""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..inputs.images import AnyImage, ImageError, image_suffixes, num_animation_frames, open_upright, page_sizes
from ..inputs.pdf_pages import PdfError, num_pages, page_path
from ..readers.pages.archives import unpack
from ..readers.rows import PROBLEMS, image_of

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL import Image

logger = logging.getLogger(__name__)

PDF, ZIP, LIST = ".pdf", ".zip", ".txt"
PAGED = (".tif", ".tiff")
UNPLACED = ("no_coordinates", "page_size_differs", "unknown_scale", "shared_image")  # the whole page would be read
UNFOUND = ("missing_image", "ambiguous_image", "image_is_url", "empty_page", "unreadable_page", "no_image")
RANGE = re.compile(r"(\d+)(?:(-)(\d+)?)?")


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


def scans_of_files(names: Sequence[str], recursive: bool = False, pages: str | None = None) -> Iterator[Scan]:
    """The pages of files, folders, patterns and lists of these, in the order of their names.

    Args:
        pages: ranges of pages to read of each PDF and TIFF, such as ``1-3,7,10-``.

    Raises:
        UserError: there is no such file, nothing in a folder can be read, or the ranges cannot be understood.
    """
    wanted = _ranges(pages)
    for name in names:
        for file in _files(name, recursive):
            yield from (scan for scan in _pages_of(file) if _is_wanted(scan.page, wanted))


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


def _files(name: str, recursive: bool) -> Iterator[Path]:
    path = Path(name)
    if path.is_dir():
        yield from _inside(path, recursive)
    elif path.is_file() and path.suffix.lower() == ZIP:
        yield from _inside(unpack(path), recursive=True)
    elif path.is_file() and path.suffix.lower() == LIST:
        yield from _listed(path, recursive)
    elif path.is_file():
        yield path
    elif glob.has_magic(name) and (found := sorted(glob.glob(name, recursive=True))):
        yield from (Path(one) for one in found if Path(one).is_file())
    else:
        raise UserError(f"--image {name} does not exist")


def _listed(file: Path, recursive: bool) -> Iterator[Path]:
    """The files that a list names, one a line, relative to where the list lies or to the working directory."""
    with file.open(encoding="utf-8-sig") as lines:
        for line in filter(None, map(str.strip, lines)):
            beside = file.parent / line
            yield from _files(str(beside if beside.exists() else line), recursive)


def _inside(folder: Path, recursive: bool) -> Iterator[Path]:
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
        raise UserError(f"--image {folder} is a folder without images; found: {rest or 'nothing'}")
    if rest:
        logger.warning("%s: %d files; left out: %s", folder, count, rest)


def _kind(entry: Path) -> str:
    """What an entry is counted as: its suffix, unless it is hidden (as the ._ files of macOS are) or a folder."""
    if entry.name.startswith("."):
        return "hidden"
    return "folder" if entry.is_dir() else entry.suffix.lower() or "without a suffix"


def _pages_of(file: Path) -> Iterator[Scan]:
    """The pages of a file: all of a PDF or TIFF, the first frame of anything else; a damaged file is one scan."""
    name, suffix = str(file), file.suffix.lower()
    try:
        if suffix == PDF:
            count = num_pages(name)
            for number in range(1, count + 1):
                path = page_path(name, number)
                yield Scan(path, {"bytes": None, "path": path}, name, number, num_pages=count)
            return
        frames = list(page_sizes(name)) if suffix in PAGED else [0]
        if suffix not in PAGED and (count := num_animation_frames(name)) > 1:
            logger.warning("%s: an animation; the first of its %d frames is read", name, count)
    except (ImageError, PdfError) as error:
        yield Scan(name, name, name, problem=str(error))
        return
    for number, frame in enumerate(frames, start=1):
        own = f"{name}#page={number}" if len(frames) > 1 else name
        yield Scan(own, {"bytes": None, "path": name}, name, number, frame, num_pages=len(frames))


def _ranges(pages: str | None) -> list[tuple[int, int | None]] | None:
    """(first, last) of each range; last is None where it is open."""
    if pages is None:
        return None
    found = [RANGE.fullmatch(part.strip()) for part in pages.split(",")]
    if not all(found):
        raise UserError(f"--pages {pages} cannot be understood; expected ranges such as 1-3,7,10-")
    return [
        (int(one[1]), int(one[3]) if one[3] else None if one[2] else int(one[1])) for one in found if one is not None
    ]


def _is_wanted(page: int, ranges: list[tuple[int, int | None]] | None) -> bool:
    return ranges is None or any(first <= page and (last is None or page <= last) for first, last in ranges)
