"""The arithmetic of scaling, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from benchmarks import scaling
from benchmarks.scaling import FULL, MEASURED, NETWORK, NVLINK, Volume, communication_s, efficiency, longest, volumes


@pytest.fixture
def no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "LATENCY_S", {"inside": 0.0, "outside": 0.0})


@pytest.mark.usefixtures("no_latency")
def test_a_ring_sends_twice_the_bytes_less_the_own_share() -> None:
    gigabyte = Volume(all_reduced=1e9)
    assert communication_s(gigabyte, 1) == 0
    assert communication_s(gigabyte, 2) == pytest.approx(2e9 / 2 / NVLINK)
    assert communication_s(gigabyte, 8) == pytest.approx(2e9 * 7 / 8 / NVLINK)
    two_nodes = 2e9 * 7 / 8 / NVLINK + 2e9 / 8 / 2 / NETWORK
    assert communication_s(gigabyte, 16) == pytest.approx(two_nodes)


@pytest.mark.usefixtures("no_latency")
def test_full_sharding_sends_what_the_paper_says() -> None:
    """In one type of number: 2 of the weights for DDP and ZeRO-2, 3 for ZeRO-3 (all of them a gather or a scatter)."""
    one_type = {"all_reduced": 1.0, "gathered": 0.0}
    ddp = communication_s(Volume(**one_type), 8)
    zero_2 = communication_s(Volume(gathered=1.0, scattered=1.0), 8)
    zero_3 = communication_s(Volume(gathered=2.0, scattered=1.0), 8)
    assert zero_2 == pytest.approx(ddp)
    assert zero_3 == pytest.approx(1.5 * ddp)


def test_volumes_are_of_the_trained_weights() -> None:
    full, lora = (volumes(step) for step in (MEASURED[0], MEASURED[2]))
    assert full["DDP"].all_reduced == 4 * FULL
    assert lora["DDP"].all_reduced == 4 * 3_735_552
    assert lora["FSDP2, ZeRO-3"].gathered > 2 * 2 * FULL, "sharding gathers the frozen language model as well"


def test_the_longest_of_many_batches_is_what_extreme_values_say() -> None:
    assert longest(1, 0.1) == pytest.approx(1, abs=0.01)
    assert longest(2, 0.1) == pytest.approx(1 + 0.1 / 3.14159**0.5, abs=0.01)  # E[max of 2 normals] = sd / sqrt(pi)


def test_more_gpus_are_never_better_than_linear_and_hiding_helps() -> None:
    for step in MEASURED:
        for mode in volumes(step):
            for gpus in (2, 8, 64, 512):
                low, high = (efficiency(step, mode, gpus, hidden) for hidden in (False, True))
                assert 0 < low <= high < 1
