"""Files within an uncompressed tar, named by where their bytes lie: read alone, nothing is copied out."""

from __future__ import annotations

import re

_PATH = re.compile(r"(.+?)#(\d{1,18})\+(\d{1,18}):.*", re.DOTALL)


def member_path(file: str, name: str, offset: int, size: int) -> str:
    """How a member is named where the path of an image stands: ``shard.tar#1536+9270:000001.png``, offset and size in bytes."""
    return f"{file}#{offset}+{size}:{name}"


def split_member_path(path: str | None) -> tuple[str, int, int] | None:
    """(file, offset, size) of a member's path; None for the path of anything else."""
    found = _PATH.fullmatch(path) if path and "#" in path else None
    return (found[1], int(found[2]), int(found[3])) if found else None


def read_member(file: str, offset: int, size: int) -> bytes:
    """The bytes of a member. Raises OSError, and EOFError where the tar has become shorter."""
    with open(file, "rb") as handle:
        handle.seek(offset)
        data = handle.read(size)
    if len(data) < size:
        raise EOFError(f"{file} ends within the file at {offset}")
    return data
