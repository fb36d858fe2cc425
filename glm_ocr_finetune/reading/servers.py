"""Reading with servers that speak OpenAI's chat completions (vLLM, SGLang, llama.cpp, transformers serve).

The request is the one that is trained: the image, losslessly encoded, then the prompt; greedy decoding.
"""

from __future__ import annotations

import base64
import http.client
import io
import itertools
import json
import logging
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..inputs.images import ImageError
from .loops import MAX_PATTERN, MIN_COUNT
from .results import Answer
from .scans import Scan

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 30.0  # seconds between two tries
OVERLOADED = (408, 425, 429, 502, 503, 504)
WORTH_A_RETRY = (*OVERLOADED, 409, 500)
MOST_TRIES = 5  # of a request that a server fails on
AHEAD = 2  # images for each request under way that are decoded by then


class ServerError(Exception):
    """A request that failed for good: one line that says why."""


@dataclass
class Servers:
    """Servers of one model, asked in turn.

    Attributes:
        urls: such as ``http://127.0.0.1:8000`` or ``http://host/v1``.
        model: its name there; None takes the first that the server names.
        concurrency: requests under way at once, over all servers.
        timeout: seconds for one request.
        patience: seconds for which a request is tried again while servers are not to be reached or overloaded.
        options: what else is sent, such as ``repetition_penalty``.
    """

    urls: list[str]
    model: str | None = None
    concurrency: int = 16
    timeout: float = 300.0
    patience: float = 600.0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.urls = [_endpoint(url) for url in self.urls]
        self._turn = itertools.cycle(self.urls)
        self._lock = threading.Lock()

    def read(
        self, scans: Iterable[Scan], prompt: str, max_new_tokens: int
    ) -> Iterator[tuple[Scan, Answer | ImageError | ServerError]]:
        """Each scan with its answer, as they come; no more images are open than requests are under way and a few."""
        waiting = iter(scans)
        with ThreadPoolExecutor(self.concurrency) as pool:
            under_way: dict[Future[Answer], Scan] = {}
            try:
                while True:
                    for scan in itertools.islice(waiting, AHEAD * self.concurrency - len(under_way)):
                        future = pool.submit(self.ask, scan, scan.prompt or prompt, max_new_tokens)
                        under_way[future] = scan
                    if not under_way:
                        return
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        yield under_way.pop(future), _result(future)
            finally:
                for future in under_way:
                    future.cancel()

    def ask(self, scan: Scan, prompt: str, max_new_tokens: int) -> Answer:
        """One answer, tried again with growing pauses while the servers are away or overloaded.

        Raises ImageError for an image that cannot be read, ServerError for a request that is refused or never answered.
        """
        start = time.monotonic()
        url = f"data:image/png;base64,{base64.b64encode(_png(scan)).decode('ascii')}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
        body = {
            "model": self._model(),
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": max_new_tokens,
            **self.options,
        }
        asked = time.monotonic()
        reply = self._patiently("/chat/completions", body)
        try:
            choice = reply["choices"][0]
            text, reason = choice["message"]["content"] or "", choice.get("finish_reason")
            tokens = (reply.get("usage") or {}).get("completion_tokens")
        except (KeyError, IndexError, TypeError) as error:
            raise ServerError(f"an answer without a text: {json.dumps(reply)[:200]}") from error
        looped = reason == "repetition"
        return Answer(text, reason == "stop", looped, tokens, time.monotonic() - (asked if tokens else start))

    def _model(self) -> str:
        """The name to ask for; asked of a server once."""
        with self._lock:
            if self.model is None:
                reply = self._patiently("/models", None)
                try:
                    self.model = str(reply["data"][0]["id"])
                except (KeyError, IndexError, TypeError) as error:
                    raise ServerError("the server names no model; give --model") from error
            return self.model

    def _patiently(self, path: str, body: dict[str, Any] | None) -> Any:
        """The reply of a server, tried again with growing pauses.

        Raises:
            ServerError: the request is refused, or fails however often it is tried.
            UserError: no server was to be reached for as long as there was patience.
        """
        deadline, pause, failures = time.monotonic() + self.patience, 0.5, 0
        while True:
            server = next(self._turn)
            try:
                return _exchange(server + path, body, self.timeout)
            except urllib.error.HTTPError as error:
                why = f"{server} answers {error.code}: {_message(error)}"
                failures += error.code not in OVERLOADED
                if error.code not in WORTH_A_RETRY or failures >= MOST_TRIES:
                    raise ServerError(why) from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = f"{server}: {error or type(error).__name__}"
            if time.monotonic() > deadline:
                raise UserError(
                    f"{why}; tried for {self.patience:g} seconds. What was read is kept: the same command goes on"
                )
            logger.debug("tried again: %s", why)
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311: so that not all come back at once
            pause = min(2 * pause, LONGEST_PAUSE)


def options_for(repetition_penalty: float, prompt_format: str, stop_loops: bool) -> dict[str, Any]:
    """What is sent beside image and prompt, as vLLM takes it; only what is not the default."""
    options: dict[str, Any] = {}
    if repetition_penalty != 1.0:
        options["repetition_penalty"] = repetition_penalty
    if prompt_format == "no_think":
        options["chat_template_kwargs"] = {"enable_thinking": False}
    if stop_loops:
        options["repetition_detection"] = {"max_pattern_size": MAX_PATTERN, "min_count": MIN_COUNT}
    return options


def check(servers: Servers) -> None:
    """Raise UserError unless one of the servers answers."""
    for server in servers.urls:
        try:
            _exchange(server + "/models", None, 10.0)
        except urllib.error.HTTPError:
            return
        except (OSError, http.client.HTTPException, ValueError):
            continue
        return
    raise UserError(f"no server answers at {', '.join(servers.urls)} (--server)")


def _endpoint(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise UserError(f"--server {url} is no URL; expected such as http://127.0.0.1:8000")
    plain = url.rstrip("/")
    return plain if plain.endswith("/v1") else f"{plain}/v1"


def _exchange(url: str, body: dict[str, Any] | None, timeout: float) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310: http(s) only
    with urllib.request.urlopen(request, timeout=timeout) as reply:  # noqa: S310
        return json.loads(reply.read())


def _message(error: urllib.error.HTTPError) -> str:
    return " ".join(error.read(400).decode("utf-8", "replace").split()) or str(error.reason)


def _png(scan: Scan) -> bytes:
    stream = io.BytesIO()
    scan.open().save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _result(future: Future[Answer]) -> Answer | ImageError | ServerError:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, (ImageError, ServerError)):
        return error
    raise error
