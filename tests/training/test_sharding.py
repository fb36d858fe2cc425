"""Weights that ranks share out are whole while somebody reads with them, and shared out again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from glm_ocr_finetune.training.sharding import part_here, unsharded


@pytest.fixture
def _alone() -> Iterator[None]:
    """A process group of one process."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def sharded() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
    fully_shard(model[0], mesh=mesh)
    fully_shard(model[1], mesh=mesh, reshard_after_forward=False)
    fully_shard(model, mesh=mesh)
    return model


@pytest.mark.usefixtures("_alone")
def test_whole_while_it_reads_and_shared_out_afterwards() -> None:
    model, batch = sharded(), torch.ones(3, 4)
    expected = model(batch).detach()
    assert [isinstance(layer.weight, DTensor) for layer in model] == [True, False]
    with unsharded(model), torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(model[1](model[0](batch)), expected)
            assert not any(isinstance(layer.weight, DTensor) for layer in model)
    assert all(isinstance(layer.weight, DTensor) for layer in model)
    model(batch).sum().backward()  # what stayed whole after a forward pass does so again, and gradients come
    assert all(layer.weight.grad is not None for layer in model)
    model(batch)
    assert [isinstance(layer.weight, DTensor) for layer in model] == [True, False]


class Reader(nn.Module):
    """A weight of the root, and a way to read that passes through the root."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(4)), nn.Linear(4, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch * self.scale)

    def generate(self, batch: torch.Tensor) -> torch.Tensor:
        return self(batch)


@pytest.mark.usefixtures("_alone")
def test_whole_after_generating_too() -> None:
    """accelerate makes ``generate`` a forward pass of FSDP2 around others; a rank may generate more often than others."""
    model, mesh = Reader(), distributed.device_mesh.init_device_mesh("cpu", (1,))
    fully_shard(model.layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "generate")
    model(torch.ones(3, 4))
    with unsharded(model), torch.inference_mode():
        for _ in range(2):
            model.generate(torch.ones(3, 4))
            assert not isinstance(model.scale, DTensor)
            assert not isinstance(model.layer.weight, DTensor)
    assert isinstance(model.scale, DTensor)


@pytest.mark.usefixtures("_alone")
def test_the_part_of_this_rank() -> None:
    weight = torch.ones(3)
    assert part_here(weight) is weight
    assert not isinstance(part_here(sharded()[0].weight), DTensor)
    assert part_here(SimpleNamespace(ds_tensor=weight)) is weight
