"""Small pictures of samples as data URIs, within a budget of bytes."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from ..inputs.images import AnyImage, ImageError, open_upright
from ..inputs.regions import Region

# Wide enough for the page; a line that is wider yet keeps a height at which it can be read, and is scrolled.
MAX_WIDTH, MAX_HEIGHT = 1200, 1400
LINE_HEIGHT, LINE_WIDTH = 48, 4000
QUALITY = 55
MAX_PICTURES = 2000


@dataclass(frozen=True)
class Picture:
    """A picture for the page; width and height are pixels of the thumbnail, so that rows keep their place."""

    uri: str
    width: int
    height: int


@dataclass
class Album:
    """Makes pictures until ``budget`` bytes of the page are used, and remembers what it could not open."""

    budget: int
    count: int = 0
    unreadable: list[str] = field(default_factory=list)

    def picture(self, folder: Path, image: str | None, region: Region | None = None) -> Picture | None:
        """The picture of a sample, or of the region of it that was read.

        None without an image, for one that cannot be read, or when the budget is used.
        """
        if not image or self.budget <= 0 or self.count >= MAX_PICTURES:
            return None
        try:
            made = thumbnail({"bytes": None, "path": str(folder / image), "region": region})
        except ImageError as error:
            self.unreadable.append(f"{image} ({error.reason.replace('_', ' ')})")
            return None
        self.budget -= len(made.uri)
        self.count += 1
        return made


def thumbnail(source: AnyImage) -> Picture:
    """A small picture of an image, or of its region. Raises ImageError."""
    image = open_upright(source)
    image.thumbnail(_bounds(*image.size))
    stream = BytesIO()
    image.save(stream, "WEBP", quality=QUALITY, method=4)
    return Picture("data:image/webp;base64," + b64encode(stream.getvalue()).decode("ascii"), *image.size)


def _bounds(width: int, height: int) -> tuple[int, int]:
    """The largest width and height that a picture may have."""
    return (LINE_WIDTH, LINE_HEIGHT) if height * MAX_WIDTH < LINE_HEIGHT * width else (MAX_WIDTH, MAX_HEIGHT)
