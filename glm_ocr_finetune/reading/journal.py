"""Results of a long reading, one JSON object a line, appended whole: a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import UserError
from ..folders import READING_FILE


class Journal:
    """The results of one process, and the names of those that it has already.

    Args:
        file: made where it is missing; a last line that was cut is removed.
        retry: read again what failed.

    Raises:
        UserError: another process writes to the file, or a line in it is none of a journal.
    """

    def __init__(self, file: Path, retry: bool = False) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._handle = file.open("a+b")
        _lock(self._handle, file)
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self._read_back()
        if not retry:
            self.done |= self.failed

    def _read_back(self) -> None:
        self._handle.seek(0)
        whole = 0
        for number, line in enumerate(self._handle, start=1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            name, is_error = _name_of(line, self.file, number)
            (self.failed if is_error else self.done).add(name)
            (self.done if is_error else self.failed).discard(name)
        self._handle.truncate(whole)
        self._handle.seek(0, os.SEEK_END)

    def skip(self, others: Iterable[Path]) -> None:
        """Count what other journals hold as done too: a run may have been shared out otherwise before."""
        for other in others:
            if other != self.file:
                self.done |= {name for _, name, is_error in _lines(other) if not is_error}

    def append(self, result: dict[str, Any]) -> None:
        """Keep one result: in the file, whole, before this returns."""
        self._handle.write((json.dumps(result, ensure_ascii=False) + "\n").encode())
        self._handle.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note in a folder what its readings are made with. Raises UserError where they were made with something else."""
    file = folder / READING_FILE
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        _write(file, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        return
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; use another --output_dir") from error
    except ValueError as error:
        raise UserError(f"{file} cannot be read ({error}); use another --output_dir") from error
    changed = [
        f"{name} {before[name]!r}, now {value!r}"
        for name, value in settings.items()
        if before.get(name, value) != value
    ]
    if changed:
        raise UserError(
            f"{folder} holds readings that were made with {'; '.join(changed)}: use another --output_dir, or the same"
        )


def _write(file: Path, text: str) -> None:
    """Write a small file whole. Raises UserError where the folder cannot be written to."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    except OSError as error:
        raise UserError(f"--output_dir {file.parent} cannot be written: {error.strerror}; choose another") from error


def merge(journals: Iterable[Path], names: Iterable[str], file: Path) -> tuple[int, list[str]]:
    """Write the results of all journals in the order of the names; returns how many, and the names without one.

    Of several results of a name the last that was read counts. Only names and places in the files are held.
    """
    places: dict[str, tuple[Path, int]] = {}
    for journal in journals:
        for start, name, is_error in _lines(journal):
            if not is_error or name not in places:
                places[name] = (journal, start)
    part = file.with_suffix(file.suffix + ".partial")
    count, missing = 0, []
    with ExitStack() as stack, part.open("wb") as written:
        handles = {journal: stack.enter_context(journal.open("rb")) for journal in {one for one, _ in places.values()}}
        for name in names:
            if name not in places:
                missing.append(name)
                continue
            journal, start = places[name]
            handles[journal].seek(start)
            written.write(handles[journal].readline())
            count += 1
    os.replace(part, file)
    return count, missing


def _lines(journal: Path) -> Iterator[tuple[int, str, bool]]:
    """(place in the file, name, whether it failed) of each whole line."""
    start = 0
    with journal.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith(b"\n"):
                yield start, *_name_of(line, journal, number)
            start += len(line)


def _name_of(line: bytes, file: Path, number: int) -> tuple[str, bool]:
    try:
        row = json.loads(line)
        return str(row["id"]), "error" in row
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}:{number} is no line of a journal of readings; use another --output_dir") from error


def _lock(handle: Any, file: Path) -> None:
    """Hold the file against other processes, where the system can."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another process is writing to {file}; give each its own --shard k/n") from error
    except OSError:
        return  # a file system without locks
