"""Data sets read as a stream: parquet files and tar shards, here or on the hub, in parts that are read one by one.

A part is what can be read without what lies before it: a row group of a parquet file, a whole parquet file of the hub,
a tar shard. Its rows are those of the neutral table (see ``rows``), with the problems that the other readers name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UserError
from .arrow_tables import BUILDERS, Origin, layout_of, stream_rows
from .columns import Layout
from .hub import builder_of
from .paths import image_finder
from .rows import ReadOptions, Row, counted, make_row
from .tables import TableFiles
from .webdataset import ERRORS, Reader, Shards

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_STREAMED = "parquet files and tar shards"
_ROWS_AT_ONCE = 64
_READ_AHEAD = 1 << 20  # bytes of a column; without it a whole row group would be read at once
_LOOKED_AT = 100  # rows of the first shard, for the columns of its JSON


@dataclass(frozen=True)
class Part:
    """Rows that are read together.

    Attributes:
        file: path or URL.
        group: row group of a parquet file; None for all of the file.
        first: number of the first row within the split; None where what lies before is not counted.
        rows: how many they are; None where nobody has counted them.
    """

    file: str
    group: int | None = None
    first: int | None = None
    rows: int | None = None

    @property
    def name(self) -> str:
        return self.file.rsplit("/", 1)[-1]


class RowStream(Protocol):
    """A split whose rows are read part by part; it can be sent to another process."""

    @property
    def parts(self) -> tuple[Part, ...]: ...

    def read(self, part: Part) -> Iterator[Row]:
        """The rows of a part, always in the same order; one that tells of damage ends it."""


def fingerprint(stream: RowStream) -> str:
    """Equal for streams of the same parts, wherever they lie."""
    parts = [(part.name, part.group, part.rows) for part in stream.parts]
    return blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def num_rows(stream: RowStream) -> int | None:
    """Rows of all parts; None where they are not counted."""
    counts = [part.rows for part in stream.parts]
    return None if None in counts else sum(count or 0 for count in counts)


@dataclass(frozen=True)
class ParquetStream:
    """Rows of parquet files, with the sources that the table would give them where rows are counted."""

    parts: tuple[Part, ...]
    layout: Layout
    options: ReadOptions
    origin: Origin

    def read(self, part: Part) -> Iterator[Row]:
        import pyarrow as pa

        lenient = self.layout.is_conversation
        finder = image_finder(self.origin.roots, self.options.image_folder, lenient=lenient)
        number = part.first or 0
        try:
            for values in _records(part, self.layout):
                name = self.origin.split if part.first is not None else part.name
                yield from stream_rows(f"{name}:{number}", values, self.layout, finder, self.origin)
                number += 1
        except (pa.ArrowException, OSError, ValueError) as error:
            yield _damaged(part, error)


def _records(part: Part, layout: Layout) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with opened(part.file) as file:
        parquet = pq.ParquetFile(file, buffer_size=_READ_AHEAD)
        columns = [name for name in parquet.schema_arrow.names if name in layout.columns]
        groups = None if part.group is None else [part.group]
        for batch in parquet.iter_batches(_ROWS_AT_ONCE, groups, columns):
            yield from batch.to_pylist()


@dataclass
class TarStream:
    """Rows of tar shards, read from start to end; the columns of their JSON are those of the first shard."""

    parts: tuple[Part, ...]
    options: ReadOptions
    names: dict[str, str]
    layout: Layout | None = field(default=None)

    def __post_init__(self) -> None:
        reader = Reader(self.options)
        try:
            with opened(self.parts[0].file) as file:
                for _ in islice(reader.stream(file, ""), _LOOKED_AT):
                    pass
        except ERRORS as error:
            raise UserError(f"{self.parts[0].file} cannot be read as a tar: {_one_line(error)}") from error
        self.layout = _without_guess(reader.layout, self.options) if reader.layout else None

    def read(self, part: Part) -> Iterator[Row]:
        try:
            with opened(part.file) as file:
                yield from Reader(self.options, self.layout).stream(file, self.names[part.file])
        except ERRORS as error:
            yield _damaged(part, error)


def _damaged(part: Part, error: Exception) -> Row:
    """What stands for the rest of a part that cannot be read; a file or network that is gone ends the run."""
    if isinstance(error, OSError) and error.errno is not None:
        raise UserError(f"{part.file} cannot be read: {_one_line(error)}") from error
    return make_row(part.name, problem="unreadable_part", detail=_one_line(error))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def opened(file: str) -> Iterator[Any]:
    """A local file or a URL, to read; what the hub's client reads again after an error it reads again here."""
    if "://" not in file:
        with open(file, "rb") as handle:
            yield handle
        return
    from datasets.utils.file_utils import xopen

    with xopen(file, "rb") as handle:
        yield handle


