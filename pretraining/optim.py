"""Muon for the matrices, AdamW for the rest, one schedule, and gradients averaged between processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Keller Jordan's coefficients for five iterations


def orthogonalise(update: Tensor) -> Tensor:
    """The nearest orthogonal matrix to ``update`` (rows, columns), roughly, by five Newton-Schulz steps in fp32."""
    a, b, c = NEWTON_SCHULZ
    transposed = update.shape[0] > update.shape[1]
    x = update.T if transposed else update
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if transposed else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, scaled to the step size that AdamW would take (Liu et al. 2025, 2502.16982)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for param, update in zip(params, self.updates(params, group["momentum"]), strict=True):
                scale = 0.2 * max(param.shape) ** 0.5
                param.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)

    def updates(self, params: list[nn.Parameter], momentum: float) -> list[Tensor]:
        """The orthogonal updates; each process works out its share of the matrices and they are exchanged."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        updates = []
        for index, param in enumerate(params):
            buffer = self.state[param].setdefault("momentum", torch.zeros_like(param))
            buffer.lerp_(param.grad, 1 - momentum)
            mine = index % world == rank
            updates.append(orthogonalise(param.grad.lerp(buffer, momentum)) if mine else torch.zeros_like(param))
        return sum_over_processes(updates) if world > 1 else updates


class Optimizers:
    """Both optimisers, over groups of modules with a peak learning rate for Muon and one for AdamW."""

    def __init__(self, groups: list[tuple[dict[str, nn.Module], float, float]]) -> None:
        self.params: list[nn.Parameter] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        self.peaks: list[float] = []
        for modules, muon_lr, adam_lr in groups:
            named = {f"{m}.{n}": p for m, module in modules.items() for n, p in module.named_parameters()}
            matrices = [p for name, p in named.items() if is_hidden_matrix(name, p)]
            others = [p for name, p in named.items() if not is_hidden_matrix(name, p)]
            adamw = torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
            self.params += named.values()
            self.optimizers += [Muon(matrices, muon_lr), adamw]
            self.peaks += [muon_lr, adam_lr]

    def step(self, factor: float) -> float:
        """Average the gradients, clip them to norm 1, step at ``factor`` times the peak rates. Returns the norm."""
        average_gradients(self.params)
        norm = torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def state_dict(self) -> list[dict]:
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict]) -> None:
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def is_hidden_matrix(name: str, param: nn.Parameter) -> bool:
    """Whether Muon takes it: two-dimensional, and neither an embedding nor a head."""
    return param.ndim == 2 and not any(part in name for part in ("embed", "head"))


def sum_over_processes(tensors: list[Tensor]) -> list[Tensor]:
    """The sum of each tensor over all processes, exchanged in one message."""
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    parts = flat.split([t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]


def average_gradients(params: list[nn.Parameter]) -> None:
    """Mean of the gradients over all processes; nothing to do in a single one."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in params if p.grad is not None]
    for gradient, total in zip(gradients, sum_over_processes(gradients), strict=True):
        gradient.copy_(total / dist.get_world_size())


def schedule(step: int, progress: float, warmup: int = 50, decay: float = 0.4) -> float:
    """Linear warm-up over ``warmup`` steps, constant, then linear to zero over the last ``decay`` of the time."""
    return min(1.0, (step + 1) / warmup, max(1 - progress, 0) / decay)
