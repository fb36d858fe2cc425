"""The machine: GPUs, disk, memory, folders that have to be writable, and whether the hub can be reached."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..args import DEFAULT_MODEL
from ..folders import kept_for_later
from ..network import hub_answers
from .findings import Finding, shown_path
from .fresh import run_module

GB = 10**9
ROOM_GB = 10.0  # the base (2.7 GB), checkpoints of a full run (10 GB each with their optimizer) want more
MEMORY_GB = 8.0
HUB = "https://huggingface.co"


def graphics() -> list[Finding]:
    """The GPUs as torch sees them; a machine without one trains in fp32 on its CPU."""
    outcome = run_module("doctor.gpu")
    if outcome.answer is None:
        return [
            Finding("GPU", f"torch cannot be asked: {outcome.why}", "BROKEN", "pip install --force-reinstall torch")
        ]
    return judged(**outcome.answer, driver=shutil.which("nvidia-smi") is not None)


def judged(
    devices: list[dict[str, Any]], cuda: str | None, other: str | None, threads: int, driver: bool
) -> list[Finding]:
    """What torch says of the GPUs, beside whether NVIDIA's driver is there."""
    built = f"torch for CUDA {cuda}" if cuda else "torch for CPUs"
    if devices:
        return [Finding(f"GPU {index}", f"{_described(one)}; {built}") for index, one in enumerate(devices)]
    if driver:
        index = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cu128"
        mend = "update the NVIDIA driver, or look at CUDA_VISIBLE_DEVICES" if cuda else index
        return [Finding("GPU", f"there is an NVIDIA driver, but torch sees no GPU ({built})", "BROKEN", mend)]
    if other:
        return [Finding("GPU", f"{other}; {built}")]
    return [Finding("GPU", f"none: trains and reads in fp32 on the CPU, threads: {threads}; {built}")]


def _described(one: dict[str, Any]) -> str:
    kind = "bf16" if one["bf16"] else "fp16 (no bf16)"
    memory = f"{one['free_gb']:.1f} of {one['total_gb']:.1f} GB free"
    return f"{one['name']}, capability {one['capability']}, trains in {kind}, {memory}"


def disk_and_memory() -> list[Finding]:
    """Room for checkpoints where one is, and main memory."""
    disk = shutil.disk_usage(Path.cwd())
    room = Finding("disk, here", f"{disk.free / GB:.1f} of {disk.total / GB:.1f} GB free")
    if disk.free < ROOM_GB * GB:
        room = Finding(room.what, room.found, "note", "name an --output_dir on a larger disk")
    return [room, *_memory()]


def _memory() -> list[Finding]:
    try:
        import psutil
    except ImportError:
        return []  # told among the packages
    memory = psutil.virtual_memory()
    found = f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free, {os.cpu_count()} cores"
    small = memory.available < MEMORY_GB * GB
    return [
        Finding("memory", found, "note" if small else "ok", "try --model_name tiny, or free some" if small else None)
    ]


def folders() -> list[Finding]:
    """The caches, which have to be writable, and the folder one is in, where runs go unless told otherwise."""
    places = (
        ("cache of the hub", hub_home(), "HF_HOME"),
        ("cache of this package", kept_for_later("vision").parent, "XDG_CACHE_HOME"),
    )
    found = [
        _writable(name, place, f"export {variable}=FOLDER, one that you can write to")
        for name, place, variable in places
    ]
    return [
        *found,
        _writable("working folder", Path.cwd(), "cd FOLDER, one that you can write to, or name an --output_dir"),
    ]


def hub_home() -> Path:
    """Where the libraries of Hugging Face keep what they download; they say so themselves only once imported."""
    default = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.path.expanduser(os.environ.get("HF_HOME", default)))


def _writable(name: str, place: Path, mend: str) -> Finding:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding(name, f"{shown_path(place)} cannot be written: {error.strerror}", "BROKEN", mend)
    return Finding(name, f"{shown_path(place)}, {shutil.disk_usage(place).free / GB:.1f} GB free")


def hub() -> list[Finding]:
    """Whether the hub answers, and whether the base is here already."""
    endpoint = os.environ.get("HF_ENDPOINT", HUB)
    cached = is_cached(DEFAULT_MODEL)
    base = Finding(DEFAULT_MODEL, "in the cache" if cached else "not in the cache; it is downloaded when it is needed")
    if hub_answers(endpoint):
        return [Finding("hub", f"{endpoint} answers"), base]
    offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else f"{endpoint} does not answer"
    if cached:
        return [Finding("hub", f"{offline}; what is in the cache is used"), base]
    fetch = f"`hf download {DEFAULT_MODEL} --local-dir FOLDER` where there is a network, then --model_name FOLDER"
    return [Finding("hub", offline, "note"), Finding(DEFAULT_MODEL, "not in the cache", "note", fetch)]


def is_cached(model: str) -> bool:
    """Whether a model of the hub was downloaded."""
    cache = Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE", hub_home() / "hub")))
    return any((cache / f"models--{model.replace('/', '--')}" / "snapshots").glob("*/config.json"))
