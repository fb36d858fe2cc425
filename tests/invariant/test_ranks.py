"""Two processes do what one does: the same batches, the same losses, one cache on disk between them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_ocr_finetune.training.checkpoints import damage

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "glm_ocr_finetune" / "assets" / "demo"
SHARED = ("--fsdp", "True", "--ddp_timeout", "60")  # ranks that wait for each other fail instead


def losses(output: Path, cache: Path, ranks: int, *flags: str, name: str = "loss") -> list[float]:
    """Run finetune.py under torchrun; the losses of its steps, or another figure that is logged."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    arguments = {
        "dataset_name": str(DEMO),
        "model_name": "tiny",
        "output_dir": str(output),
        "max_samples": "30",
        "eval_strategy": "no",
        "report_to": "none",
        "logging_steps": "1",
        "learning_rate": "2e-4",
        "num_train_epochs": "2",
        "gradient_accumulation_steps": str(2 // ranks),
    }
    words = [word for key, value in arguments.items() for word in (f"--{key}", value)]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(ROOT / "finetune.py"), *words, *flags], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [row[name] for row in history if name in row]


@pytest.mark.slow
def test_a_spike_is_one_step_with_all_its_rows_for_ranks_and_accumulation(tmp_path: Path) -> None:
    """Eight labels of signs in the 41st step of eight samples: the rows of both ranks and both batches are named."""
    rows = [json.loads(line) for line in (DEMO / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    draw = random.Random(2)
    for index in range(320, 328):
        rows[index]["text"] = "".join(draw.choices("#@&%$§+*{}[]<>~^|", k=60))
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    flags = ["--dataset_name", str(data), "--image_folder", str(DEMO), "--max_samples", "400", "--max_steps", "44"]
    flags += ["--train_sampling_strategy", "sequential", "--learning_rate", "5e-4"]
    found = {}
    for ranks, size, accumulation in ((1, 8, 1), (2, 2, 2)):
        sizes = ["--per_device_train_batch_size", str(size), "--gradient_accumulation_steps", str(accumulation)]
        output = tmp_path / f"of-{ranks}"
        losses(output, tmp_path / f"cache-{ranks}", ranks, *flags, *sizes)
        (line,) = (output / "spikes.jsonl").read_text(encoding="utf-8").splitlines()
        found[ranks] = json.loads(line)
        assert (output / "spike-41.svg").is_file()
    assert found[1]["step"] == found[2]["step"] == 41
    assert found[1]["rows"] == found[2]["rows"] == [f"train.jsonl:{number}" for number in range(321, 329)]
    assert found[2]["norm"] == pytest.approx(found[1]["norm"], rel=1e-5)


# An even number of batches: of an odd one, two ranks repeat the first, where one process ends with half a step.
@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--tokens_per_batch", "310"), ("--train_sampling_strategy", "group_by_length")])
def test_two_ranks_give_the_losses_of_one(tmp_path: Path, flags: tuple[str, ...]) -> None:
    one = losses(tmp_path / "one", tmp_path / "cache-1", 1, *flags)
    two = losses(tmp_path / "two", tmp_path / "cache-2", 2, *flags)
    assert len(one) >= 8
    assert two == pytest.approx(one, rel=1e-4)
    (collection,) = (tmp_path / "cache-2" / "glm-ocr-finetune" / "vision").iterdir()
    assert len(list(collection.glob("??/*.safetensors"))) == 30  # each image once, whichever rank saw it first
    assert not (tmp_path / "cache-1" / "glm-ocr-finetune" / "vision").exists()  # one process keeps it in memory


EVERY_PART = ("--freeze_vision_tower", "False", "--freeze_multi_modal_projector", "False")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (EVERY_PART, "loss"),
        ((*EVERY_PART, "--use_lora", "True"), "loss"),
        (("--padding_free", "False"), "loss"),
        (("--mtp", "train"), "mtp_loss"),
        (("--mtp", "train", "--use_lora", "True"), "mtp_loss"),
    ],
)
def test_two_ranks_train_whatever_one_trains(tmp_path: Path, flags: tuple[str, ...], name: str) -> None:
    """No rank waits for a gradient that another has not: DDP does not look for weights without one."""
    one = losses(tmp_path / "one", tmp_path / "cache-1", 1, *flags, name=name)
    two = losses(tmp_path / "two", tmp_path / "cache-2", 2, *flags, name=name)
    assert len(one) >= 8
    assert two == pytest.approx(one, rel=1e-3)