def stream_of(splits: dict[str, Callable[[], Dataset]], split: str, where: str, options: ReadOptions) -> RowStream:
    """The split of a local data set as a stream.

    Args:
        splits: what the reader of the data set found.

    Raises:
        UserError: it is of a format that is not streamed, or cannot be read.
    """
    found = splits[split]
    if isinstance(found, Shards):
        return _tar_stream([str(file.absolute()) for file in found.files], options, str(found.root.absolute()))
    if isinstance(found, TableFiles) and {file.suffix.lower() for file in found.files} == {".parquet"}:
        parts = _row_groups(found.files)
        features = _features(str(found.files[0]))
        origin = Origin(found.described(), found.split, (str(found.root),))
        layout = _without_guess(layout_of(features, options, origin.where), options)
        logger.info("read as: a stream of Parquet, %s, %s", counted(len(parts), "part"), _all_rows(parts))
        return ParquetStream(tuple(parts), layout, options, origin)
    suffixes = sorted({file.suffix for file in found.files}) if isinstance(found, TableFiles) else []
    kind = f"{' and '.join(suffixes)} files" if suffixes and set(suffixes) <= {*BUILDERS, *_text()} else "this format"
    raise UserError(
        f"--streaming True reads {_STREAMED}, not {kind} ({where}); leave it out: images are read from their files "
        "as they are needed anyway"
    )


def _text() -> tuple[str, ...]:
    from .text_tables import SUFFIXES

    return SUFFIXES


def hub_stream(name: str, split: str, options: ReadOptions) -> RowStream:
    """A split of a hub data set as a stream. Raises ``UserError`` when it cannot be had, or is of another format."""
    from datasets.packaged_modules.parquet.parquet import Parquet
    from datasets.packaged_modules.webdataset.webdataset import WebDataset

    builder = builder_of(name, options.config)
    files = {str(one): [str(file) for file in list_] for one, list_ in (builder.config.data_files or {}).items()}
    if not isinstance(builder, (Parquet, WebDataset)):
        raise UserError(
            f"--streaming True reads {_STREAMED}; {name} is made of {type(builder).__name__} files: leave it out"
        )
    if split not in files:
        raise UserError(f"{name} has no split {split!r}; its splits: {', '.join(files)}")
    if isinstance(builder, WebDataset):
        return _tar_stream(files[split], options, None)
    layout = _without_guess(layout_of(builder.info.features or _features(files[split][0]), options, name), options)
    logger.info("read as: a stream of Parquet, %s", counted(len(files[split]), "file"))
    parts = tuple(Part(file) for file in files[split])
    return ParquetStream(parts, layout, options, Origin(name, split, (options.image_folder or "/nowhere",)))


def _without_guess(layout: Layout, options: ReadOptions) -> Layout:
    """The layout without a column of groups that nobody asked for: how many groups there are is not known."""
    if layout.group is None or options.group_column is not None:
        return layout
    logger.info(
        "rows of one %r may be trained and evaluated on; to keep them apart: --group_column %s", *(2 * [layout.group])
    )
    return replace(layout, group=None)


def _tar_stream(files: list[str], options: ReadOptions, root: str | None) -> TarStream:
    names = {file: Path(file).relative_to(root).as_posix() if root else file.rsplit("/", 1)[-1] for file in files}
    logger.info("read as: a stream of WebDataset, %s", counted(len(files), "shard"))
    return TarStream(tuple(Part(file) for file in files), options, names)


def _row_groups(files: list[Path]) -> list[Part]:
    """The row groups of all files. Raises ``UserError`` for a file whose end, which lists them, cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts: list[Part] = []
    first = 0
    for file in files:
        try:
            about = pq.read_metadata(file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} cannot be read as parquet: {_one_line(error)}") from error
        for group in range(about.num_row_groups):
            rows = about.row_group(group).num_rows
            parts += [Part(str(file.absolute()), group, first, rows)] if rows else []
            first += rows
    if not parts:
        raise UserError(f"{files[0]} holds no rows.")
    return parts


def _features(file: str) -> Any:
    import pyarrow.parquet as pq
    from datasets import Features

    with opened(file) as handle:
        return Features.from_arrow_schema(pq.read_schema(handle))


def _all_rows(parts: list[Part]) -> str:
    return counted(sum(part.rows or 0 for part in parts), "row")
