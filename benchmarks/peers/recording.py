"""What every runner shares: its arguments, and the record of its steps. Needs nothing but transformers.

A runner trains on the first ``steps x batch_size`` rows of ``DATA/manifest.jsonl`` and writes JSON lines:

    {"event": "begin", "seconds": ..., "resident_gb": ...}       training starts; seconds since the process did
    {"event": "step", "step": 1, "epoch": 1, "seconds": ..., "cumulative_seconds": ..., "samples": 4,
     "tokens": ..., "slots": ...}                                one optimizer step
    {"event": "end", "peak_gb": ..., "major_faults": ...,
     "seconds": ...}                                             training is over, nothing is saved yet

The seconds of a step reach from the end of the step before, so they hold the loading of its batch. ``slots`` are
the positions that the language model computes, ``tokens`` those that are not padding. ``peak_gb`` is the largest
resident memory between begin and end; it is counted anew at the beginning where Linux allows that, so that the
loading of the weights does not hide it. ``major_faults`` are the pages that were read from the disk in that time:
many of them mean that the memory was full. With ``--count_flops`` a step also has its ``flops``, those of everything
since the step before; that takes time, so the seconds of such a run mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTED = time.monotonic()


def parse_arguments(description: str) -> tuple[argparse.Namespace, list[str]]:
    """The arguments that all runners take, and the others as they were given; sets the number of threads.

    To be called before torch is imported.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl: image, text")
    parser.add_argument("--model", required=True, help="checkpoint directory, in fp32")
    parser.add_argument("--mode", choices=("lora", "full"), required=True)
    parser.add_argument("--record", type=Path, required=True, help="the JSON lines go here")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for whatever the trainer writes")
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps an epoch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--count_flops", action="store_true", help="count multiplications and additions of each step")
    args, rest = parser.parse_known_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return args, rest


def read_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows to train on."""
    lines = (args.data / "manifest.jsonl").read_text().splitlines()
    wanted = args.steps * args.batch_size
    if len(lines) < wanted:
        raise SystemExit(f"{args.data} has {len(lines)} rows; {args.steps} steps of {args.batch_size} need {wanted}")
    return [json.loads(line) for line in lines[:wanted]]


def resident_gb(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process in GB, from /proc."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / 1e9 if found else float("nan")


def major_faults() -> int:
    """Pages that this process had to read from the disk so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def count_tokens(inputs: dict[str, Any]) -> tuple[int, int]:
    """Samples of a batch, and its tokens that are not padding. A sample has one image."""
    return len(inputs["image_grid_thw"]), int(inputs["attention_mask"].sum())


def flop_counter() -> Any:
    """A counter that knows what torch's own leaves out: attention kernels of the CPU, and ``addmm_`` (TRL's head)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    def forward(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return sdpa_backward_flop_count(grad, query, key, value)

    def add_product(sum_: Any, left: Any, right: Any, *args: Any, **kwargs: Any) -> int:
        return 2 * left[0] * left[1] * right[1]

    kernels = torch.ops.aten
    mapping = {
        kernels.addmm_: add_product,
        kernels._scaled_dot_product_flash_attention_for_cpu: forward,
        kernels._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def recorder(args: argparse.Namespace) -> Any:
    """A callback for any ``transformers.Trainer`` that writes the record to ``args.record``.

    To be made as early as possible: FLOPs are counted from then on.
    """
    from transformers import Trainer, TrainerCallback

    flops = flop_counter() if args.count_flops else None

    class Recorder(TrainerCallback):
        def __init__(self) -> None:
            self.epoch, self.samples, self.tokens, self.slots, self.flops = 0, 0, 0, 0, 0
            self.faults, self.begin, self.last = 0, time.monotonic(), time.monotonic()

        def count(self, inputs: dict[str, Any]) -> None:
            samples, tokens = count_tokens(inputs)
            self.samples, self.tokens = self.samples + samples, self.tokens + tokens

        def count_slots(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            rows, length, _ = kwargs["inputs_embeds"].shape
            self.slots += rows * length

        def on_train_begin(self, *args: Any, model: Any, **kwargs: Any) -> None:
            (text,) = (module for name, module in model.named_modules() if name.endswith("model.language_model"))
            text.register_forward_pre_hook(self.count_slots, with_kwargs=True)
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to what is resident now
            self.faults = major_faults()
            self.begin = self.last = time.monotonic()
            write(event="begin", seconds=self.begin - STARTED, resident_gb=resident_gb("VmRSS"))

        def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
            self.epoch += 1

        def on_step_end(self, arguments: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now = time.monotonic()
            write(
                event="step",
                step=state.global_step,
                epoch=self.epoch,
                seconds=now - self.last,
                cumulative_seconds=now - self.begin,
                samples=self.samples,
                tokens=self.tokens,
                slots=self.slots,
                **({"flops": flops.get_total_flops() - self.flops} if flops else {}),
            )
            self.flops = flops.get_total_flops() if flops else 0
            self.last, self.samples, self.tokens, self.slots = now, 0, 0, 0

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            if flops:
                flops.__exit__(None, None, None)
            faults = major_faults() - self.faults
            write(event="end", peak_gb=resident_gb("VmHWM"), major_faults=faults, seconds=time.monotonic() - STARTED)

    def write(**row: Any) -> None:
        with args.record.open("a") as handle:
            handle.write(json.dumps(row) + "\n")

    args.record.unlink(missing_ok=True)
    if flops:
        flops.__enter__()
    callback = Recorder()
    _count_batches(Trainer, callback.count)
    return callback


def _count_batches(trainer_class: Any, count: Callable[[dict[str, Any]], None]) -> None:
    """Have every training step of ``trainer_class`` show its batch to ``count``."""
    training_step = trainer_class.training_step

    def counted(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        count(inputs)
        return training_step(self, model, inputs, *args, **kwargs)

    trainer_class.training_step = counted
