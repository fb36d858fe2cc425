"""Reading with servers: what is sent, how many requests at once, retries, servers that die and come back."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from drawing import draw_line
from PIL import Image

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import ImageError
from glm_ocr_finetune.reading import servers as module
from glm_ocr_finetune.reading.results import Answer
from glm_ocr_finetune.reading.scans import Scan
from glm_ocr_finetune.reading.servers import ServerError, Servers, check, options_for

Behaviour = Callable[[dict[str, Any]], tuple[int, Any]]


@contextmanager
def serving(behave: Behaviour, port: int = 0) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers chat completions as ``behave`` says, and the bodies that it was sent."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "tuned"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            self._send(*behave(body))

        def _send(self, code: int, reply: Any) -> None:
            data = json.dumps(reply).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    finally:
        server.shutdown()
        server.server_close()


def picture_of(body: dict[str, Any]) -> Image.Image:
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))


def answer_by_width(body: dict[str, Any]) -> tuple[int, Any]:
    text = f"width {picture_of(body).width}"
    return 200, {
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3},
    }


@pytest.fixture
def scans(tmp_path: Path) -> list[Scan]:
    found = []
    for index in range(24):
        draw_line("a", (100 + index, 56)).save(tmp_path / f"{index}.png")
        found.append(Scan(str(index), {"bytes": None, "path": str(tmp_path / f"{index}.png")}, "d"))
    return found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.2)


def test_each_image_goes_out_as_it_is_with_the_prompt(scans: list[Scan]) -> None:
    options = options_for(1.1, "no_think", stop_loops=True)
    with serving(answer_by_width) as (url, bodies):
        found = {scan.id: answer for scan, answer in Servers([url], options=options).read(scans, "Read:", 50)}
    assert {name: answer.text for name, answer in found.items() if isinstance(answer, Answer)} == {
        str(index): f"width {100 + index}" for index in range(24)
    }
    body = next(one for one in bodies if picture_of(one).width == 107)
    assert picture_of(body).convert("L").tobytes() == draw_line("a", (107, 56)).tobytes()
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "Read:"}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tuned", 0, 50)
    assert body["repetition_penalty"] == 1.1
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["repetition_detection"] == {"max_pattern_size": 128, "min_count": 32}
    assert options_for(1.0, "serve", stop_loops=False) == {}


def test_no_more_requests_at_once_than_asked_for_and_images_are_opened_just_ahead(scans: list[Scan]) -> None:
    at_once, most, lock = 0, 0, threading.Lock()
    taken: list[int] = []

    def slowly(body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        return answer_by_width(body)

    def counted() -> Iterator[Scan]:
        for index, scan in enumerate(scans):
            taken.append(index)
            yield scan

    with serving(slowly) as (url, _):
        answers = Servers([url], concurrency=3).read(counted(), "Read:", 50)
        next(answers)
        assert len(taken) <= 6 + 1
        assert len(list(answers)) == 23
    assert most == 3


def test_an_overloaded_server_is_asked_again_and_a_refusal_is_final(scans: list[Scan]) -> None:
    seen: dict[int, int] = {}

    def moody(body: dict[str, Any]) -> tuple[int, Any]:
        width = picture_of(body).width
        seen[width] = seen.get(width, 0) + 1
        if width == 103:
            return 400, {"error": "image too large"}
        if width == 104:
            return 500, {"error": "bug"}
        return (503, {}) if width % 2 and seen[width] < 4 else answer_by_width(body)

    with serving(moody) as (url, _):
        found = {scan.id: answer for scan, answer in Servers([url]).read(scans, "Read:", 50)}
    assert str(found.pop("3")).endswith('answers 400: {"error": "image too large"}')
    assert seen[103] == 1
    assert isinstance(found.pop("4"), ServerError)
    assert seen[104] == module.MOST_TRIES
    assert all(isinstance(answer, Answer) for answer in found.values())
    assert seen[105] == 4


def test_a_damaged_image_costs_only_its_own_answer(scans: list[Scan], tmp_path: Path) -> None:
    (tmp_path / "5.png").write_bytes(b"no picture")
    with serving(answer_by_width) as (url, _):
        found = {scan.id: answer for scan, answer in Servers([url]).read(scans, "Read:", 50)}
    assert isinstance(found.pop("5"), ImageError)
    assert all(isinstance(answer, Answer) for answer in found.values())


def test_a_server_that_dies_and_comes_back_loses_nothing(scans: list[Scan]) -> None:
    with serving(answer_by_width) as (url, _):
        port = int(url.rpartition(":")[2])
        answers = Servers([url], concurrency=2).read(iter(scans), "Read:", 50)
        found = [next(answers) for _ in range(5)]
    reborn: list[Any] = []

    def come_back() -> None:
        time.sleep(1.0)
        with serving(answer_by_width, port) as (_, bodies):
            reborn.append(bodies)
            while not done.is_set():
                time.sleep(0.05)

    done = threading.Event()
    thread = threading.Thread(target=come_back)
    thread.start()
    found += list(answers)
    done.set()
    thread.join()
    assert sorted(int(scan.id) for scan, _ in found) == list(range(24))
    assert all(isinstance(answer, Answer) for _, answer in found)
    assert reborn[0]


def test_of_two_servers_one_may_be_away(scans: list[Scan]) -> None:
    with serving(answer_by_width) as (url, _):
        servers = Servers(["http://127.0.0.1:9", url])
        check(servers)
        assert len(list(servers.read(scans, "Read:", 50))) == 24


def test_servers_that_stay_away_end_the_run(scans: list[Scan]) -> None:
    servers = Servers(["http://127.0.0.1:9"], model="m", patience=0.5)
    with pytest.raises(UserError, match="tried for 0.5 seconds. What was read is kept: the same command goes on"):
        list(servers.read(scans, "Read:", 50))
    with pytest.raises(UserError, match="no server answers at http://127.0.0.1:9/v1"):
        check(servers)
    with pytest.raises(UserError, match="--server localhost:8000 is no URL"):
        Servers(["localhost:8000"])
