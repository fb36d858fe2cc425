"""How much memory training takes, counted on a model without weights.

The model is built on the meta device from its configuration, its backbone is run on tensors without content, and what
autograd would keep for the backward pass is added up, tensor by tensor. Nothing is allocated, so it works for a GPU
that is not there. What is assumed and not counted:

- Attention keeps no scores (``sdpa`` or FlashAttention, over each sample on its own), so what is kept grows linearly
  with tokens; it is counted for ``COUNTED_TOKENS`` and scaled.
- bf16 means autocast as on a GPU: its list of operations is that of the CPU's autocast, which differs in none that
  the model uses.
- AdamW, or its 8-bit form, updates in place (``fused``). One process; nothing is sharded.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE

from ..inputs.geometry import PATCHES_PER_TOKEN
from ..model.adapters import add_lora
from ..model.parts import freeze, part_of
from ..training.attention import allow_rows_of_samples
from ..training.draft_loss import VOCABULARY_CHUNK
from ..vision.encoder import backbone_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GlmOcrConfig

COUNTED_TOKENS = 512
FP32, BF16 = 4, 2  # bytes
ADAM = 8  # two fp32 moments for each parameter
ADAM_8BIT = 2 + 2 * 4 / 256  # and one fp32 scale for each 256 of them (bitsandbytes); embeddings stay in 32 bit
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # 8-bit scales of blocks of 64, quantised again in blocks of 256
TILES_WITHOUT_TRITON = 8.25  # tiles alive in trl's _backward_tile: y, z, log_p, p, grad, two in flight, a mask, its own
MLP_GRADIENTS = 6  # widths of the MLP alive in its backward pass: product, act, up, gate, and both halves joined
GPU_CONTEXT = 800_000_000  # measured on an H200 beside what torch reserves: CUDA context and libraries
CPU_PROCESS = (
    1_200_000_000  # Python with torch, transformers, datasets and trl: measured 0.95 GB, 1.2 once all is loaded
)


@dataclass(frozen=True)
class Method:
    """What is trained, and where.

    Attributes:
        frozen_parts: names of :data:`.model.PARTS`.
        lora_rank: None for full fine-tuning.
        lora_dropout: above 0, the input of each adapter is kept once more, and its mask.
        on_gpu: bf16 autocast with Triton; fp32 on a CPU otherwise.
    """

    frozen_parts: tuple[str, ...]
    lora_rank: int | None
    lora_target: str = "all"
    lora_dropout: float = 0.0
    on_gpu: bool = True

    @property
    def width(self) -> int:
        """Bytes of a frozen weight, and of what is computed."""
        return BF16 if self.on_gpu else FP32

    @property
    def trains_head(self) -> bool:
        return self.lora_rank is None and "language model" not in self.frozen_parts


@dataclass(frozen=True)
class Saving:
    """What may be done to need less; and whether gradients of an earlier batch are there while the next is computed."""

    load_in_4bit: bool = False
    eight_bit_optimizer: bool = False
    gradient_checkpointing: bool = False
    accumulates: bool = False


@dataclass(frozen=True)
class Batch:
    """What is computed at once: tokens in all, image tokens that are encoded, labels."""

    tokens: int
    image_tokens: int
    labels: int


@dataclass(frozen=True)
class Memory:
    """Bytes by part; not all of them are there at once, see :attr:`moments`.

    Attributes:
        copies: in bf16, which autocast keeps of trained fp32 weights.
        activations: kept from the forward to the backward pass.
        layer: what the backward pass of one layer holds: its recomputation, if checkpointed, and gradients inside it.
        head: tiles of logits, and the gradient of the head's weight.
        vision: the tower at work on images that are not cached.
        cache: image features in the same memory.
        overhead: what a process takes before a model is loaded.
        accumulated: gradients of an earlier batch are there while the next one is computed.
    """

    frozen: int
    trained: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    layer: int
    head: int
    vision: int
    cache: int
    overhead: int
    accumulated: bool

    ALWAYS = ("frozen", "trained", "optimizer", "cache", "overhead")

    @property
    def moments(self) -> dict[str, tuple[str, ...]]:
        """Parts alive beside ``ALWAYS`` at the three moments one of which is the peak."""
        earlier = ("gradients",) if self.accumulated else ()
        return {
            "images are encoded": (*earlier, "vision"),
            "the backward pass begins": (*earlier, "copies", "activations", "head"),
            "the backward pass ends": ("gradients", "layer"),
        }

    @property
    def peak_moment(self) -> str:
        return max(self.moments, key=lambda moment: self._sum(self.moments[moment]))

    @property
    def at_peak(self) -> dict[str, int]:
        """Bytes of the parts that make the peak."""
        return {name: getattr(self, name) for name in (*self.ALWAYS, *self.moments[self.peak_moment])}

    @property
    def peak(self) -> int:
        return sum(self.at_peak.values())

    @property
    def by_part(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "accumulated"}

    def _sum(self, names: tuple[str, ...]) -> int:
        return sum(getattr(self, name) for name in names)


@dataclass(frozen=True)
class Weight:
    """A parameter: how many numbers it has, and what is done with it."""

    name: str
    size: int
    trained: bool
    linear: bool

    @property
    def quantised(self) -> bool:
        """Whether ``--load_in_4bit True`` quantises it."""
        return self.linear and part_of(self.name) == "language model"


class Estimate:
    """The memory of one :class:`Method`: counted once, then worked out for any batch.

    Attributes:
        text, text_checkpointed: bytes kept for the backward pass for each token of text or image.
        vision, vision_checkpointed: the same in the tower for each image token that is encoded.
    """

    def __init__(self, config: GlmOcrConfig, method: Method) -> None:
        self.config, self.method = config, method
        self.weights = list_weights(skeleton(config, method))
        self.text, self.vision, self.text_checkpointed, self.vision_checkpointed = kept_per_token(config, method)

    def memory(self, batch: Batch, saving: Saving, cache: int = 0) -> Memory:
        """Bytes by part for a batch, beside ``cache`` bytes of image features."""
        text, vision = self.text, self.vision
        if saving.gradient_checkpointing:
            text, vision = self.text_checkpointed, self.vision_checkpointed
        trained = FP32 * sum(weight.size for weight in self.weights if weight.trained)
        return Memory(
            frozen=self._frozen(saving),
            trained=trained,
            gradients=trained,
            optimizer=self._optimizer(saving),
            copies=self._copies(),
            activations=round(batch.tokens * text + batch.image_tokens * vision),
            layer=self._layer(batch),
            head=self._head(batch),
            vision=self._vision(batch),
            cache=cache,
            overhead=GPU_CONTEXT if self.method.on_gpu else CPU_PROCESS,
            accumulated=saving.accumulates,
        )

    def _frozen(self, saving: Saving) -> int:
        frozen = [weight for weight in self.weights if not weight.trained]
        quantised = sum(weight.size for weight in frozen if weight.quantised) if saving.load_in_4bit else 0
        return round(quantised * NF4 + (sum(weight.size for weight in frozen) - quantised) * self.method.width)

    def _optimizer(self, saving: Saving) -> int:
        trained = [weight for weight in self.weights if weight.trained]
        whole = [weight for weight in trained if "embed_tokens" in weight.name or not saving.eight_bit_optimizer]
        size = sum(weight.size for weight in trained)
        in_32_bit = sum(weight.size for weight in whole)
        return round(ADAM * in_32_bit + ADAM_8BIT * (size - in_32_bit))

    def _copies(self) -> int:
        copied = sum(weight.size for weight in self.weights if weight.trained and weight.linear)
        return BF16 * copied if self.method.on_gpu else 0

    def _layer(self, batch: Batch) -> int:
        text, vision = self.config.text_config, self.config.vision_config
        inside = MLP_GRADIENTS * text.intermediate_size * self.method.width
        of_text = batch.tokens * (self.text / text.num_hidden_layers + inside)
        return round(max(of_text, batch.image_tokens * self.vision / vision.depth))

    def _head(self, batch: Batch) -> int:
        text, width = self.config.text_config, self.method.width
        columns = min(VOCABULARY_CHUNK, text.vocab_size)
        tiles = min(batch.labels, TOKEN_CHUNK_SIZE) * columns * width
        if not self.method.on_gpu:
            tiles = round(tiles * TILES_WITHOUT_TRITON)
        hidden = batch.labels * text.hidden_size * (width + FP32)  # and its gradient
        if not self.method.trains_head:
            return tiles + hidden
        cast = columns * text.hidden_size * BF16 if self.method.on_gpu else 0
        return tiles + hidden + cast + text.vocab_size * text.hidden_size * FP32

    def _vision(self, batch: Batch) -> int:
        """The MLP of a block is the tower's widest place: three times its width, and the rows going in and past it."""
        vision = self.config.vision_config
        widest = (3 * vision.intermediate_size + 2 * vision.hidden_size) * self.method.width
        pixels = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2 * FP32
        return batch.image_tokens * PATCHES_PER_TOKEN * (widest + pixels)


