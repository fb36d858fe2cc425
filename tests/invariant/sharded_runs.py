"""Runs of finetune.py on several processes that share out their weights, and how far each is from one process.

As a script, ``python tests/invariant/sharded_runs.py``, it makes all of them and prints the table of docs/scaling.md.
DeepSpeed may be installed elsewhere: ``DEEPSPEED_PYTHON`` names the interpreter of its virtual environment.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "examples" / "configs"
DEMO = ROOT / "glm_ocr_finetune" / "assets" / "demo"
WITH_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
DEEPSPEED_PYTHON = os.environ.get("DEEPSPEED_PYTHON") or (sys.executable if WITH_DEEPSPEED else "")
SHARDING = {
    "DDP": (),
    "FSDP2": ("--fsdp", "True"),
    "ZeRO-2": ("--deepspeed", str(CONFIGS / "zero2.json")),
    "ZeRO-3": ("--deepspeed", str(CONFIGS / "zero3.json")),
}
TRAINED = {"full": ("--learning_rate", "5e-4"), "LoRA": ("--learning_rate", "3e-3", "--use_lora", "True")}
STEP_SIZE = 16  # samples of a step, in batches of 4: of nine batches, the last step has one


def train(output: Path, trained: str, sharding: str = "DDP", ranks: int = 1, *flags: str) -> Path:
    """Four epochs of 36 lines and an evaluation of 12 after each, each step of 16 samples whatever the ranks."""
    python = DEEPSPEED_PYTHON if sharding.startswith("ZeRO") else sys.executable
    launch = [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    arguments = {
        "dataset_name": str(DEMO),
        "model_name": "tiny",
        "output_dir": str(output),
        "max_samples": "48",
        "eval_split_size": "0.25",
        "eval_strategy": "epoch",
        "num_train_epochs": "4",
        "per_device_train_batch_size": "4",
        "gradient_accumulation_steps": str(STEP_SIZE // 4 // ranks),
        "logging_steps": "1",
        "load_best_model_at_end": "False",
        "report_to": "none",
    }
    words = [word for name, value in arguments.items() for word in (f"--{name}", value)]
    environment = os.environ | {
        "XDG_CACHE_HOME": str(output.parent / "cache"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [*launch, str(ROOT / "finetune.py"), *words, *TRAINED[trained], *SHARDING[sharding], *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    return output


def logged(run: Path, name: str) -> list[float]:
    history = json.loads((run / "trainer_state.json").read_text("utf-8"))["log_history"]
    return [row[name] for row in history if name in row]


def readings(run: Path, name: str) -> list[str]:
    lines = (run / "evaluation" / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["prediction"] for line in lines]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a folder by name."""
    (file,) = (
        folder / name for name in ("model.safetensors", "adapter_model.safetensors") if (folder / name).is_file()
    )
    return load_file(file)


@dataclass(frozen=True)
class Difference:
    """How far a run is from that of one process.

    Attributes:
        loss, gradient: greatest relative difference over the steps, of the loss and of the norm of the gradient.
        evaluation: greatest relative difference of the evaluation loss.
        base_read, tuned_read: readings that differ, of the base and of the saved model.
        weights: greatest difference of a weight of the last checkpoint, over the largest weight of its tensor.
        saved: the same of the saved model, in bf16 steps of the largest.
        same_names: whether names, shapes and types are the same in both, and the table of the model card.
    """

    loss: float
    gradient: float
    evaluation: float
    base_read: int
    tuned_read: int
    weights: float
    saved: float
    same_names: bool


def compare(one: Path, other: Path) -> Difference:
    steps = {name: _relative(logged(one, name), logged(other, name)) for name in ("loss", "grad_norm", "eval_loss")}
    read = {
        name: sum(a != b for a, b in zip(readings(one, name), readings(other, name), strict=True))
        for name in ("base", "tuned")
    }
    last = max(one.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])).name
    pairs = [(tensors(one / part), tensors(other / part)) for part in (last, ".")]
    return Difference(
        loss=steps["loss"],
        gradient=steps["grad_norm"],
        evaluation=steps["eval_loss"],
        base_read=read["base"],
        tuned_read=read["tuned"],
        weights=_of_weights(*pairs[0]),
        saved=_of_weights(*pairs[1]) * 256,  # a bf16 number has 8 bits
        same_names=all(_shapes(a) == _shapes(b) for a, b in pairs) and _trained(one) == _trained(other),
    )


def _relative(expected: list[float], found: list[float]) -> float:
    assert len(expected) == len(found)
    return max(abs(a - b) / abs(a) for a, b in zip(expected, found, strict=True))


def _of_weights(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    both = [(value.float(), found[name].float()) for name, value in expected.items()]
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for a, b in both)


def _trained(run: Path) -> list[str]:
    """What the model card says was trained and frozen."""
    lines = (run / "README.md").read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith(("| trained |", "| frozen |"))]


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(value.shape), value.dtype) for name, value in weights.items()}


def compared(folder: Path, trained: str, sharding: str, ranks: int) -> Difference:
    """The difference of one run; that of one process is made when it is first asked for."""
    return compare(_one(folder, trained), train(folder / f"{trained}-{sharding}-{ranks}", trained, sharding, ranks))


@functools.cache
def _one(folder: Path, trained: str) -> Path:
    return train(folder / f"{trained}-one", trained)


def main() -> None:
    """Print the table."""
    out = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        out(
            "| trained | ranks share | ranks | loss | gradient | evaluation loss | base / tuned readings | fp32 weights |"
        )
        out(" saved, bf16 steps | names, shapes, types |\n|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n")
        for trained in TRAINED:
            for sharding in SHARDING:
                for ranks in (1, 2, 4) if sharding.startswith("ZeRO") else (2, 4):
                    found = compared(Path(folder), trained, sharding, ranks)
                    out(
                        f"| {trained} | {sharding} | {ranks} | {found.loss:.0e} | {found.gradient:.0e} | "
                        f"{found.evaluation:.0e} | {found.base_read} / {found.tuned_read} of 12 | {found.weights:.0e} | "
                        f"{found.saved:.2g} | {'same' if found.same_names else 'DIFFERENT'} |\n"
                    )
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
