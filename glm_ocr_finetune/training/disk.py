"""Room on the disk: what a run will write is compared with it before training, and a write that fails ends in one line."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from ..argument_checks import plain
from ..errors import UserError, first_line
from ..ranks import is_main_process
from .checkpoints import checkpoints_in, damage

if TYPE_CHECKING:
    from .trainer import GlmOcrTrainer

logger = logging.getLogger(__name__)

FP32 = 4  # bytes
ADAM, ADAM_8BIT = 8, 2 + 2 * 4 / 256  # of two moments, for each parameter that is trained; 8-bit with their scales
GIGABYTE = 10**9
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CANNOT_WRITE = (*FULL, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENODEV)
OF_SAFETENSORS = re.compile(r"\(os error (\d+)\)")
OF_WORKERS = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
OF_TORCH = re.compile(r"inline_container|PytorchStreamWriter|Parent directory .* does not exist")  # torch.save


@dataclass(frozen=True)
class Need:
    """Bytes that a run writes.

    Attributes:
        files: of a checkpoint, one by one: weights and the optimizer's state.
        result: the weights that are saved at the end.
        at_once: checkpoints that lie there at the same time, the one that is being written among them.
    """

    files: tuple[int, ...]
    result: int
    at_once: int

    @property
    def checkpoint(self) -> int:
        return sum(self.files)

    @property
    def whole(self) -> int:
        return self.at_once * self.checkpoint + self.result


def need_of(trainer: GlmOcrTrainer) -> Need:
    """What is counted of the model: its weights as they are trained, and two moments for each that is trained.

    Other optimizers than Adam keep less. Tied weights are saved once; of a LoRA run the adapter alone is.
    """
    args, parameters = trainer.args, list(trainer.model.parameters())
    trained = sum(_size(one) for one in parameters if one.requires_grad)
    adapter = hasattr(trainer.model, "peft_config")
    weights = FP32 * trained if adapter else sum(_size(one) * one.element_size() for one in parameters)
    moments = 0 if args.save_only_model else trained * (ADAM_8BIT if "8bit" in plain(args.optim) else ADAM)
    result = FP32 * trained if adapter else 2 * sum(map(_size, parameters))
    return Need((weights, round(moments)), result, _at_once(trainer))


def _size(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))  # DeepSpeed's shares are empty


def _at_once(trainer: GlmOcrTrainer) -> int:
    """Checkpoints that are saved in the whole run, or one more than are kept, as it is written before one goes."""
    args, steps = trainer.args, trainer.planned_steps()
    per_epoch = steps / args.num_train_epochs if args.max_steps <= 0 else steps
    every = {"steps": _interval(args.save_steps, steps), "epoch": per_epoch}.get(plain(args.save_strategy))
    if not every:
        return 0 if plain(args.save_strategy) == "no" else 2
    saves = max(1, int(steps // every))
    limit = trainer.checkpoints_kept
    return min(saves, max(limit, 2 if args.load_best_model_at_end else 1) + 1) if limit and limit > 0 else saves


def _interval(every: float, steps: int) -> float:
    """A part of the run, below 1, in steps."""
    return max(1.0, every * steps) if every < 1 else every


def check_room(trainer: GlmOcrTrainer) -> None:
    """Warn where the disk will be full before the run ends; what a run already has in its folder counts as room.

    Raises:
        UserError: not even one checkpoint and the result find room, or a quota or a limit on files forbids them.
    """
    if not is_main_process():
        return
    need, output = need_of(trainer), Path(trainer.args.output_dir)
    room = shutil.disk_usage(output).free + sum(_bytes_in(path) for path in checkpoints_in(output))
    first = need.result + (need.checkpoint if need.at_once else 0)
    sizes = f"a checkpoint takes {_gb(need.checkpoint)}, the result {_gb(need.result)}"
    if why := _refusal(output, need, room, first):
        raise UserError(f"--output_dir {output} has no room: {sizes}, and {why}; make room, or give another folder")
    if room < need.whole:
        logger.warning(
            "%s will be full before the run ends: %s, up to %d checkpoints lie there at once (%s), and %s are free; "
            "--save_total_limit 1 or a higher --save_steps keeps fewer",
            output,
            sizes,
            need.at_once,
            _gb(need.whole),
            _gb(room),
        )


def _refusal(output: Path, need: Need, room: int, first: int) -> str:
    """Why what is written first finds no room; empty where it does."""
    if room < first:
        return f"{_gb(room)} are free"
    files = [need.result, *(need.files if need.at_once else ())]
    already = any(checkpoints_in(output))  # it may be these that have used a quota up
    fault = 0 if already else _reserve(output, files)
    return f"the system says: {os.strerror(fault)}" if fault else ""


def _reserve(folder: Path, sizes: list[int]) -> int:
    """Ask the file system for files of these sizes, and give them back: an error number that means full, or 0.

    This is how a quota, which no count of free blocks shows, is met before training. No blocks are written; file
    systems that cannot do it (``fallocate``, Linux) are not asked any other way.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None) if os.name == "posix" else None
    if fallocate is None:
        return 0
    with contextlib.ExitStack() as opened:
        for size in sizes:
            file = opened.enter_context(tempfile.TemporaryFile(dir=folder))
            if fallocate(file.fileno(), 0, ctypes.c_long(0), ctypes.c_long(max(size, 1))):
                return ctypes.get_errno() if ctypes.get_errno() in FULL else 0
    return 0


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.2g} GB" if size < GIGABYTE else f"{size / GIGABYTE:,.1f} GB"


