"""Batches of a stream for one rank, pass after pass, and where each of its readers stands.

Workers read ahead, so a batch brings along where its reader stands once it is trained on; that, and which worker's turn
it is, is what a checkpoint keeps of each rank. A rank whose share of a pass has ended waits with batches that weigh
nothing until all have ended, so that each row comes once a pass over all ranks and workers.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import seed_worker

from ..data.collate import VLMDataCollator
from ..data.stream import Batch, Position, Reader, Stream
from ..data.survey import SetAside
from ..errors import UserError
from ..folders import SET_ASIDE_FILE
from ..ranks import gather, greatest, is_main_process
from ..readers.streams import num_rows
from ..training_args import TrainingArguments

logger = logging.getLogger(__name__)

VERSION = 1


def state_file(directory: Path, rank: int) -> Path:
    """Where a checkpoint keeps what a rank has read."""
    return directory / f"stream-{rank}.json"


@dataclass(frozen=True)
class Delivered:
    """A batch as a worker hands it on.

    Attributes:
        tensors: what the collator made of it; None where it has no samples.
        error: why the worker cannot go on.
    """

    worker: int
    tensors: dict[str, torch.Tensor] | None = None
    sources: tuple[str, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    position: Position | None = None
    error: str | None = None

    def pin_memory(self, *device: Any) -> Delivered:
        """As the data loader calls it."""
        pinned = {name: tensor.pin_memory() for name, tensor in (self.tensors or {}).items()}
        return Delivered(**{**vars(self), "tensors": pinned if self.tensors else None})


@dataclass(frozen=True)
class Share(torch.utils.data.IterableDataset[Any]):
    """What a rank reads of a pass. In a worker of a data loader: its part of that.

    Attributes:
        first: the worker whose turn it is; workers are asked from there on.
    """

    stream: Stream
    collator: VLMDataCollator
    size: int
    drop_last: bool
    rank: int
    num_ranks: int
    num_workers: int
    number: int
    positions: tuple[Position | None, ...]
    first: int

    def __iter__(self) -> Iterator[Delivered]:
        info = torch.utils.data.get_worker_info()
        worker = ((info.id if info else 0) + self.first) % self.num_workers
        reader = Reader(self.rank, self.num_ranks, worker, self.num_workers)
        try:
            for batch in self.stream.batches(reader, self.number, self.size, self.drop_last, self.positions[worker]):
                yield self._made(worker, batch)
        except UserError as error:
            yield Delivered(worker, error=str(error))

    def _made(self, worker: int, batch: Batch) -> Delivered:
        tensors = self.collator(batch.rows) if batch.rows else None
        sources = tuple(str(row["source"]) for row in batch.rows)
        return Delivered(worker, tensors, sources, tuple(batch.set_aside), batch.position)


class StreamLoader:
    """An endless iterable of batches, which the trainer takes for one long epoch. It has no length.

    Attributes:
        number: of the pass, from 0.
        samples: how many were handed out on this rank.
        recent: sources of the samples of the last optimizer step on this rank.
    """

    def __init__(self, stream: Stream, collator: VLMDataCollator, args: TrainingArguments) -> None:
        self.stream, self.collator, self.args = stream, collator, args
        self.num_workers = max(1, int(args.dataloader_num_workers or 0))
        self.number = self.samples = self.samples_of_pass = 0
        self.positions: list[Position | None] = [None] * self.num_workers
        self.next_worker = 0
        self.set_aside: Counter[str] = Counter()
        self.recent: deque[tuple[str, ...]] = deque(maxlen=args.gradient_accumulation_steps)
        self.listed = Listed(Path(args.output_dir) / SET_ASIDE_FILE)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        self.listed.add(self.stream.beside if is_main_process() and not self.samples else ())
        while True:
            yield from self._pass()
            if not greatest(self.samples_of_pass)[0]:
                raise UserError(f"a pass over the data has no sample that can be used: {self._reasons() or 'no rows'}")
            self.number, self.samples_of_pass = self.number + 1, 0
            self.positions, self.next_worker = [None] * self.num_workers, 0
            logger.info("pass %d over the data begins, after %d samples on this rank", self.number + 1, self.samples)

    def _pass(self) -> Iterator[dict[str, torch.Tensor]]:
        """What is left of this pass; all ranks hand out as many batches."""
        delivered = iter(self._loader())
        while True:
            found = self._next_with_samples(delivered)
            if not greatest(found is not None)[0]:
                return
            self.recent.append(found.sources if found else ())
            yield self.collator.blank() if found is None else (found.tensors or {})

    def _next_with_samples(self, delivered: Iterator[Delivered]) -> Delivered | None:
        for found in delivered:
            if found.error:
                raise UserError(found.error)
            self._note(found)
            if found.tensors is not None:
                return found
        return None

    def _note(self, found: Delivered) -> None:
        self.positions[found.worker] = found.position
        self.next_worker = (found.worker + 1) % self.num_workers
        self.samples += len(found.sources)
        self.samples_of_pass += len(found.sources)
        if self.number == 0:  # later passes set the same rows aside
            self.set_aside.update(row.reason for row in found.set_aside)
            self.listed.add(found.set_aside)

    def _loader(self) -> torch.utils.data.DataLoader[Any]:
        args = self.args
        workers = int(args.dataloader_num_workers or 0)
        share = Share(
            self.stream,
            self.collator,
            args.per_device_train_batch_size,
            args.dataloader_drop_last,
            args.process_index,
            args.world_size,
            self.num_workers,
            self.number,
            tuple(self.positions),
            self.next_worker,
        )
        return torch.utils.data.DataLoader(
            share,
            batch_size=None,
            num_workers=workers,
            pin_memory=args.dataloader_pin_memory,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None) if workers else None,
            generator=torch.Generator(),  # the loader draws from it; the run's own random state stays as it is
            worker_init_fn=partial(seed_worker, num_workers=workers, rank=args.process_index),
        )

    @property
    def passes(self) -> float:
        """Passes over the data, as far as the number of rows is known; else whole ones."""
        rows = num_rows(self.stream.source)
        return self.number + min(self.samples_of_pass * self.args.world_size / rows, 1.0) if rows else self.number

    # What a checkpoint keeps

    def save(self, directory: Path) -> None:
        """Write where the readers of this rank stand."""
        state = {
            "version": VERSION,
            "ranks": self.args.world_size,
            "workers": self.num_workers,
            "pass": self.number,
            "positions": [position.to_list() if position else None for position in self.positions],
            "next_worker": self.next_worker,
            "samples": self.samples,
            "samples_of_pass": self.samples_of_pass,
            "set_aside": dict(self.set_aside),
        }
        state_file(directory, self.args.process_index).write_text(json.dumps(state) + "\n", encoding="utf-8")

    def load(self, directory: Path) -> None:
        """Go on from where a checkpoint stands; with another number of ranks or workers, with the next pass.

        Raises:
            UserError: the checkpoint does not tell.
        """
        file = state_file(directory, self.args.process_index)
        other = state_file(directory, 0)
        try:
            state = json.loads((file if file.is_file() else other).read_text(encoding="utf-8"))
            shared_out = (int(state["ranks"]), int(state["workers"]))
            positions = [value and Position.of(value) for value in state["positions"]]
            self.number, self.samples = int(state["pass"]), int(state["samples"])
            self.samples_of_pass, self.next_worker = int(state["samples_of_pass"]), int(state["next_worker"])
            self.set_aside = Counter(state["set_aside"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{directory} does not tell how far the stream was read ({file.name}: {error or type(error).__name__}); "
                "resume from another checkpoint"
            ) from error
        self.listed.remember()
        if shared_out == (self.args.world_size, self.num_workers):
            self.positions = positions
            return
        self.number, self.samples_of_pass, self.next_worker = self.number + 1, 0, 0
        logger.warning(
            "%s was saved with %d ranks of %d readers each, here there are %d of %d: the run goes on with the next pass "
            "over the data (samples of this one may come twice or not at all)",
            *(directory.name, *shared_out, self.args.world_size, self.num_workers),
        )

    def conclude(self) -> None:
        """Say how much was read and what was set aside, on all ranks together."""
        totals = gather([(self.samples, dict(self.set_aside))])
        self.set_aside = sum((Counter(counts) for _, counts in totals), Counter())
        told = f"; set aside: {self._reasons()}, listed in {self.listed.file}" if self.set_aside else ""
        logger.info(
            "streamed: %d samples, in pass %d over the data%s", sum(n for n, _ in totals), self.number + 1, told
        )

    def _reasons(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.set_aside.most_common())


class Listed:
    """The list of rows that were set aside; a row that an interrupted sitting has listed is not listed again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._before: set[bytes] = set()

    def remember(self) -> None:
        """Take what the file has for listed."""
        if self.file.is_file():
            with self.file.open("rb") as lines:
                self._before = {_short(line) for line in lines}

    def add(self, rows: tuple[SetAside, ...]) -> None:
        lines = [(json.dumps(asdict(row), ensure_ascii=False) + "\n").encode("utf-8") for row in rows]
        new = [line for line in lines if _short(line) not in self._before]
        if new:
            with self.file.open("ab") as handle:
                handle.write(b"".join(new))


def _short(line: bytes) -> bytes:
    return blake2b(line, digest_size=8).digest()


class CountPasses(TrainerCallback):
    """Has the logs say how many passes were made where they would say which share of the run."""

    def __init__(self, loader: StreamLoader) -> None:
        self.loader = loader

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.epoch = round(self.loader.passes, 4)