@pytest.mark.slow
def test_ranks_that_share_weights_may_have_different_numbers_of_images_to_encode(tmp_path: Path) -> None:
    """One rank waited for the other in the tower, and the other for it to say how often it would run."""
    flags = ("--train_sampling_strategy", "sequential", "--cache_vision_features", "disk", "--num_train_epochs", "1")
    whole = losses(tmp_path / "whole", tmp_path / "empty", 1, *flags)
    half = ("--max_samples", "13", "--max_steps", "2")  # the second rank then finds one image of its batch, or none
    losses(tmp_path / "half", tmp_path / "cache", 1, *flags, *half)
    shared = losses(tmp_path / "shared", tmp_path / "cache", 2, *flags, *SHARED)
    assert shared == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_ranks_that_share_weights_may_read_different_numbers_of_samples(tmp_path: Path) -> None:
    """Five samples in batches of two: the first rank generates once more than the second."""
    judged = ("--max_samples", "20", "--eval_split_size", "0.25", "--eval_strategy", "steps", "--eval_steps", "1")
    flags = (
        *judged,
        "--max_steps",
        "2",
        "--per_device_eval_batch_size",
        "2",
        "--train_sampling_strategy",
        "sequential",
    )
    found = {}
    for ranks, sharding in ((1, ()), (2, SHARED)):
        output = tmp_path / str(ranks)
        read = losses(output, tmp_path / f"cache-{ranks}", ranks, *flags, *sharding, name="eval_cer")
        history = json.loads((output / "trainer_state.json").read_text())["log_history"]
        found[ranks] = read, [row["eval_loss"] for row in history if "eval_loss" in row]
    assert found[2][0] == pytest.approx(found[1][0])
    assert found[2][1] == pytest.approx(found[1][1], rel=1e-5)


@pytest.mark.slow
def test_two_ranks_judge_as_one(tmp_path: Path) -> None:
    """Base and saved files are read by both, each its share; and both evaluate at the same steps."""
    judged = ("--eval_strategy", "steps", "--eval_split_size", "0.4", "--num_train_epochs", "6", "--max_steps", "16")
    for ranks in (1, 2):
        losses(tmp_path / str(ranks), tmp_path / f"cache-{ranks}", ranks, *judged)
    one, two = (json.loads((tmp_path / str(ranks) / "summary.json").read_text("utf-8")) for ranks in (1, 2))
    assert one["base"] == two["base"]
    assert one["samples"] == two["samples"] > 6
    assert one["tuned"]["corpus_cer"] == pytest.approx(two["tuned"]["corpus_cer"], abs=0.05)
    for ranks in (1, 2):
        schedule = json.loads((tmp_path / str(ranks) / "evaluation" / "schedule.json").read_text("utf-8"))
        assert schedule["eval_steps"] >= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_to_one_rank_saves_a_checkpoint_on_all_and_ends_them(tmp_path: Path, name: str) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(ROOT / "finetune.py")]
    words = ["--model_name", "tiny", "--dataset_name", str(DEMO), "--max_samples", "8", "--output_dir", str(tmp_path)]
    words += ["--max_steps", "5000", "--save_strategy", "no", "--eval_strategy", "no", "--report_to", "none"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("w") as log:
        group = subprocess.Popen(
            [sys.executable, *launch, *words, "--logging_steps", "1"], env=environment, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: "  loss " in (tmp_path / "log").read_text(), group)
        ranks = [int(pid) for pid in Path(f"/proc/{group.pid}/task/{group.pid}/children").read_text().split()]
        os.kill(ranks[-1], getattr(signal, name))
        assert group.wait(timeout=120) != 0
    finally:
        group.kill()
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    assert {path.name for path in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert damage(checkpoint) is None
    assert "continue with --resume_from_checkpoint" in (tmp_path / "log").read_text()


def wait_for(seen: Callable[[], bool], group: subprocess.Popen[bytes]) -> None:
    """Until something is seen; fails when the processes end before, or after five minutes."""
    for _ in range(600):
        if seen():
            return
        assert group.poll() is None, "ended too early"
        time.sleep(0.5)
    raise AssertionError("nothing was seen in five minutes")
