"""Checkpoints of a run: they appear whole or not at all, are told from damaged ones, counted, and found again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import UserError
from ..folders import STATE_FILE

logger = logging.getLogger(__name__)

WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
INDEX_FILE = "model.safetensors.index.json"
SHARDED = ("global_step*", "pytorch_model_fsdp*")  # what DeepSpeed and FSDP write of weights and optimizer
_NAME = re.compile(r"checkpoint-(\d+)")


def name_of(step: int) -> str:
    return f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was saved at, from its name; -1 for another name."""
    found = _NAME.fullmatch(checkpoint.name)
    return int(found[1]) if found else -1


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a run, damaged ones too, the earliest first."""
    return sorted((path for path in folder.glob("checkpoint-*") if step_of(path) >= 0 and path.is_dir()), key=step_of)


def damage(checkpoint: Path, to_resume: bool = True) -> str | None:
    """Why a run cannot continue from a checkpoint as if nothing had happened; None when it can.

    Files are there and not cut off: of tensors the header and the length are looked at, of states the directory of
    the archive, which lies at its end.

    Args:
        to_resume: look at optimizer, schedule and random states too, which ``--save_only_model True`` leaves out.
    """
    archives = _damaged_archives(checkpoint) if to_resume else None
    return _damaged_state(checkpoint) or _damaged_weights(checkpoint) or archives


def _damaged_state(checkpoint: Path) -> str | None:
    file = checkpoint / STATE_FILE
    if not file.is_file():
        return f"{STATE_FILE} is missing"
    try:
        step = json.loads(file.read_text(encoding="utf-8"))["global_step"]
        return None if isinstance(step, int) else f"{STATE_FILE} has no step"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{STATE_FILE} cannot be read ({error or type(error).__name__})"


def _damaged_weights(checkpoint: Path) -> str | None:
    index = checkpoint / INDEX_FILE
    names = [name for name in WEIGHTS if (checkpoint / name).is_file()]
    try:
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        for name in names:
            with safe_open(checkpoint / name, framework="pt"):
                pass
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        return f"the weights cannot be read ({error})"
    return None if names or _is_sharded(checkpoint) else "the weights are missing"


def _damaged_archives(checkpoint: Path) -> str | None:
    expected = ["scheduler.pt"] if _is_sharded(checkpoint) else ["optimizer.pt", "scheduler.pt"]
    random_states = [path.name for path in checkpoint.glob("rng_state*.pth")] or ["rng_state.pth"]
    sharded = ("global_step*/*.pt", "pytorch_model_fsdp.bin", "optimizer.bin")
    optional = [str(path.relative_to(checkpoint)) for name in ("scaler.pt", *sharded) for path in checkpoint.glob(name)]
    for name in [*expected, *random_states, *optional]:
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if not zipfile.is_zipfile(checkpoint / name):
            return f"{name} is cut off"
    return None


def _is_sharded(checkpoint: Path) -> bool:
    return any(any(checkpoint.glob(pattern)) for pattern in SHARDED)


def find_checkpoint(asked: str | bool | None, output: Path) -> Path | None:
    """The checkpoint that ``--resume_from_checkpoint`` means: a folder, or True for the newest whole one.

    ``auto`` is True where there are checkpoints, and a new run where there are none yet: what a launcher types that
    starts the same command again and again.

    Raises:
        UserError: there is none, or the folder that is named is damaged.
    """
    asked = str(asked or "")
    if asked.lower() in ("", "false", "none"):
        return None
    have = checkpoints_in(output)
    if asked.lower() == "auto" and not have:
        return None
    damaged = {path: why for path in reversed(have) if (why := damage(path))}
    whole = [path for path in have if path not in damaged]
    if asked.lower() not in ("true", "auto"):
        return _named(Path(asked), whole)
    if not whole:
        found = "; ".join(f"{path.name} is damaged: {why}" for path, why in damaged.items())
        raise UserError(f"--resume_from_checkpoint {asked}: no checkpoint there; {output} has {found or 'none'}")
    for path, why in damaged.items():
        if step_of(path) > step_of(whole[-1]):
            logger.warning("%s is passed over (%s); the run continues from %s", path.name, why, whole[-1].name)
    return whole[-1]


def _named(checkpoint: Path, whole: list[Path]) -> Path:
    why = damage(checkpoint) if checkpoint.is_dir() else "there is no such folder"
    if why:
        others = ", ".join(path.name for path in whole) or "none"
        raise UserError(
            f"--resume_from_checkpoint {checkpoint}: no checkpoint there that a run can continue from: {why}; "
            f"whole ones in --output_dir: {others}"
        )
    return checkpoint


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A folder for all ranks to write a checkpoint into; it takes the name ``target`` when it lies on the disk."""
    from accelerate import PartialState

    state = PartialState()
    staging = target.with_name(f"_{target.name}.partial")
    if state.is_local_main_process:
        shutil.rmtree(staging, ignore_errors=True)
    state.wait_for_everyone()
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)  # a full disk has room again for what is said of it
        raise
    state.wait_for_everyone()
    if state.is_main_process:
        _put_in_place(staging, target)
    state.wait_for_everyone()
    if state.is_local_main_process and staging.is_dir():  # machines that do not share their disk
        _put_in_place(staging, target)


def final_folder(folder: Path) -> Path:
    """What a folder that is being written will be called; any other folder as it is."""
    name = folder.name
    return folder.with_name(name[1:].removesuffix(".partial")) if name.endswith(".partial") else folder


def _put_in_place(staging: Path, target: Path) -> None:
    for path in (*staging.rglob("*"), staging):
        _sync(path)
    old = target.with_name(f"_{target.name}.old")
    if target.exists():  # of an earlier sitting
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    staging.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file or folder lies on the disk; Windows does this for files only."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_older(saved: Path, limit: int | None, best: str | None, to_resume: bool = True) -> None:
    """Keep at most ``limit`` whole checkpoints, among them the one just saved and the best.

    Those of later steps than the one just saved belong to a continuation that was given up; they go first.
    """
    for path in checkpoints_in(saved.parent):
        if step_of(path) > step_of(saved):
            shutil.rmtree(path, ignore_errors=True)
    if not limit or limit < 0:
        return
    whole = [path for path in checkpoints_in(saved.parent) if not damage(path, to_resume)]
    kept = {saved.name} | ({Path(best).name} if best else set())
    spare = [path for path in whole if path.name not in kept]
    for path in spare[: max(len(whole) - max(limit, len(kept)), 0)]:
        shutil.rmtree(path, ignore_errors=True)


def say_what_is_given_up(checkpoint: Path) -> None:
    """Checkpoints later than the one that a run continues from go when it saves its first."""
    later = [path.name for path in checkpoints_in(checkpoint.parent) if step_of(path) > step_of(checkpoint)]
    if later:
        logger.warning(
            "%s: saved after %s, removed when this run saves its first checkpoint", ", ".join(later), checkpoint.name
        )
