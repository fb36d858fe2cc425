"""Each row measured once: the size and content key of its image, the tokens of its text, or why it cannot be used.

Every image file is opened once and none is decoded. Many rows are measured in parallel processes, and the result is
kept on disk under a digest of the rows, their image files (path, size, time of modification) and the renderer.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from ..folders import kept_for_later
from ..inputs.images import ImageError, inspect_image
from ..inputs.pdf_pages import split_page_path
from ..inputs.prompt import PromptRenderer
from ..inputs.tar_members import split_member_path
from ..progress import progress
from ..ranks import first_of_a_machine
from ..readers import problem_in_words
from ..readers.rows import image_of

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

KEY_BYTES = 16
ROWS_AT_ONCE = 64  # whose encoded images are held together
ROWS_OF_A_TASK = 1024  # for one of the parallel processes
PARALLEL_FROM = 4 * ROWS_OF_A_TASK  # below, starting processes costs more than they save
ARRAYS = ("heights", "widths", "text_tokens", "keys")
_VERSION = 1  # of what is kept on disk: raise it when the same rows are measured otherwise


@dataclass(frozen=True)
class Measured:
    """What is known of N rows.

    Attributes:
        heights, widths: of the upright images in pixels, (N,) int32; 0 where a row cannot be used.
        text_tokens: tokens of the sequence without its image tokens, (N,) int32.
        keys: equal for identical images, (N, 16) uint8.
        rejected: row number -> (reason, detail) of each row that cannot be used.
    """

    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    text_tokens: NDArray[np.int32]
    keys: NDArray[np.uint8]
    rejected: dict[int, tuple[str, str]]

    def key(self, row: int) -> bytes:
        return self.keys[row].tobytes()


def measure(rows: Dataset, renderer: PromptRenderer, default_prompt: str) -> Measured:
    """Measure the rows of a neutral table, or open what an earlier run has measured.

    Under torchrun the first rank of a machine measures, and the others open what it kept.
    """
    with first_of_a_machine():
        kept = kept_for_later("surveys") / f"{_digest(rows, renderer, default_prompt)}.npz"
        found = _open(kept)
        if found is None:
            found = _measure_all(rows, renderer, default_prompt)
            _keep(found, kept)
    return found


def _measure_all(rows: Dataset, renderer: PromptRenderer, default_prompt: str) -> Measured:
    tasks = [range(start, min(start + ROWS_OF_A_TASK, len(rows))) for start in range(0, len(rows), ROWS_OF_A_TASK)]
    work = partial(_measure_some, rows, renderer, default_prompt)
    processes = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if len(rows) < PARALLEL_FROM or processes < 2:
        return _joined(map(work, tasks), len(rows))
    with ProcessPoolExecutor(processes, initializer=_set_work, initargs=(work,)) as pool:
        return _joined(pool.map(_do_work, tasks), len(rows))


_work: Any = None


def _set_work(work: Any) -> None:
    global _work  # one copy for each process: the table and the tokenizer are not sent with every task
    _work = work


def _do_work(task: range) -> Measured:
    done: Measured = _work(task)
    return done


def _joined(parts: Iterator[Measured], num_rows: int) -> Measured:
    done: list[Measured] = []
    rejected: dict[int, tuple[str, str]] = {}
    start = 0
    with progress("looking at the samples", num_rows, "rows", shown=num_rows >= 5000) as line:
        for part in parts:
            rejected |= {start + row: why for row, why in part.rejected.items()}
            start += len(part.heights)
            done.append(part)
            line.advance(len(part.heights))
    arrays = {name: np.concatenate([getattr(part, name) for part in done]) for name in ARRAYS}
    return Measured(**arrays, rejected=rejected)


def _measure_some(rows: Dataset, renderer: PromptRenderer, default_prompt: str, numbers: range) -> Measured:
    heights, widths, text_tokens = (np.zeros(len(numbers), np.int32) for _ in range(3))
    measured = Measured(heights, widths, text_tokens, np.zeros((len(numbers), KEY_BYTES), np.uint8), {})
    for position, row in enumerate(_iterate(rows, numbers)):
        try:
            size, key, tokens = measure_row(row, renderer, default_prompt)
        except Rejected as rejected:
            measured.rejected[position] = (rejected.reason, rejected.detail)
            continue
        heights[position], widths[position] = size
        text_tokens[position] = tokens
        measured.keys[position] = np.frombuffer(key, np.uint8)
    return measured


def _iterate(rows: Dataset, numbers: range) -> Iterator[dict[str, Any]]:
    for start in range(numbers.start, numbers.stop, ROWS_AT_ONCE):
        batch = rows[start : min(start + ROWS_AT_ONCE, numbers.stop)]
        yield from ({name: batch[name][i] for name in batch} for i in range(len(batch["source"])))


class Rejected(Exception):
    """A row that cannot be used: a reason, and what it is about."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def measure_row(
    row: Mapping[str, Any], renderer: PromptRenderer, default_prompt: str
) -> tuple[tuple[int, int], bytes, int]:
    """(height, width) and content key of a row's image, and the tokens of its text. Raises Rejected."""
    if row["problem"]:
        raise Rejected(row["problem"], problem_in_words(row))
    prompt = row["prompt"] or default_prompt
    if token := renderer.control_token_in(prompt):
        raise Rejected("control_token_in_prompt", f"{token} in its prompt would reach the model as a control token")
    try:
        size, key = inspect_image(image_of(row))
    except ImageError as error:
        raise Rejected(error.reason, str(error)) from error
    return size, key, renderer.num_text_tokens(prompt, row["text"])


