"""A million small line images, as parquet and as tar shards: time to the first step, peak memory, rows a second.

    python -m benchmarks.million make --output million --rows 1000000
    python -m benchmarks.million measure --data million/parquet
    python -m benchmarks.million measure --data million/parquet --streaming
    python -m benchmarks.million measure --data million/tar --streaming --steps 5000 --sample_every 100

``make`` draws 2,000 words as PNGs and gives each row one of them, with bytes of its own behind the image's end and a
text of its own: a million different samples that fit a disk. ``measure`` runs the training workflow on tiny-random in a
process of its own, without evaluation and without a cache of image features, and prints one JSON object: seconds of
wall clock and of processor time from the command to the end of the first step (all processes), the largest resident
memory, and the resident memory along the steps. The caches of a run go to ``--cache``, which is emptied before.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DRAWN = 2_000
ROWS_OF_A_PARQUET_FILE, ROWS_OF_A_GROUP = 100_000, 1_000
ROWS_OF_A_TAR = 50_000
SIZE = (112, 28)  # pixels


def drawn_lines() -> list[tuple[bytes, str]]:
    """PNG and text of each of the ``DRAWN`` lines."""
    from PIL import Image, ImageDraw, ImageFont

    font, lines = ImageFont.load_default(16), []
    for number in range(DRAWN):
        text = f"line {number:04d}"
        image = Image.new("1", SIZE, 1)
        ImageDraw.Draw(image).text((4, 4), text, fill=0, font=font)
        stream = io.BytesIO()
        image.save(stream, "PNG", optimize=True)
        lines.append((stream.getvalue(), text))
    return lines


def samples(rows: int) -> Iterator[tuple[bytes, str]]:
    """Image and text of each row, all different."""
    lines = drawn_lines()
    for row in range(rows):
        image, text = lines[row % DRAWN]
        yield image + struct.pack("<Q", row), f"{text} {row // DRAWN}"


def make_parquet(folder: Path, rows: int) -> None:
    """Parquet files with an image column as ``datasets`` writes it, in row groups of a thousand."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    made, files = samples(rows), -(-rows // ROWS_OF_A_PARQUET_FILE)
    for number in range(files):
        name = folder / f"train-{number:05d}-of-{files:05d}.parquet"
        with pq.ParquetWriter(name, features.arrow_schema) as writer:
            left = min(ROWS_OF_A_PARQUET_FILE, rows - number * ROWS_OF_A_PARQUET_FILE)
            for start in range(0, left, ROWS_OF_A_GROUP):
                some = [next(made) for _ in range(min(ROWS_OF_A_GROUP, left - start))]
                table = {"image": [{"bytes": image, "path": None} for image, _ in some], "text": [t for _, t in some]}
                writer.write_table(pa.Table.from_pydict(table, schema=features.arrow_schema))


def make_tar(folder: Path, rows: int) -> None:
    """WebDataset shards: NUMBER.png and NUMBER.txt for each row."""
    folder.mkdir(parents=True)
    made = enumerate(samples(rows))
    for number in range(-(-rows // ROWS_OF_A_TAR)):
        with tarfile.open(folder / f"train-{number:05d}.tar", "w") as archive:
            for _ in range(min(ROWS_OF_A_TAR, rows - number * ROWS_OF_A_TAR)):
                row, (image, text) = next(made)
                for suffix, data in (("png", image), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{row:07d}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
            archive.members = []  # type: ignore[attr-defined]


def child(argv: list[str], sample_every: int) -> None:
    """Train, and print what was measured as the last line of standard output."""
    started = time.time() - (time.monotonic() - float(os.environ["STARTED"]))
    from transformers import TrainerCallback

    from benchmarks.watching import train_watched

    found: dict[str, Any] = {"rss_mib": {}}

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 1:
                found["first_step_s"] = round(time.time() - started, 1)
                found["first_step_cpu_s"] = round(processor_seconds(), 1)
                found["first_step_peak_mib"] = round(peak_mib())
            if sample_every and state.global_step % sample_every == 0:
                found["rss_mib"][state.global_step] = round(rss_mib())

    trainer = train_watched(argv, lambda trainer: trainer.add_callback(Watch()))
    found |= {"steps": trainer.state.global_step, "peak_mib": round(peak_mib())}
    print(json.dumps(found))


def processor_seconds() -> float:
    """Of this process and those that it has ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def rss_mib() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 2**20


def peak_mib() -> float:
    """The most that this process has held; pages of mapped files count, as the system counts them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(args: argparse.Namespace) -> None:
    cache = Path(args.cache or tempfile.mkdtemp(prefix="million-"))
    if not args.warm:
        shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    output = tempfile.mkdtemp(prefix="million-run-")
    argv = ["--dataset_name", args.data, "--model_name", "tiny-random", "--max_steps", str(args.steps)]
    argv += ["--output_dir", output, "--eval_strategy", "no", "--save_strategy", "no", "--report_to", "none"]
    argv += ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1", "--disable_tqdm", "True"]
    argv += ["--cache_vision_features", "off", "--eval_split_size", "0" if args.no_split else "0.1"]
    argv += ["--streaming", "True"] if args.streaming else []
    environment = {"HF_DATASETS_CACHE": str(cache / "datasets"), "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.million", "child", str(args.sample_every), *argv]
    environment["STARTED"] = str(time.monotonic())
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(output, ignore_errors=True)
    if not args.cache:
        shutil.rmtree(cache, ignore_errors=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(json.dumps({"data": args.data, "streaming": args.streaming} | json.loads(done.stdout.splitlines()[-1])))


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[3:], int(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("--output", type=Path, required=True)
    make.add_argument("--rows", type=int, default=1_000_000)
    measured = commands.add_parser("measure")
    measured.add_argument("--data", required=True)
    measured.add_argument("--streaming", action="store_true")
    measured.add_argument("--steps", type=int, default=1)
    measured.add_argument("--sample_every", type=int, default=0)
    measured.add_argument("--no_split", action="store_true", help="hold nothing back for evaluation")
    measured.add_argument("--cache", help="folder for the caches of the run")
    measured.add_argument("--warm", action="store_true", help="keep what an earlier run has left in --cache")
    args = parser.parse_args()
    if args.command == "make":
        make_parquet(args.output / "parquet", args.rows)
        make_tar(args.output / "tar", args.rows)
    else:
        measure(args)


if __name__ == "__main__":
    main()
