"""The processes of one run: which of them speaks and writes, and how they share work."""

from __future__ import annotations


def join_ranks() -> None:
    """Meet the other processes of torchrun; accelerate does so on a CPU only when it is told to."""
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.accelerator.is_available())


def is_main_process() -> bool:
    """Whether this process is the one that writes and prints."""
    from accelerate import PartialState

    return PartialState().is_main_process


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
