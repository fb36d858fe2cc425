"""Whether the hub answers: any answer will do, and silence is told at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from glm_ocr_finetune import network

answers = network.hub_answers.__wrapped__  # without its memory


class Closed(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(401)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _as_with_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(network, "getproxies", dict)


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Closed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_refusal_is_an_answer(endpoint: str) -> None:
    assert answers(endpoint)


def test_nobody_there(endpoint: str) -> None:
    assert not answers("https://hub.invalid")  # RFC 6761: never resolves
    assert not answers("http://127.0.0.1:9")


@pytest.mark.parametrize("endpoint", ["https://[", "hub", "http://"])
def test_what_is_no_address_does_not_answer(endpoint: str) -> None:
    assert not answers(endpoint)


def test_a_proxy_that_is_not_there_is_no_network(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(network, "getproxies", lambda: {"http": "http://127.0.0.1:9"})
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert not answers("http://hub.invalid")


def test_offline_means_offline(monkeypatch: pytest.MonkeyPatch, endpoint: str, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not answers(endpoint)
    assert network.only_local(str(tmp_path))
