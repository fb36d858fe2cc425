"""Whether the hub can be reached, without asking it."""

from __future__ import annotations

import pytest

from glm_ocr_finetune import network


@pytest.fixture
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "getproxies", dict)


@pytest.mark.usefixtures("_no_proxy")
def test_a_name_of_this_machine_resolves_and_one_that_cannot_exist_does_not() -> None:
    assert network.hub_resolves("http://localhost:8080")
    assert not network.hub_resolves("https://hub.invalid")  # RFC 6761: never resolves


def test_a_proxy_resolves_names_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert network.hub_resolves("https://hub.invalid")
