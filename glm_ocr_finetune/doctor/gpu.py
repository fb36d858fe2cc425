"""A program: what torch says of the GPUs, as JSON on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch


def gpus() -> dict[str, Any]:
    """``devices``: name, capability, memory in GB and types of each; ``cuda``: what torch was built for."""
    found = [_device(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    other = torch.accelerator.is_available() and not found
    return {
        "devices": found,
        "cuda": torch.version.cuda or torch.version.hip,
        "other": torch.accelerator.current_accelerator().type if other else None,  # type: ignore[union-attr]
        "threads": torch.get_num_threads(),
    }


def _device(index: int) -> dict[str, Any]:
    with torch.cuda.device(index):
        free, total = torch.cuda.mem_get_info()
        return {
            "name": torch.cuda.get_device_name(index),
            "capability": ".".join(map(str, torch.cuda.get_device_capability(index))),
            "free_gb": round(free / 1e9, 1),
            "total_gb": round(total / 1e9, 1),
            "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(gpus()) + "\n")
