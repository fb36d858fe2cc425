"""Is the memory that ``--plan`` expects what training takes? On a CPU, in fp32, part by part.

    python -m benchmarks.memory --model full-size --data DATA

``--model`` is a checkpoint directory, for instance the full-size architecture with random weights; DATA is a folder
with ``manifest.jsonl`` (``image``, ``text``). Each mode trains a few steps in a process of its own. "peak" is the
largest resident memory of that process less what it had before the model was loaded; the other parts are added up
from its tensors. Full fine-tuning at full size needs about 15 GB: run it with nothing large beside it.
``python -m benchmarks.gpu`` does the same on a GPU.

The C library keeps a part of what is freed; ``MALLOC_MMAP_THRESHOLD_=1000000`` in the environment makes glibc give it
back, which shows the peak of the tensors alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .peers.running import ROOT
from .watching import train_watched

MODES: dict[str, list[str]] = {
    "lora": ["--use_lora", "True"],
    "lora-checkpointing": ["--use_lora", "True", "--gradient_checkpointing", "True"],
    "full": [],
    "full-checkpointing": ["--gradient_checkpointing", "True"],
}


def resident(field: str) -> int:
    """Bytes of ``VmRSS`` (now) or ``VmHWM`` (the most so far) of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def watch_parts(trainer: Any, counted: int | None = None) -> dict[str, Any]:
    """The bytes of each part of a training, which fill in while the trainer trains.

    Args:
        counted: the number of batches, from the first, whose activations are added up; all of them when None.

    Returns:
        trained, frozen, gradients, optimizer, activations (the most of any batch): bytes; batches: tokens, image
        tokens and labels of each.
    """
    from glm_ocr_finetune.inputs.prompt import IGNORED
    from glm_ocr_finetune.planning.memory import saved_bytes

    found: dict[str, Any] = {"batches": [], "activations": 0}
    found["trained"] = sum(p.nbytes for p in trainer.model.parameters() if p.requires_grad)
    found["frozen"] = sum(p.nbytes for p in trainer.model.parameters() if not p.requires_grad)
    compute_loss = trainer.compute_loss

    def look(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        tokens, labels = int(inputs["attention_mask"].sum()), int((inputs["labels"] != IGNORED).sum())
        found["batches"].append((tokens, int(inputs["mm_token_type_ids"].sum()), labels))
        if counted is not None and len(found["batches"]) > counted:
            return compute_loss(model, inputs, *args, **kwargs)
        results: list[Any] = []
        kept = saved_bytes(lambda: results.append(compute_loss(model, inputs, *args, **kwargs)), model)
        found["activations"] = max(found["activations"], kept)
        return results[0]

    trainer.compute_loss = look
    trainer.add_callback(_states(found))
    return found


def _states(found: dict[str, Any]) -> Any:
    """A callback that adds up gradients and optimizer states."""
    import torch
    from transformers import TrainerCallback

    class States(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            found["gradients"] = sum(p.grad.nbytes for p in kwargs["model"].parameters() if p.grad is not None)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            states = kwargs["optimizer"].state.values()
            found["optimizer"] = sum(v.nbytes for s in states for v in s.values() if torch.is_tensor(v))

    return States()


def measure(argv: list[str]) -> dict[str, Any]:
    """Train as ``argv`` says; what was there of each part, and the peak, in bytes."""
    import torch

    import glm_ocr_finetune.train  # noqa: F401  # what it takes itself is there before

    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    before = resident("VmRSS")
    train_watched(argv, lambda trainer: found.append(watch_parts(trainer)))
    return found[0] | {"peak": resident("VmHWM") - before, "before": before}


def run(mode: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure ``mode`` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, object] = {
            "model_name": args.model,
            "dataset_name": Path(args.data).resolve(),
            "max_samples": args.batch_size * 2,
            "eval_split_size": 0,
            "per_device_train_batch_size": args.batch_size,
            "gradient_accumulation_steps": 1,
            "max_steps": args.steps,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "cache_vision_features": "memory",
            "output_dir": folder,
        }
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        record = Path(folder) / "record.json"
        command = [sys.executable, "-m", "benchmarks.memory", "--measure", str(record), *words, *MODES[mode]]
        subprocess.run(command, check=True, cwd=ROOT)
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return found


@functools.cache
def estimate(model: str, lora_rank: int | None, on_gpu: bool) -> Any:
    """What the memory model counts for a checkpoint, with vision tower and projector frozen."""
    from glm_ocr_finetune.model.loading import load_config, resolve_model_path
    from glm_ocr_finetune.model.parts import PARTS
    from glm_ocr_finetune.planning.memory import Estimate, Method

    frozen = tuple(part for part in PARTS if part != "language model")
    return Estimate(load_config(resolve_model_path(model)), Method(frozen, lora_rank, on_gpu=on_gpu))


def predict(mode: str, args: argparse.Namespace, batches: list[list[int]]) -> Any:
    """What the memory model says of the batch with the most tokens."""
    from glm_ocr_finetune.planning.memory import Batch, Saving

    counted = estimate(args.model, 8 if "lora" in mode else None, on_gpu=False)
    return counted.memory(Batch(*max(batches)), Saving(gradient_checkpointing="checkpointing" in mode))


def report(mode: str, args: argparse.Namespace) -> None:
    """Print expected and measured bytes of each part of ``mode``, in GB."""
    found = run(mode, args)
    memory = predict(mode, args, found["batches"])
    expected = memory.by_part | {"peak": memory.peak - memory.overhead}
    print(
        f"\n{mode}: {args.steps} steps of {args.batch_size} samples, the largest of {max(found['batches'])[0]} tokens"
    )
    print(f"{'part':12} {'expected':>9} {'measured':>9}   GB; peak when {memory.peak_moment}")
    for name, value in expected.items():
        if name != "overhead":
            seen = f"{found[name] / 1e9:9.2f}" if name in found else f"{'':>9}"
            print(f"{name:12} {value / 1e9:9.2f} {seen}")
    print(f"expected / measured: {expected['peak'] / found['peak']:.3f}", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        record, *argv = sys.argv[2:]
        Path(record).write_text(json.dumps(measure(argv)), encoding="utf-8")
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["lora", "full"])
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    if Path(args.model).is_dir():
        args.model = str(Path(args.model).resolve())
    for mode in args.modes:
        report(mode, args)


if __name__ == "__main__":
    main()