# What is kept on disk


def _digest(rows: Dataset, renderer: PromptRenderer, default_prompt: str) -> str:
    """Names what rows measure as: changed texts, image files or tokens change the name."""
    digest = blake2b(f"{_VERSION} {renderer.fingerprint()} {default_prompt!r} ".encode(), digest_size=16)
    for part in _identities(rows):
        digest.update(part)
    return digest.hexdigest()


def _identities(rows: Dataset) -> Iterator[bytes]:
    """The texts of all rows, and what tells that an image has changed, without opening it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [name for name in rows.column_names if name != "image"]
    for batch in rows.with_format("arrow").iter(1000):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.select(texts).schema) as writer:
            writer.write_table(batch.select(texts).combine_chunks())
        yield sink.getvalue().to_pybytes()
        images = batch["image"].combine_chunks()
        if pc.any(pc.is_valid(pc.struct_field(images, "bytes"))).as_py():
            yield rows._fingerprint.encode()  # of the table that embeds them: datasets names it by its files
        for path in pc.struct_field(images, "path").to_pylist():
            yield _state(path)


def _state(path: str | None) -> bytes:
    file, *_ = split_page_path(path) or split_member_path(path) or (path,)
    try:
        state = os.stat(file) if file else None
    except (OSError, ValueError):
        state = None
    return f"{path} {state.st_size} {state.st_mtime_ns}\n".encode("utf-8", "replace") if state else b"none\n"


def _open(file: Path) -> Measured | None:
    """What was kept; None when there is nothing, or nothing whole."""
    try:
        with np.load(file) as stored:
            rejected = {int(row): (reason, detail) for row, reason, detail in json.loads(str(stored["rejected"]))}
            return Measured(**{name: stored[name] for name in ARRAYS}, rejected=rejected)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _keep(measured: Measured, file: Path) -> None:
    """Write under another name and rename; a folder that cannot be written only costs the next run its time."""
    rejected = json.dumps([(row, *why) for row, why in measured.rejected.items()])
    arrays = {name: getattr(measured, name) for name in ARRAYS}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as handle:
            np.savez_compressed(handle, rejected=np.array(rejected), **arrays)
        os.replace(handle.name, file)
    except OSError as error:
        logger.warning("the survey of the samples cannot be kept in %s: %s", file.parent, error.strerror)
