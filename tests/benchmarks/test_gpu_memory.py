"""Peaks at each moment of a step, with an allocator that is told what is taken and given back."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu.memory import Moments


@dataclass
class Allocator:
    """What torch keeps account of on a GPU."""

    now: int = 1000  # left over from an earlier case
    most: int = 1000

    def take(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)

    def reset(self) -> None:
        self.most = self.now


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    told = Allocator()
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: told.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: told.most)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", told.reset)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 3000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (6000, 10_000))
    return told


class Trainer:
    """Three steps whose every moment takes a known number of bytes; the first takes ten times as much."""

    def __init__(self, allocator: Allocator) -> None:
        self.allocator, self.scale, self.callbacks = allocator, 10, []
        self.encoder = SimpleNamespace(features=lambda: self.passing(70))

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def passing(self, size: int) -> None:
        self.allocator.take(size * self.scale)
        self.allocator.take(-size * self.scale)

    def compute_loss(self) -> None:
        self.encoder.features()
        self.allocator.take(200)  # activations
        self.passing(30)

    def training_step(self) -> None:
        self.compute_loss()
        self.passing(40)
        self.allocator.take(-200)

    def tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(None, None, None)

    def train(self) -> None:
        self.allocator.take(500)  # weights
        self.tell("on_train_begin")
        for _ in range(3):
            self.training_step()
            self.passing(5)  # between two moments: the gradients are scaled
            self.tell("on_pre_optimizer_step")
            self.passing(60)
            self.tell("on_optimizer_step")
            self.tell("on_step_end")
            self.scale = 1
        self.tell("on_train_end")


def test_each_moment_has_its_own_peak_from_the_second_step_on(allocator: Allocator) -> None:
    moments, trainer = Moments(), Trainer(allocator)
    moments.attach(trainer)
    trainer.train()
    assert moments.peaks == {
        "images are encoded": 570,
        "forward pass": 730,
        "backward pass": 740,
        "optimizer": 560,
    }
    assert moments.weights == 500
    assert moments.left_by_forward == 200
    assert moments.reserved == 3000
    assert moments.context == 1000  # of 4000 in use, torch holds 3000
