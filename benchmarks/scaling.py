"""How would a run scale from 1 to 512 GPUs? Worked out from steps measured on one, not measured on many.

    python -m benchmarks.scaling

Prints the tables of ``docs/scaling.md``. A step of N GPUs takes

    compute x E[longest of N batches] / mean batch  +  what of the communication is not hidden

- ``MEASURED``: one H200, steps whose image features came from the cache (docs/log.md, 2026-11-26).
- Batches: their tokens are normally distributed around the mean with the spread that was measured; a step waits for
  the longest of N, taken from draws.
- Communication: bytes that a rank sends, over the bandwidth of its slowest link, plus a latency for each step of a
  tree. An all-reduce of S bytes sends 2 S (N - 1) / N, a reduce-scatter or all-gather S (N - 1) / N (Thakur, Rabenseifner
  and Gropp 2005). DDP all-reduces the gradients; ZeRO-2 reduce-scatters them and gathers the weights that it updated,
  the same volume; FSDP2 and ZeRO-3 gather the weights for the forward and again for the backward pass, and
  reduce-scatter the gradients (Rajbhandari et al. 2020, section 7).
- Between nodes, each of the 8 GPUs of a node has its own network card and moves an eighth of what the node moves
  (NCCL's hierarchical rings): inside, all bytes at the speed of NVLink; outside, an eighth at the speed of a card.
- Hidden: nothing (the lower bound of the speed), or all that fits in the backward pass, two thirds of the compute
  (the upper bound).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
IN_A_NODE = 8
NVLINK = 450e9  # bytes a second and direction of a Hopper GPU, from NVIDIA's data sheet
NETWORK = 50e9  # bytes a second of a 400 Gbit/s card
LATENCY_S = {"inside": 5e-6, "outside": 15e-6}  # of one step of a collective
HIDEABLE = 2 / 3  # of the compute is the backward pass
DRAWS = 2000
FP32, BF16 = 4, 2


@dataclass(frozen=True)
class Step:
    """A measured step of one GPU.

    Attributes:
        tokens: of its batches, without padding.
        seconds: of these steps.
        trained, frozen: numbers of weights; trained ones are kept in fp32 and computed in bf16.
    """

    name: str
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]
    trained: int
    frozen: int

    @property
    def mean_tokens(self) -> float:
        return float(np.mean(self.tokens))

    @property
    def mean_s(self) -> float:
        return float(np.mean(self.seconds))


FULL, TOWER = 673_285_632, 434_120_192  # weights of language model and head, and of the frozen rest
LORA = 3_735_552
MEASURED = (
    Step("full, lines, batch of 160", (14906, 14588, 14335, 14526), (0.465, 0.490, 0.446, 0.466), FULL, TOWER),
    Step("full, lines, batch of 16", (1655, 1653, 1415, 1439), (0.220, 0.231, 0.213, 0.196), FULL, TOWER),
    Step("LoRA, lines, batch of 64", (5716, 6112, 5900), (0.263, 0.300, 0.251), LORA, FULL + TOWER),
    Step("LoRA, pages, batch of 12", (23144, 22962, 24855, 21924), (0.496, 0.529, 0.627, 0.468), LORA, FULL + TOWER),
)


@dataclass(frozen=True)
class Volume:
    """What one step sends, in bytes of the tensors that go round, and how many collectives that takes."""

    all_reduced: float = 0
    gathered: float = 0
    scattered: float = 0
    collectives: int = 1


def volumes(step: Step, layers: int = 16) -> dict[str, Volume]:
    """By sharding mode. Sharding cuts layer by layer, and the frozen language model of LoRA is gathered as well."""
    gradients, trained_bf16 = FP32 * step.trained, BF16 * step.trained
    text = trained_bf16 if step.trained == FULL else BF16 * (FULL + step.trained)
    buckets = math.ceil(gradients / 25e6)
    return {
        "DDP": Volume(all_reduced=gradients, collectives=buckets),
        "ZeRO-2": Volume(gathered=trained_bf16, scattered=gradients, collectives=2 * buckets),
        "FSDP2, ZeRO-3": Volume(gathered=2 * text, scattered=gradients, collectives=3 * layers),
    }


def communication_s(volume: Volume, gpus: int) -> float:
    """Seconds of a step's collectives, one after another."""
    if gpus == 1:
        return 0.0
    inside, nodes = min(gpus, IN_A_NODE), math.ceil(gpus / IN_A_NODE)
    sent = 2 * volume.all_reduced + volume.gathered + volume.scattered
    seconds = sent * (inside - 1) / inside / NVLINK + sent / IN_A_NODE * (nodes - 1) / nodes / NETWORK
    hops = 2 * (math.log2(inside) * LATENCY_S["inside"] + math.log2(nodes) * LATENCY_S["outside"])
    return seconds + volume.collectives * hops


@cache
def longest(gpus: int, spread: float) -> float:
    """The mean of the longest of so many batches, over the mean batch; ``spread`` is their coefficient of variation."""
    draws = np.random.default_rng(0).normal(1.0, spread, (DRAWS, gpus))
    return float(draws.max(1).mean())


def step_s(step: Step, volume: Volume, gpus: int, hidden: bool) -> float:
    """Seconds of a step of so many GPUs."""
    spread = float(np.std(step.tokens, ddof=1) / step.mean_tokens)
    compute, sending = step.mean_s * (longest(gpus, spread) if gpus > 1 else 1), communication_s(volume, gpus)
    return compute + (max(0.0, sending - HIDEABLE * compute) if hidden else sending)


def efficiency(step: Step, mode: str, gpus: int, hidden: bool) -> float:
    """Tokens a second of so many GPUs, over as many times those of one."""
    return step.mean_s / step_s(step, volumes(step)[mode], gpus, hidden)


def tables() -> Iterable[str]:
    """Markdown: tokens a second with DDP, and for each mode its share of linear and seconds of communication."""
    modes = list(volumes(MEASURED[0]))
    for step in MEASURED:
        one = step.mean_tokens / step.mean_s
        yield f"**{step.name}**: {step.mean_tokens:,.0f} tokens in {step.mean_s:.3f} s, {one:,.0f} tokens/s on one GPU"
        yield ""
        yield f"| GPUs | tokens/s, DDP | {' | '.join(f'{mode}, % of linear' for mode in modes)} | s of sending |"
        yield "|--:" * (3 + len(modes)) + "|"
        for gpus in GPUS:
            shares = {mode: [efficiency(step, mode, gpus, hidden) for hidden in (False, True)] for mode in modes}
            sent = [f"{communication_s(volumes(step)[mode], gpus):.3f}" for mode in modes]
            cells = [str(gpus), pair(*(gpus * one * share for share in shares[modes[0]]))]
            cells += [pair(*(100 * share for share in shares[mode])) for mode in modes]
            yield f"| {' | '.join(cells)} | {', '.join(sent)} |"
        yield ""


def pair(low: float, high: float) -> str:
    """Both bounds, or the one number that they are."""
    shown = [f"{value:,.0f}" for value in (low, high)]
    return shown[0] if shown[0] == shown[1] else " to ".join(shown)


if __name__ == "__main__":
    print("\n".join(tables()))
