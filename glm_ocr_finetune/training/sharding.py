"""Weights that ranks share out (FSDP, DeepSpeed): put into effect, whole again for reading, and saved as one model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from trl import SFTTrainer
from trl.models.utils import unwrap_model_for_generation

from .processes import sharding_of


class ShardingTrainer(SFTTrainer):
    """TRL's trainer; what ranks share out can be read with and is saved as if each had all of it."""

    def create_accelerator_and_postprocess(self) -> None:
        """As transformers'. accelerate leaves ``--fsdp`` out on a CPU without a word; here it is put into effect."""
        super().create_accelerator_and_postprocess()
        left_out = self.accelerator.distributed_type == DistributedType.MULTI_CPU
        if sharding_of(self.args) == "FSDP" and left_out:
            shard_on_a_cpu(self.accelerator, FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args or {}))
            self.is_fsdp_enabled = True

    @contextlib.contextmanager
    def whole_model(self) -> Iterator[Any]:
        """The model inside, whose forward passes wait for no other rank: each rank holds all weights meanwhile."""
        if self.is_fsdp_enabled:
            with unsharded(self.model):
                yield self.model
        elif self.is_deepspeed_enabled:
            with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model:
                yield model
        else:
            yield self.accelerator.unwrap_model(self.model)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As transformers'; of DeepSpeed the fp32 weights that it trains, where transformers takes their bf16 copies."""
        if not self.is_deepspeed_enabled:
            super().save_model(output_dir, _internal_call)
            return
        self._save(output_dir, state_dict=weights_of_deepspeed(self.accelerator.unwrap_model(self.model)))
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)


def shard_on_a_cpu(accelerator: Any, plugin: FullyShardedDataParallelPlugin) -> None:
    """What ``AcceleratorState`` does with an FSDP plugin on other devices (accelerate 1.15, state.py)."""
    state = accelerator.state
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    state.fsdp_plugin = plugin
    state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP


@contextlib.contextmanager
def unsharded(model: Any) -> Iterator[None]:
    """Gather the weights of a model of FSDP2, and keep them gathered whatever passes through it.

    ``set_reshard_after_forward`` would not: ``generate`` is to FSDP2 a forward pass around others, after which it frees
    the weights of the root whatever is set, and a rank that generates once more than others would wait for them.
    """
    modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
    groups = [group for module in modules for group in _groups(module)]
    for module in modules:
        module.unshard()
    for group in groups:
        group.reshard = lambda: None
    try:
        yield
    finally:
        for group in groups:
            del group.reshard
        for module in modules:
            module.reshard()


def weights_of_deepspeed(model: Any) -> dict[str, torch.Tensor]:
    """All weights by name, those that are trained in fp32, on the CPU; every rank must ask, and each gets them."""
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, value in model.state_dict(keep_vars=True).items():
        master = safe_get_full_fp32_param(value) if value.requires_grad else None
        with deepspeed.zero.GatheredParameters([value], enabled=master is None and hasattr(value, "ds_id")):
            weights[name] = (value if master is None else master).detach().cpu().clone()
    return weights


def part_here(weight: Any) -> torch.Tensor:
    """What this rank holds of a weight."""
    if hasattr(weight, "ds_tensor"):  # DeepSpeed ZeRO-3
        return weight.ds_tensor
    local: torch.Tensor = weight.to_local() if hasattr(weight, "to_local") else weight
    return local


def _groups(module: Any) -> list[Any]:
    """The parameter groups of a module that FSDP2 shares out; before torch 2.12 there is one at most."""
    state = module._get_fsdp_state()
    if hasattr(state, "_fsdp_param_groups"):
        return list(state._fsdp_param_groups)
    return [state._fsdp_param_group] if state._fsdp_param_group else []
