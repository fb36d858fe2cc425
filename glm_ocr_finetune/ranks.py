"""The processes of one run under torchrun: which of them speaks and writes, and how they share work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def is_main_process() -> bool:
    """Whether this process is the one that writes files, prints and logs. torchrun and accelerate set ``RANK``."""
    return os.environ.get("RANK", "0") == "0"


def join_ranks() -> None:
    """Meet the other processes of torchrun; accelerate does so on a CPU only when it is told to."""
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.accelerator.is_available())


def have_joined() -> bool:
    """Whether this process has met others, so that from here on an error may be its own."""
    import torch.distributed as distributed

    return distributed.is_available() and distributed.is_initialized()


@contextlib.contextmanager
def first_of_a_machine() -> Iterator[None]:
    """Let one process of each machine go ahead, and the others when it is done, or has failed."""
    if "torch" not in sys.modules or not have_joined():
        yield
        return
    from accelerate import PartialState

    state = PartialState()
    if not state.is_local_main_process:
        state.wait_for_everyone()
    try:
        yield
    finally:
        if state.is_local_main_process:
            state.wait_for_everyone()


def my_share(items: Sequence[T]) -> Sequence[T]:
    """Every n-th of the items, for n joined processes; all of them alone."""
    from accelerate import PartialState

    state = PartialState()
    return items[state.process_index :: state.num_processes]


def gather(mine: list[T]) -> list[T]:
    """The items of all joined processes, on each of them."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    return list(gather_object(mine)) if PartialState().num_processes > 1 else mine


def console() -> Console:
    """Standard output for tables and text; silent on all processes but the main one."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, quiet=not is_main_process())


def greatest(*values: int) -> list[int]:
    """Each value, or a greater one of another rank; every rank must ask at the same point."""
    import torch
    from accelerate import PartialState

    state = PartialState()
    if state.num_processes == 1:
        return list(values)
    found = torch.tensor(values, dtype=torch.int64, device=state.device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    return [int(value) for value in found.tolist()]
