"""Disks that are full: told before training, and one line with the newest whole checkpoint in the middle of it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.training import disk
from glm_ocr_finetune.training.checkpoints import checkpoints_in, damage, written_whole
from glm_ocr_finetune.training.disk import (
    check_room,
    ends_in_one_line,
    need_of,
    reason,
    what_is_whole,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("changes", [{}, {"save_only_model": True}])
def test_what_is_counted_is_what_is_written(build_trainer: Any, changes: dict[str, Any]) -> None:
    trainer = build_trainer(max_steps=2, save_steps=2, **changes)
    counted = need_of(trainer)
    trainer.train()
    trainer.save_model()
    output = Path(trainer.args.output_dir)
    written = sum(file.stat().st_size for file in (output / "checkpoint-2").iterdir())
    assert written == pytest.approx(counted.checkpoint, rel=0.08)  # without the multi-token layer, and small files
    assert (output / "model.safetensors").stat().st_size == pytest.approx(counted.result, rel=0.16)


@pytest.mark.parametrize(
    ("changes", "at_once"),
    [
        ({"save_steps": 2}, 3),
        ({"save_steps": 2, "save_total_limit": 1}, 2),
        ({"save_steps": 0.5}, 2),
        ({"save_strategy": "no"}, 0),
        ({"save_strategy": "epoch"}, 1),
        ({"save_strategy": "epoch", "max_steps": -1, "num_train_epochs": 4}, 4),
    ],
)
def test_how_many_checkpoints_lie_there_at_once(build_trainer: Any, changes: dict[str, Any], at_once: int) -> None:
    assert need_of(build_trainer(**changes)).at_once == at_once


def free(monkeypatch: pytest.MonkeyPatch, number_of_bytes: float) -> None:
    """A disk with so much room; a real one of that size needs the rights of root."""
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: os_usage(int(number_of_bytes)))  # type: ignore[attr-defined]


def os_usage(free: int) -> Any:
    from shutil import _ntuple_diskusage  # type: ignore[attr-defined]

    return _ntuple_diskusage(free, 0, free)


def test_a_disk_without_room_for_one_checkpoint_is_refused(build_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build_trainer(max_steps=2, save_steps=2)
    free(monkeypatch, 0.9 * need_of(trainer).whole)
    with pytest.raises(
        UserError, match=r"has no room: a checkpoint takes 0\.0\d+ GB, the result .*, and 0\.0\d+ GB are free"
    ):
        check_room(trainer)


def test_a_disk_that_will_be_full_is_told_and_the_checkpoints_of_the_run_are_room(
    build_trainer: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    trainer = build_trainer(max_steps=6, save_steps=2)
    need = need_of(trainer)
    free(monkeypatch, need.whole - 0.5 * need.checkpoint)
    check_room(trainer)
    assert "up to 3 checkpoints lie there at once" in caplog.text
    caplog.clear()
    saved = Path(trainer.args.output_dir) / "checkpoint-2"
    saved.mkdir(parents=True)
    (saved / "optimizer.pt").write_bytes(bytes(need.checkpoint))
    check_room(trainer)
    assert caplog.text == ""


IN_A_PROCESS = """
import resource, sys, pathlib, torch
from types import SimpleNamespace
from glm_ocr_finetune.training.disk import _reserve
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
print(_reserve(pathlib.Path(sys.argv[1]), [50_000]), _reserve(pathlib.Path(sys.argv[1]), [50_000, 200_000]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fallocate is Linux's")
def test_a_limit_that_no_count_of_free_blocks_shows_is_met_before(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", str(errno.EFBIG)]
    assert not list(tmp_path.iterdir())


def failure_of(write: Any, limit: int) -> Exception:
    """What a library raises when a file may not grow beyond a limit, which is a full disk to it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        write()
    except Exception as error:  # whatever it is
        return error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    raise AssertionError("nothing was raised")


def test_what_libraries_say_of_a_full_disk_is_understood(tmp_path: Path) -> None:
    values = {"x": torch.zeros(100_000)}
    for write in (
        lambda: save_file(values, tmp_path / "a.safetensors"),
        lambda: torch.save(values, tmp_path / "a.pt"),
        lambda: (tmp_path / "a.json").write_text("x" * 400_000, encoding="utf-8"),
    ):
        assert reason(failure_of(write, 10_000), tmp_path) in (
            os.strerror(errno.EFBIG),
            "a file of a checkpoint could not be written whole",
        )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory"),
        OSError("a reader's own words"),
        FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/image.png"),
    ],
)
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), ends_in_one_line(tmp_path):
        raise error


def test_a_save_that_fails_leaves_the_older_checkpoint_and_nothing_half(build_trainer: Any) -> None:
    trainer = build_trainer(max_steps=4, save_steps=2)
    output = Path(trainer.args.output_dir)
    trainer.train()
    shown = failure_of(lambda: trainer._save_checkpoint(trainer.model, None), 5_000_000)
    with pytest.raises(UserError, match="newest whole checkpoint is .*checkpoint-4"):  # noqa: SIM117
        with ends_in_one_line(output):
            raise shown
    assert [damage(path) for path in checkpoints_in(output)] == [None, None]
    assert not list(output.glob("_checkpoint-*"))


@pytest.mark.parametrize("how", ["is killed by signal: Killed. ", "exited unexpectedly"])
def test_a_dead_worker_is_one_line(tmp_path: Path, how: str) -> None:
    """As torch words it; tests/invariant/test_faults.py kills one."""
    with pytest.raises(UserError, match="a data-loading worker has died.*no checkpoint was saved: start again"):  # noqa: SIM117
        with ends_in_one_line(tmp_path):
            raise RuntimeError(f"DataLoader worker (pid(s) 7) {how}")


def test_an_interrupted_save_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "checkpoint-3") as staging:  # noqa: PT012
        staging.mkdir()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_without_a_checkpoint_that_is_said(tmp_path: Path) -> None:
    assert what_is_whole(tmp_path).startswith("no checkpoint was saved")
