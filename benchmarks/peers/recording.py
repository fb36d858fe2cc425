"""What every runner shares: its settings, and the record of its steps. Needs nothing but transformers.

A runner trains on the first ``steps x batch_size`` rows of ``DATA/manifest.jsonl`` and writes JSON lines:

    {"event": "begin", "seconds": ..., "resident_gb": ...}       training starts; seconds since the process did
    {"event": "step", "step": 1, "epoch": 1, "seconds": ..., "cumulative_seconds": ..., "samples": 4,
     "tokens": ..., "slots": ...}                                one optimizer step
    {"event": "end", "peak_gb": ..., "major_faults": ...,
     "seconds": ...}                                             training is over, nothing is saved yet

The seconds of a step reach from the end of the step before, so they hold the loading of its batch; on a GPU its work
is waited for. ``slots`` are the positions that the language model computes, ``tokens`` those that are not padding.
``peak_gb`` is the largest resident memory between begin and end, or what was allocated on the GPU at most; it is
counted anew at the beginning where Linux allows that, so that the loading of the weights does not hide it.
``major_faults`` are the pages that were read from the disk in that time: many of them mean that the memory was full.
With ``--count_flops`` a step also has its ``flops``, those of everything since the step before; that takes time, so
the seconds of such a run mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

STARTED = time.monotonic()


@dataclass(frozen=True)
class Settings:
    """What all runners take.

    Attributes:
        data: folder with manifest.jsonl: image, text.
        model: checkpoint directory; in fp32 on a CPU.
        mode: ``lora`` or ``full``.
        record: the JSON lines go here.
        scratch: folder for whatever the trainer writes.
        steps: optimizer steps an epoch.
        device: ``cpu``, in fp32, or ``cuda``, in bf16 autocast with gradient checkpointing, the default of all there.
        count_flops: count multiplications and additions of each step.
    """

    data: Path
    model: str
    mode: str
    record: Path
    scratch: Path
    steps: int = 4
    epochs: int = 1
    batch_size: int = 4
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    count_flops: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def argv(self) -> list[str]:
        """The settings as they are typed."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "count_flops"}
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return [*words, "--count_flops"] if self.count_flops else words


def parse_settings(description: str) -> tuple[Settings, list[str]]:
    """The settings that were typed, and the other arguments as they were given; sets threads and devices.

    To be called before torch is imported.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind in {"data": Path, "model": str, "record": Path, "scratch": Path}.items():
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--mode", choices=("lora", "full"), required=True)
    for name in ("steps", "epochs", "batch_size", "seed", "threads"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name))
    parser.add_argument("--device", choices=("cpu", "cuda"), default=Settings.device)
    parser.add_argument("--count_flops", action="store_true")
    args, rest = parser.parse_known_args()
    settings = Settings(**vars(args))
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if not settings.on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return settings, rest


def read_rows(settings: Settings) -> list[dict[str, Any]]:
    """The rows to train on."""
    lines = (settings.data / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = settings.steps * settings.batch_size
    if len(lines) < wanted:
        raise SystemExit(
            f"{settings.data} has {len(lines)} rows; {settings.steps} steps of {settings.batch_size} need {wanted}"
        )
    return [json.loads(line) for line in lines[:wanted]]


def resident_gb(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process in GB, from /proc."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
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
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    def backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return int(sdpa_backward_flop_count(grad, query, key, value))  # type: ignore[no-untyped-call]

    def add_product(sum_: Any, left: Any, right: Any, *args: Any, **kwargs: Any) -> int:
        return 2 * left[0] * left[1] * right[1]

    kernels = torch.ops.aten
    mapping = {
        kernels.addmm_: add_product,
        kernels._scaled_dot_product_flash_attention_for_cpu: forward,
        kernels._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


class Recorder:
    """What is counted between two steps, and the clock; see the top of this file for what is written."""

    def __init__(self, settings: Settings, flops: Any) -> None:
        self.settings, self.flops = settings, flops
        self.epoch = self.samples = self.tokens = self.slots = self.counted = self.faults = 0
        self.start = self.last = time.monotonic()

    def count(self, inputs: dict[str, Any]) -> None:
        samples, tokens = count_tokens(inputs)
        self.samples, self.tokens = self.samples + samples, self.tokens + tokens

    def count_slots(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        rows, length, _ = kwargs["inputs_embeds"].shape
        self.slots += rows * length

    def begin(self, model: Any) -> None:
        (text,) = (module for name, module in model.named_modules() if name.endswith("model.language_model"))
        text.register_forward_pre_hook(self.count_slots, with_kwargs=True)
        with contextlib.suppress(OSError):
            # sets VmHWM back to what is resident now
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        self.faults = major_faults()
        self.start = self.last = self._now()
        self._reset_peak()
        self.write(event="begin", seconds=self.start - STARTED, resident_gb=resident_gb("VmRSS"))

    def step(self, number: int) -> None:
        now, total = self._now(), self.flops.get_total_flops() if self.flops else 0
        self.write(
            event="step",
            step=number,
            epoch=self.epoch,
            seconds=now - self.last,
            cumulative_seconds=now - self.start,
            samples=self.samples,
            tokens=self.tokens,
            slots=self.slots,
            **({"flops": total - self.counted} if self.flops else {}),
        )
        self.last, self.counted = now, total
        self.samples = self.tokens = self.slots = 0

    def end(self) -> None:
        faults = major_faults() - self.faults
        self.write(event="end", peak_gb=self._peak_gb(), major_faults=faults, seconds=time.monotonic() - STARTED)

    def write(self, **row: Any) -> None:
        with self.settings.record.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")

    def _now(self) -> float:
        if self.settings.on_gpu:
            import torch

            torch.cuda.synchronize()
        return time.monotonic()

    def _reset_peak(self) -> None:
        if self.settings.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def _peak_gb(self) -> float:
        if not self.settings.on_gpu:
            return resident_gb("VmHWM")
        import torch

        return torch.cuda.max_memory_allocated() / 1e9


@contextlib.contextmanager
def recording(settings: Settings) -> Iterator[Any]:
    """A callback for any ``transformers.Trainer`` that writes the record to ``settings.record``.

    To be entered as early as possible: FLOPs are counted from then on.
    """
    from transformers import Trainer, TrainerCallback

    settings.record.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        flops = stack.enter_context(flop_counter()) if settings.count_flops else None
        recorder = Recorder(settings, flops)
        stack.enter_context(_counted_batches(Trainer, recorder.count))

        class Record(TrainerCallback):  # type: ignore[misc, unused-ignore]
            def on_train_begin(self, *args: Any, model: Any, **kwargs: Any) -> None:
                recorder.begin(model)

            def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
                recorder.epoch += 1

            def on_step_end(self, arguments: Any, state: Any, control: Any, **kwargs: Any) -> None:
                recorder.step(state.global_step)

            def on_train_end(self, *args: Any, **kwargs: Any) -> None:
                recorder.end()

        yield Record()


@contextlib.contextmanager
def _counted_batches(trainer_class: Any, count: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Have every training step of ``trainer_class`` show its batch to ``count``."""
    training_step = trainer_class.training_step

    def counted(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        count(inputs)
        return training_step(self, model, inputs, *args, **kwargs)

    trainer_class.training_step = counted
    try:
        yield
    finally:
        trainer_class.training_step = training_step
