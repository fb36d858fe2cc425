"""Starting an engine as its export says, asking it, and comparing its answers token by token."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINES = Path(os.environ.get("ENGINES", Path(__file__).parents[2] / ".engines"))
STARTED_WITHIN_S = 900
TIE = 0.02  # in log probability: two tokens closer than this are decided by the order of sums in fp32


@dataclass(frozen=True)
class Line:
    """An image, and what the model read of it before it was served."""

    image: Path
    prompt: str
    ids: list[int]
    text: str
    stopped: bool


def command_of(export: Path, *more: str) -> list[str]:
    """The last command that the export has printed, with what this machine needs beside it."""
    last = (
        json.loads((export / "export.json").read_text(encoding="utf-8"))["command"]
        .replace("\\\n", " ")
        .splitlines()[-1]
    )
    return [*shlex.split(last), *more]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], health: str, log: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """A server for as long as the block lasts; what it prints is in ``log``."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | (environment or {}), start_new_session=True
        )
    try:
        _wait(process, health, log)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    end = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(1)
    raise AssertionError(f"not ready: {log.read_text(errors='replace')[-3000:]}")


def ask(server: str, model: str, line: Line, max_tokens: int, **more: Any) -> dict[str, Any]:
    """The first choice of the server's answer; the image is sent without loss."""
    url = "data:image/png;base64," + base64.b64encode(line.image.read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": line.prompt}]
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens} | more
    request = urllib.request.Request(
        f"{server}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return dict(json.load(answer)["choices"][0])
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode(errors="replace")[:1000]) from error


def counter(server: str, name: str) -> float:
    """A counter of ``/metrics``, summed over its labels."""
    with urllib.request.urlopen(f"{server}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


@dataclass
class Tally:
    """Answers compared with what was read before."""

    equal: int = 0
    ties: int = 0
    different: list[str] | None = None

    def __str__(self) -> str:
        return f"{self.equal} the same, {self.ties} parted at a tie, {len(self.different or [])} different"


def without_stop(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    return list(ids[:-1]) if ids and ids[-1] in stops else list(ids)


def compare(tally: Tally, line: Line, found: Sequence[int], gaps: Sequence[float]) -> None:
    """Count an answer; one that parts where the engine itself was undecided (``gaps``: best to next) is a tie."""
    tally.different = tally.different if tally.different is not None else []
    if list(found) == line.ids:
        tally.equal += 1
        return
    where = next(
        (i for i, (one, other) in enumerate(zip(found, line.ids, strict=False)) if one != other),
        min(len(found), len(line.ids)),
    )
    gap = gaps[where] if where < len(gaps) else float("inf")
    if gap < TIE:
        tally.ties += 1
    told = f"{line.image.name} at token {where}, gap {gap:.4f}: {found[where : where + 1]} for {line.ids[where : where + 1]}"
    print(told)
    if gap >= TIE:
        tally.different.append(told)


def gaps_of(choice: dict[str, Any]) -> list[float]:
    """Best against next log probability of each token of an answer."""
    tokens = (choice.get("logprobs") or {}).get("content") or []
    pairs = [sorted((one["logprob"] for one in token["top_logprobs"]), reverse=True)[:2] for token in tokens]
    return [pair[0] - pair[1] if len(pair) == 2 else float("inf") for pair in pairs]
