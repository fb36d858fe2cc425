"""Read a folder of images with Ray Data and a server of your own (vLLM, SGLang), resumable.

    pip install "ray[data]" pydantic aiohttp pillow     # not ray[llm], which pins another vLLM
    python ray_data.py SCANS READINGS http://gpu1:8000 --model MODEL

One server a job: with several servers, start a job for each with --shard 1/4, 2/4 ... and the same READINGS. The same
command goes on where it was killed. READINGS/*.jsonl has a line for each image: its path, and its text or an error.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
from pathlib import Path
from typing import Any

import aiohttp
import ray
from PIL import Image, ImageOps
from ray.data.checkpoint import CheckpointConfig
from ray.data.llm import HttpRequestProcessorConfig, build_processor

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("scans", type=Path)
parser.add_argument("readings", type=Path)
parser.add_argument("server")
parser.add_argument("--model", required=True, help="its name on the server")
parser.add_argument("--prompt", default="Text Recognition:")
parser.add_argument("--max_new_tokens", type=int, default=8192)
parser.add_argument("--shard", default="1/1", help="k/n: every n-th image, from the k-th")
parser.add_argument("--concurrency", type=int, default=16, help="requests under way at once")
args = parser.parse_args()


class Session(aiohttp.ClientSession):
    """Requests start when they are made; by itself the stage sends each after the answer to the one before."""

    def post(self, *given: Any, **named: Any) -> Any:
        return asyncio.ensure_future(super().post(*given, **named))


def request(row: dict[str, Any]) -> dict[str, Any]:
    """The image upright and lossless, then the prompt, decoded greedily: as in training."""
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(row["bytes"]))).convert("RGB")
        image.save(png := io.BytesIO(), "PNG", compress_level=1)
        url, problem = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode(), ""
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        url, problem = "data:,", f"unreadable image: {error}"  # the server refuses it, and the job goes on
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": args.prompt}]
    payload = {
        "model": args.model,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": args.max_new_tokens,
    }
    return {"payload": payload, "bytes": b"", "problem": problem}


def result(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an answer; ``http_response`` is what the server said, refusals too."""
    choices = row["http_response"].get("choices")
    if choices is None or not len(choices):
        error = row["problem"] or str(row["http_response"])[:500]
        return {"path": row["path"], "text": "", "stopped": False, "error": error}
    stopped = choices[0]["finish_reason"] == "stop"
    return {"path": row["path"], "text": choices[0]["message"]["content"] or "", "stopped": stopped, "error": ""}


number, count = map(int, args.shard.split("/"))
files = sorted(str(file.resolve()) for file in args.scans.rglob("*") if file.suffix.lower() in SUFFIXES)
files = files[number - 1 :: count]
if (
    "RAY_ADDRESS" not in os.environ
):  # by itself: the stages wait for each other for ever on fewer than four (named) cores
    ray.init(num_cpus=max(4, os.cpu_count() or 1))
ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(
    id_column="path",
    checkpoint_path=str((args.readings / f"checkpoint-{number}-of-{count}").resolve()),
    delete_checkpoint_on_success=False,
)
config = HttpRequestProcessorConfig(
    url=f"{args.server.rstrip('/')}/v1/chat/completions",
    batch_size=args.concurrency,
    concurrency=1,
    session_factory=Session,
    max_retries=10,  # none by default: one 503 would end the job; the pauses grow from 1 to 512 seconds
)
images = ray.data.read_binary_files(files, include_paths=True, override_num_blocks=max(1, len(files) // 64))
build_processor(config, preprocess=request, postprocess=result)(images).write_json(str(args.readings.resolve()))