@contextlib.contextmanager
def ends_in_one_line(output: Path) -> Iterator[None]:
    """Give a write that fails in the middle of a run, and a worker that dies, the words for what is left of it.

    Raises:
        UserError: a full disk, a quota, a disk that became read-only, a folder that went away; a worker is dead.
    """
    try:
        yield
    except (OSError, EOFError, SafetensorError, RuntimeError) as error:
        if _of_a_worker(error):
            raise UserError(
                f"a data-loading worker has died, as where memory runs out ({first_line(error)}); "
                f"{what_is_whole(output)}, with a lower --dataloader_num_workers where memory is short"
            ) from error
        why = reason(error, output)
        if not why:
            raise
        mend = "make it writable (where it is full, --save_total_limit N keeps N checkpoints) and "
        raise UserError(f"{output} cannot be written: {why}{_free(output)}; {what_is_whole(output, mend)}") from error


def _of_a_worker(error: Exception) -> bool:
    """Whether a data-loading worker has died: torch says so, or finds that nobody hands over the tensors of a batch."""
    cut_off = isinstance(error, ConnectionError | EOFError)
    frames = traceback.extract_tb(error.__traceback__)
    in_loader = any(Path(frame.filename).name == "dataloader.py" for frame in frames)
    return bool(OF_WORKERS.search(str(error))) or (cut_off and in_loader)


def reason(error: Exception, output: Path) -> str:
    """What an error says of writing to a folder, in a few words; empty for one that has to do with something else."""
    said = first_line(error)
    if isinstance(error, OSError):
        here = error.filename is None or Path(os.path.abspath(str(error.filename))).is_relative_to(output.resolve())
        wrote = error.errno in FULL or (error.errno in CANNOT_WRITE and here and error.filename is not None)
        return os.strerror(error.errno or 0) if wrote else ""
    if isinstance(error, SafetensorError):
        number = OF_SAFETENSORS.search(said)
        return os.strerror(int(number[1])) if number and int(number[1]) in CANNOT_WRITE else ""
    return "a file of a checkpoint could not be written whole" if OF_TORCH.search(said) else ""


def _free(output: Path) -> str:
    try:
        return f" ({_gb(shutil.disk_usage(output).free)} are free)"
    except OSError:
        return ""


def what_is_whole(output: Path, mend: str = "") -> str:
    """The newest whole checkpoint of a folder, and how to go on from it."""
    whole = [path for path in checkpoints_in(output) if not damage(path)]
    if not whole:
        return f"no checkpoint was saved: {mend}start again"
    return f"the newest whole checkpoint is {whole[-1]}: {mend}go on with --resume_from_checkpoint True"