def skeleton(config: GlmOcrConfig, method: Method) -> Any:
    """The model as it is trained, on the meta device."""
    from transformers import GlmOcrForConditionalGeneration

    dtype = torch.bfloat16 if method.on_gpu else torch.float32
    with torch.device("meta"):
        model: Any = GlmOcrForConditionalGeneration._from_config(config, dtype=dtype)
        allow_rows_of_samples(model.model.language_model)
        freeze(model, list(method.frozen_parts))
        if method.lora_rank is not None:
            model = add_lora(model, method.lora_rank, 2 * method.lora_rank, method.lora_dropout, method.lora_target)
    return model.train()


def list_weights(model: nn.Module) -> list[Weight]:
    """All parameters; the output head, which is no layer that runs under autocast, does not count as linear."""
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lora_" not in name and not name.endswith("lm_head")
    }
    return [
        Weight(name, value.numel(), value.requires_grad, name in linear) for name, value in model.named_parameters()
    ]


def kept_per_token(config: GlmOcrConfig, method: Method) -> tuple[float, ...]:
    """Bytes kept for a text or image token, and in the tower for an encoded one; the same with checkpointing.

    All layers are alike, so that models of one layer and of two tell of any number.
    """
    counts = []
    for layers in (1, 2):
        shallow = copy.deepcopy(config)
        shallow.text_config.num_hidden_layers = shallow.vision_config.depth = layers
        model = skeleton(shallow, method)
        counts.append([*count_activations(model, method, False), *count_activations(model, method, True)])
    depths = 2 * (config.text_config.num_hidden_layers, config.vision_config.depth)
    return tuple(one + (two - one) * (depth - 1) for one, two, depth in zip(*counts, depths, strict=True))


