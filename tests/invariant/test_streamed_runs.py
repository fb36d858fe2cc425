"""A streamed run that is interrupted sees the samples that the uninterrupted one sees, and ends with the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from streamed import BAD, write_parquet, write_shards
from transformers import TrainerCallback

from glm_ocr_finetune import train as workflow
from glm_ocr_finetune.data import stream
from glm_ocr_finetune.parse import parse_train

ROOT = Path(__file__).parents[2]
ROWS = 36
STEPS = 9  # of 2 x 2 samples: 36 of the 33 that a pass has
FLAGS = {
    "model_name": "tiny-random",
    "streaming": "True",
    "max_steps": str(STEPS),
    "per_device_train_batch_size": "2",
    "gradient_accumulation_steps": "2",
    "eval_split_size": "0",
    "save_steps": "3",
    "max_length": "200",
    "use_lora": "True",
    "lora_dropout": "0.1",
    "report_to": "none",
    "logging_steps": "1",
    "disable_tqdm": "True",
}


class Killed(BaseException):
    """As good as a kill: nothing is saved on the way out."""


class Watch(TrainerCallback):
    """Notes the sources of each step, and ends the process at one."""

    def __init__(self, loader: Any, kill_at: int | None) -> None:
        self.loader, self.kill_at = loader, kill_at
        self.seen: dict[int, list[str]] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen[state.global_step] = [source for batch in self.loader.recent for source in batch]
        if state.global_step == self.kill_at:
            raise Killed


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_ROWS", 10)


def run(data: Path, output: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None = None, **flags: str) -> Any:
    """Sources of the samples of each step."""
    create, watches = workflow.create_trainer, []

    def watched(*args: Any, **kwargs: Any) -> Any:
        trainer = create(*args, **kwargs)
        watches.append(Watch(trainer.stream, kill_at))
        trainer.add_callback(watches[0])
        return trainer

    words = {"dataset_name": str(data), "output_dir": str(output), "eval_strategy": "no"} | FLAGS | flags
    argv = [word for name, value in words.items() for word in (f"--{name}", value)]
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "create_trainer", watched)
        try:
            workflow.train(*parse_train(argv, "test"))
        except Killed:
            assert kill_at
    return watches[0].seen


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("write", "workers"),
    [
        (write_parquet, 2),
        pytest.param(write_parquet, 0, marks=pytest.mark.slow),
        pytest.param(write_shards, 2, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    write: Any, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "data", ROWS)
    flags = {"dataloader_num_workers": str(workers)}
    whole = run(data, tmp_path / "whole", monkeypatch, **flags)
    before = run(data, tmp_path / "cut", monkeypatch, kill_at=5, **flags)
    assert before == {step: whole[step] for step in range(1, 6)}
    after = run(data, tmp_path / "cut", monkeypatch, resume_from_checkpoint="True", **flags)
    assert after == {step: whole[step] for step in range(4, STEPS + 1)}
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(expected[name], found[name]) for name in expected)

    in_order = [source for step in sorted(whole) for source in whole[step]]
    usable = ROWS - len(BAD)
    assert len(set(in_order[:usable])) == usable, "each row once before any comes again"
    listed = [json.loads(line) for line in (tmp_path / "cut" / "set_aside.jsonl").read_text().splitlines()]
    assert sorted(row["reason"] for row in listed) == sorted(BAD.values())


def test_what_is_evaluated_on_is_the_same_in_a_resumed_run_and_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_parquet(tmp_path / "data", ROWS)
    judged = {"eval_strategy": "steps", "eval_steps": "3", "eval_split_size": "0.1", "max_steps": "18"}
    run(data, tmp_path / "run", monkeypatch, kill_at=10, **judged)
    read = {row["id"] for row in readings(tmp_path / "run", "base")}
    assert len(read) == 3
    seen = run(data, tmp_path / "run", monkeypatch, resume_from_checkpoint="True", **judged)
    assert read == {row["id"] for row in readings(tmp_path / "run", "tuned")}
    trained = {source for sources in seen.values() for source in sources}
    assert len(trained) > 20
    assert not trained & read


def readings(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "evaluation" / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_sigterm_saves_where_the_stream_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_parquet(tmp_path / "data", ROWS)
    whole = run(data, tmp_path / "whole", monkeypatch)
    kill = Watch.on_step_end

    def ask_to_stop(self: Watch, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kill(self, args, state, control)
        if state.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_end", ask_to_stop)
        with pytest.raises(workflow.Interrupted, match="checkpoint-"):
            run(data, tmp_path / "cut", monkeypatch)
    after = run(data, tmp_path / "cut", monkeypatch, resume_from_checkpoint="True")
    assert after == {step: whole[step] for step in after}
    assert min(after) in {5, 6}
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_two_ranks_go_on_after_a_kill(tmp_path: Path, tiny_random: Path, workers: str) -> None:
    data = write_parquet(tmp_path / "data", ROWS)
    whole = on_two_ranks(data, tmp_path / "whole", workers)
    before = on_two_ranks(data, tmp_path / "cut", workers, kill_at="5")
    after = on_two_ranks(data, tmp_path / "cut", workers, resume="True")
    for rank in (0, 1):
        assert before[rank] == {step: whole[rank][step] for step in map(str, range(1, 6))}
        assert after[rank] == {step: whole[rank][step] for step in map(str, range(4, STEPS + 1))}
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    seen = [source for rank in (0, 1) for sources in whole[rank].values() for source in sources]
    assert len(set(seen)) == ROWS - len(BAD)


def on_two_ranks(data: Path, output: Path, workers: str, kill_at: str = "", resume: str = "") -> list[Any]:
    """Sources of each step on each rank, of a run under torchrun."""
    words = {"dataset_name": str(data), "output_dir": str(output), "eval_strategy": "no"} | FLAGS
    words |= {"dataloader_num_workers": workers} | ({"resume_from_checkpoint": resume} if resume else {})
    argv = [word for name, value in words.items() for word in (f"--{name}", value)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    places = [str(ROOT), *(str(ROOT / "tests" / name) for name in (".", "invariant"))]
    seen = output.with_name(f"{output.name}-{kill_at}-{resume}")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "KILL_AT": kill_at, "SEEN": str(seen)}
    done = subprocess.run([*launch, __file__, *argv], env=environment, capture_output=True, text=True, timeout=600)
    assert (done.returncode == 0) != bool(kill_at), done.stderr[-3000:]
    return [json.loads(Path(f"{seen}.{rank}").read_text()) for rank in (0, 1)]


def main() -> None:
    """One rank of :func:`on_two_ranks`."""
    stream.BLOCK_ROWS = 10  # type: ignore[misc]
    patch = pytest.MonkeyPatch()
    create, kill_at = workflow.create_trainer, int(os.environ["KILL_AT"] or 0)
    file = Path(f"{os.environ['SEEN']}.{os.environ['RANK']}")

    class KilledHere(Watch):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            super().on_step_end(args, state, control, **kwargs)
            file.write_text(json.dumps(self.seen))
            if state.global_step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(*args: Any, **kwargs: Any) -> Any:
        trainer = create(*args, **kwargs)
        trainer.add_callback(KilledHere(trainer.stream, None))
        return trainer

    patch.setattr(workflow, "create_trainer", watched)
    workflow.train(*parse_train(sys.argv[1:], "test"))


if __name__ == "__main__":
    main()
