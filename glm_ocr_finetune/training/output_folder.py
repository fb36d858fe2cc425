"""Whose results an output folder holds: a run never mixes its own with another's."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..folders import (
    EVALUATION_FOLDER,
    LOSS_CURVE_FILE,
    REPORT_FILE,
    RUN_FILE,
    SET_ASIDE_FILE,
    SPIKE_SHEET,
    SPIKES_FILE,
    STATE_FILE,
    SUMMARY_FILE,
)
from ..model.checkpoint import SIDECAR
from ..ranks import have_joined, is_main_process
from ..training_args import TrainingArguments
from .checkpoints import checkpoints_in, damage, find_checkpoint, say_what_is_given_up
from .run_record import RunRecord, compare_arguments, read_record

if TYPE_CHECKING:
    from .trainer import GlmOcrTrainer

logger = logging.getLogger(__name__)

# What a run writes beside its checkpoints; the next run in the folder may not write the same.
ABOUT_A_RUN = (
    *(STATE_FILE, RUN_FILE, SUMMARY_FILE, REPORT_FILE, LOSS_CURVE_FILE, SET_ASIDE_FILE, "training_args.bin"),
    *(SPIKES_FILE, SPIKE_SHEET.format(step="*")),
)
OF_OTHERS = re.compile(r"gloo/|NCCL|ncclComm|process group|ProcessGroup")  # in errors of torch.distributed
MODEL = ("*.safetensors", "*.safetensors.index.json", "config.json", "adapter_config.json", SIDECAR)


def results_in(folder: Path) -> list[str]:
    """Names of what a run has made in a folder: checkpoints and weights."""
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    return [path.name for path in checkpoints_in(folder)] + weights


@contextlib.contextmanager
def held(output: Path) -> Iterator[None]:
    """Keep other runs out of a folder while one is at work there, where the file system has locks.

    Raises:
        UserError: another run is at work there.
    """
    if os.name == "nt" or not is_main_process():
        yield
        return
    import fcntl

    descriptor = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another run is at work in --output_dir {output}; give another folder") from error
        except OSError as error:  # NFS locks no folder
            logger.debug("%s cannot be locked: %s", output, error)
        yield
    finally:
        os.close(descriptor)


def open_folder(training_args: TrainingArguments, model_name: str) -> Path | None:
    """The checkpoint that the run continues from; None for a new run. Nothing is removed yet.

    Raises:
        UserError: there is no such checkpoint, or the folder holds another run's results.
    """
    output, overwrite = Path(training_args.output_dir), training_args.overwrite_output_dir
    checkpoint = find_checkpoint(training_args.resume_from_checkpoint, output)
    if overwrite and checkpoint:
        raise UserError(
            f"--overwrite_output_dir True removes what {output} holds, and --resume_from_checkpoint continues it; "
            "give one of them"
        )
    found = results_in(output)
    if not found or (checkpoint and continues(checkpoint, output)):
        return checkpoint
    if not overwrite:
        raise UserError(
            f"--output_dir {output} holds the results of another run ({', '.join(found[:4])}): give another folder, "
            "--resume_from_checkpoint True to continue that run, or --overwrite_output_dir True to remove it"
        )
    base = Path(model_name).resolve()
    if output.resolve() in (base, *base.parents):
        raise UserError(f"--overwrite_output_dir True would remove the model that is tuned, {model_name}")
    return checkpoint


def continues(checkpoint: Path, output: Path) -> bool:
    """Whether a checkpoint belongs to the run whose results lie in a folder."""
    theirs, here = read_record(checkpoint), read_record(output)
    return checkpoint.resolve().parent == output.resolve() or bool(theirs and here and theirs.run == here.run)


def compare(
    arguments: Mapping[str, Any], training_args: TrainingArguments, checkpoint: Path | None
) -> RunRecord | None:
    """The record of the run that is continued, after each difference to it was said; None for a new run.

    Raises:
        UserError: an argument does not fit the checkpoint.
    """
    if checkpoint is None:
        return None
    earlier = read_record(checkpoint)
    if earlier is None:
        lines = [f"{checkpoint.name} does not say what it was trained with: nothing is compared with it"]
    else:
        lines = compare_arguments(earlier, arguments, training_args.world_size, checkpoint)
    if is_main_process():
        say_what_is_given_up(checkpoint)
        for line in lines:
            logger.warning("%s", line)
    return earlier


def take_over(training_args: TrainingArguments, record: RunRecord, checkpoint: Path | None) -> None:
    """Make the output folder this run's: what another one left goes, and the record is written."""
    output, overwrite = Path(training_args.output_dir), training_args.overwrite_output_dir
    if not is_main_process():
        return
    if checkpoint is None and (overwrite or (output / RUN_FILE).is_file()):
        clear(output, overwrite)
    for path in output.glob("_checkpoint-*"):  # of a run that was killed while it saved
        shutil.rmtree(path, ignore_errors=True)
    here = read_record(output)
    if here is None or here.run != record.run:
        record.write(output)


def clear(output: Path, weights_too: bool) -> None:
    """Remove what a run left in its folder, and nothing else."""
    for path in checkpoints_in(output):
        shutil.rmtree(path, ignore_errors=True)
    names = ABOUT_A_RUN + (MODEL if weights_too else ())
    for file in (
        *(output / EVALUATION_FOLDER).glob("*.jsonl"),
        *(file for name in names for file in output.glob(name)),
    ):
        file.unlink(missing_ok=True)


def finish(trainer: GlmOcrTrainer) -> None:
    """Note in the folder that the run has ended, and that its result is written."""
    if is_main_process() and trainer.record:
        ended = replace(trainer.record, finished=trainer.state.global_step, planned=trainer.planned_steps())
        ended.write(Path(trainer.args.output_dir))


def is_finished(trainer: GlmOcrTrainer) -> bool:
    """Whether this very run has ended already, with as many steps planned as now; then that is said."""
    here, planned = read_record(Path(trainer.args.output_dir)), trainer.planned_steps()
    if not (here and trainer.record and here.run == trainer.record.run and here.finished and here.planned == planned):
        return False
    logger.info(
        "the run in %s is finished, at step %d of %d: nothing is left to train; more --num_train_epochs or --max_steps "
        "continue it",
        trainer.args.output_dir,
        here.finished,
        planned,
    )
    return True


@contextlib.contextmanager
def says_what_is_saved(output: Path) -> Iterator[None]:
    """Give a Ctrl-C that leaves at once, and the end of another rank, the words for what is there of the run.

    Raises:
        UserError: another rank has died, or has not answered for as long as ``--ddp_timeout``.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"interrupted; {_what_is_saved(output)}") from stop
    except RuntimeError as error:
        if not (have_joined() and OF_OTHERS.search(str(error))):
            raise
        raise UserError(
            f"another rank has died or does not answer; {_what_is_saved(output)} ({str(error).splitlines()[0]})"
        ) from error


def _what_is_saved(output: Path) -> str:
    whole = [path for path in checkpoints_in(output) if not damage(path)]
    if not whole:
        return "no checkpoint was saved"
    return f"the last checkpoint is {whole[-1]}, and --resume_from_checkpoint True continues from it"