def count_activations(model: Any, method: Method, checkpointing: bool) -> tuple[float, float]:
    """Bytes kept for the backward pass, for a token of text or image, and for an encoded image token."""
    inner = backbone_of(model)
    _checkpoint(inner, checkpointing)
    trains_vision = any(parameter.requires_grad for parameter in inner.visual.parameters())
    with FakeTensorMode():
        _stand_in(inner, method)
        text = saved_bytes(lambda: _run_text(inner.language_model), inner, method.on_gpu)
        vision = saved_bytes(lambda: _run_vision(inner.visual), inner, method.on_gpu) if trains_vision else 0
    return text / COUNTED_TOKENS, vision / COUNTED_TOKENS


def _checkpoint(model: Any, enabled: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the names are new in transformers 5.20
        if enabled:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        else:
            model.gradient_checkpointing_disable()


def _stand_in(module: nn.Module, method: Method) -> None:
    """Replace parameters and buffers by tensors without content that behave as those of a CPU do.

    Trained weights are fp32, but those of linear layers under autocast have the type of their copies, which are
    counted as a part of their own.
    """
    for one in module.modules():
        copied = method.on_gpu and method.lora_rank is None and isinstance(one, nn.Linear)
        for name, value in list(one._parameters.items()):
            if value is not None:
                dtype = torch.float32 if value.requires_grad and not copied else value.dtype
                one._parameters[name] = nn.Parameter(torch.empty(value.shape, dtype=dtype), value.requires_grad)
        for name, buffer in list(one._buffers.items()):
            if buffer is not None:
                one._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _run_text(language_model: Any) -> Any:
    weight = language_model.embed_tokens.weight
    rows = torch.empty(1, COUNTED_TOKENS, weight.shape[1], dtype=weight.dtype, requires_grad=weight.requires_grad)
    positions = torch.empty(3, 1, COUNTED_TOKENS, dtype=torch.long)
    half = COUNTED_TOKENS // 2
    return language_model(inputs_embeds=rows, position_ids=positions, use_cache=False, sample_lengths=[half, half])


def _run_vision(visual: Any) -> Any:
    """The tower's own ``forward`` on one image, without the steps that read the grid's content."""
    config = visual.config
    patches = COUNTED_TOKENS * PATCHES_PER_TOKEN
    pixels = torch.empty(patches, config.in_channels * config.temporal_patch_size * config.patch_size**2)
    angles = torch.empty(patches, config.hidden_size // config.num_heads)
    hidden = visual.patch_embed(pixels)
    for block in visual.blocks:
        hidden = block(hidden, cu_seqlens=np.array([0, patches]), position_embeddings=(angles, angles))
    merge = config.spatial_merge_size
    hidden = visual.post_layernorm(hidden).view(-1, merge, merge, hidden.shape[-1]).permute(0, 3, 1, 2)
    return visual.merger(visual.downsample(hidden).view(-1, config.out_hidden_size))


def saved_bytes(run: Callable[[], Any], model: nn.Module, autocast: bool = False) -> int:
    """Bytes of the distinct storages, parameters left out, that autograd keeps for the backward pass of ``run``."""
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        result = run()  # held until all is counted, so that no storage is given out twice
    del result
    total = sum(storage.nbytes() for storage in kept.values())
    kept.clear()  # the graph keeps the hooks, and they would keep everything until the backward pass is over
    return total
