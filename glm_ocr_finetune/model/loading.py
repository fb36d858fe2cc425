"""Loading GLM-OCR, freezing its parts, and adapting them."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_MODEL
from ..errors import UserError
from ..inputs.processor import load_processor
from ..readers.hub import hub_resolves
from .checkpoint import read_sidecar
from .mtp import mtp_prefix, read_mtp_tensors
from .tiny import tiny_path

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import Glm46VProcessor, PreTrainedModel

logger = logging.getLogger(__name__)

# Every parameter belongs to exactly one part; GLM-OCR has no module called vision_tower or multi_modal_projector.
PARTS = {
    "vision tower": r"model\.visual\.(patch_embed|blocks|post_layernorm)\.",
    "multi-modal projector": r"model\.visual\.(downsample|merger)\.",
    "language model": r"(model\.language_model|lm_head)\.",
}
_PEFT_PREFIX = "base_model.model."


def part_of(name: str) -> str:
    """The part of the model that a parameter or module belongs to, by its name (with or without peft's prefix)."""
    for part, pattern in PARTS.items():
        if re.match(pattern, name.removeprefix(_PEFT_PREFIX) + "."):
            return part
    raise ValueError(f"{name} belongs to no part of GLM-OCR")


def load_model(
    model_name: str = DEFAULT_MODEL,
    load_in_4bit: bool = False,
    freeze_vision_tower: bool = True,
    freeze_multi_modal_projector: bool = True,
    use_lora: bool = False,
    lora_rank: int = 8,
    lora_target: str = "all",
    lora_alpha: int | None = None,
    lora_dropout: float = 0.0,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> tuple[Any, Glm46VProcessor]:
    """Load GLM-OCR for training: frozen as asked, with adapters where asked.

    Trained weights are fp32; frozen ones keep the checkpoint's bf16 on a GPU and are fp32 on a CPU.

    Args:
        model_name: hub id, directory, ``tiny`` or ``tiny-random``.
        lora_target: ``all`` linear layers of the parts being trained, or their names separated by commas.
        min_pixels: smallest image, height x width; the checkpoint's when None.
        max_pixels: largest image, height x width; the checkpoint's when None.

    Returns:
        The model (a ``PeftModel`` with LoRA) and its processor.

    Raises:
        UserError: the model cannot be found or is no GLM-OCR, or the arguments contradict each other.
    """
    check_adapter_arguments(use_lora, lora_rank, lora_alpha, lora_dropout, load_in_4bit)
    if adapter_base(model_name):
        raise UserError(f"--model_name {model_name} is a LoRA adapter, not a model; name its base, or a merged model")
    model = load_weights(model_name, load_in_4bit=load_in_4bit)
    processor = load_processor(model.name_or_path, min_pixels, max_pixels)
    frozen = {"vision tower": freeze_vision_tower, "multi-modal projector": freeze_multi_modal_projector}
    freeze(model, [part for part, asked in frozen.items() if asked])
    if use_lora:
        model = add_lora(model, lora_rank, lora_alpha or 2 * lora_rank, lora_dropout, lora_target)
    keep_trained_in_fp32(model)
    return model, processor


def check_adapter_arguments(
    use_lora: bool, lora_rank: int, lora_alpha: int | None, lora_dropout: float, load_in_4bit: bool
) -> None:
    """Raise UserError for adapter arguments that cannot work."""
    if lora_rank < 1:
        raise UserError(f"--lora_rank is {lora_rank}; a rank is at least 1 (8 is the official recipe's)")
    if lora_alpha is not None and lora_alpha < 1:
        raise UserError(f"--lora_alpha is {lora_alpha}; it is at least 1 (2 x rank is the default)")
    if not 0 <= lora_dropout < 1:
        raise UserError(f"--lora_dropout is {lora_dropout}; it is a probability from 0 to below 1")
    if load_in_4bit and not use_lora:
        raise UserError("--load_in_4bit True needs --use_lora True: 4-bit weights cannot be trained themselves")


def load_weights(model_name: str, load_in_4bit: bool = False, device_map: str | None = None) -> PreTrainedModel:
    """The bare model of a hub id, directory or tiny name, in the precision this machine trains and reads in."""
    import torch
    from transformers import AutoModelForImageTextToText

    path = resolve_model_path(model_name)
    config = load_config(path)
    dtype = compute_dtype()
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": False, "device_map": device_map}
    if load_in_4bit:
        options["quantization_config"] = four_bit_config(dtype)
        if not torch.cuda.is_available():
            options["device_map"] = {"": "cpu"}
    with _expecting_mtp(config):
        model = AutoModelForImageTextToText.from_pretrained(path, **options)
    if load_in_4bit:
        keep_four_bit_trainable(model)
    if config.text_config.num_nextn_predict_layers and not read_mtp_tensors(path, config):
        model.config.text_config.num_nextn_predict_layers = 0
        logger.warning(
            "%s has lost its multi-token-prediction tensors: num_nextn_predict_layers is set to 0 in what is saved, "
            "so that servers load it, without that speed-up",
            model_name,
        )
    return model


@contextlib.contextmanager
def _expecting_mtp(config: Any) -> Iterator[None]:
    """Keep transformers from listing the MTP tensors as unexpected; it knows them only for sixteen layers."""
    from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrPreTrainedModel

    known = GlmOcrPreTrainedModel._keys_to_ignore_on_load_unexpected or []
    GlmOcrPreTrainedModel._keys_to_ignore_on_load_unexpected = [*known, re.escape(mtp_prefix(config))]
    try:
        yield
    finally:
        GlmOcrPreTrainedModel._keys_to_ignore_on_load_unexpected = known


def resolve_model_path(model_name: str) -> str:
    """``tiny`` and ``tiny-random`` become directories; everything else stays as it is."""
    return str(tiny_path(model_name)) if model_name in ("tiny", "tiny-random") else model_name


def load_config(path: str) -> Any:
    """The configuration of a GLM-OCR checkpoint; UserError when it is missing or another architecture."""
    from huggingface_hub.constants import ENDPOINT
    from transformers import AutoConfig

    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise UserError(f"{path} holds no model: config.json is missing there; name a checkpoint directory")
    fetched_only = not Path(path).is_dir() and not hub_resolves(ENDPOINT)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=fetched_only)
    except (OSError, ValueError) as error:
        if Path(path).exists():
            raise UserError(f"{path} holds no model that can be read: {_first_line(error)}") from error
        raise UserError(
            f"model {path!r} is neither a directory nor reachable on the hub; fetch it where there is a network with "
            f"`hf download {path if path.count('/') == 1 else DEFAULT_MODEL}`, or try without one: tiny"
        ) from error
    if config.model_type != "glm_ocr":
        raise UserError(f"{path} is a model of type {config.model_type!r}; expected 'glm_ocr', such as {DEFAULT_MODEL}")
    return config


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def compute_dtype() -> torch.dtype:
    """bf16 where the GPU has it, fp16 on older GPUs, fp32 on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def checkpoint_dtype(model: PreTrainedModel) -> torch.dtype:
    """The type that the weights of the checkpoint behind ``model`` are stored in."""
    import torch

    config = load_config(model.name_or_path)
    stored = config.dtype or config.text_config.dtype or torch.bfloat16
    return stored if isinstance(stored, torch.dtype) else getattr(torch, stored)


def four_bit_config(dtype: torch.dtype) -> Any:
    """4-bit NF4 for the linear layers of the language model; vision, projector and head stay as they are."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UserError(
            "--load_in_4bit True needs bitsandbytes: pip install 'glm-ocr-finetune[4bit]', or leave the flag out"
        ) from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=["model.visual", "lm_head"],
    )


def keep_four_bit_trainable(model: nn.Module) -> None:
    """Keep bitsandbytes from repacking 4-bit layers when the model reads.

    On CPUs with AVX-512 BF16 the first reading in evaluation mode repacks them into a form without a backward pass,
    and training that follows gets no gradient through them, without an error.
    """
    layers: Iterator[Any] = model.modules()
    for layer in layers:
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def freeze(model: nn.Module, parts: list[str]) -> None:
    """Take the named parts out of training, and put the others in.

    Raises:
        ValueError: a part has no parameter in this model, so its pattern is wrong.
    """
    seen = set()
    for name, parameter in model.named_parameters():
        part = part_of(name)
        seen.add(part)
        parameter.requires_grad = part not in parts and parameter.is_floating_point()
    if missing := set(PARTS) - seen:
        raise ValueError(f"no parameter of this model belongs to: {', '.join(sorted(missing))}")


def linear_layers(model: nn.Module) -> dict[str, list[str]]:
    """Names of the linear layers that adapters can go on, by part; the output head is not among them."""
    from torch import nn

    found: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            found[part_of(name)].append(name)
    return found


def lora_target_modules(model: nn.Module, lora_target: str) -> list[str]:
    """Full names of the linear layers to adapt: those of the parts being trained, all or the named ones."""
    trained = {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    candidates = [name for part, names in linear_layers(model).items() if part in trained for name in names]
    if lora_target == "all":
        return candidates
    wanted = [target.strip() for target in lora_target.split(",") if target.strip()]
    known = sorted({name.rsplit(".", 1)[-1] for name in candidates})
    if unknown := [target for target in wanted if target not in known] or not wanted:
        raise UserError(
            f"--lora_target {lora_target!r}: {unknown if wanted else 'nothing'} is no linear layer of the parts being "
            f"trained; expected 'all' or some of: {', '.join(known)}"
        )
    return [name for name in candidates if name.rsplit(".", 1)[-1] in wanted]


def add_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float, lora_target: str) -> Any:
    """Wrap the model in LoRA adapters (scaling alpha / rank); everything else becomes frozen."""
    from peft import LoraConfig, get_peft_model

    targets = lora_target_modules(model, lora_target)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)


def keep_trained_in_fp32(model: nn.Module) -> None:
    """Trained weights are fp32 masters: bf16 ones lose most updates of a small learning rate to rounding."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


@dataclass(frozen=True)
class Part:
    """A row of the table of parts: parameter counts, and the adapter rank (None without adapters)."""

    name: str
    parameters: int
    trainable: int
    rank: int | None


def count_parts(model: nn.Module) -> list[Part]:
    """Parameters, trainable ones and adapter rank of each part; 4-bit weights count as what they stand for."""
    counts = {part: [0, 0, 0] for part in PARTS}
    for name, parameter in model.named_parameters():
        row = counts[part_of(name)]
        if ".lora_A." in name:
            row[2] = max(row[2], parameter.shape[0])
        if ".lora_" not in name:
            row[0] += _numel(parameter)
        row[1] += parameter.numel() if parameter.requires_grad else 0
    return [Part(name, total, trainable, rank or None) for name, (total, trainable, rank) in counts.items()]


def _numel(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(state.shape.numel()) if state is not None else int(parameter.numel())


def adapter_base(path: str) -> str | None:
    """The base model that an adapter directory names, or None when the directory is no adapter."""
    import json

    config = Path(path) / "adapter_config.json"
    if not config.is_file():
        return None
    sidecar = read_sidecar(path)
    return sidecar.base_model if sidecar else str(json.loads(config.read_text())["base_model_name_or_path"])


def load_for_reading(
    model_name: str, adapter: str | None = None, device_map: str = "auto"
) -> tuple[Any, Glm46VProcessor, str]:
    """A model that reads: base, tuned, or adapter (merged into its base), in evaluation mode.

    Returns:
        The model, the processor it was tuned with, and the prompt format it was tuned with.
    """
    base, adapter = (adapter_base(model_name), model_name) if adapter_base(model_name) else (model_name, adapter)
    if adapter and not adapter_base(adapter):
        raise UserError(f"--adapter {adapter} holds no adapter_config.json; name the folder of a LoRA adapter")
    model: Any = load_weights(base or model_name, device_map=_device(device_map))
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    tuned = adapter or model.name_or_path
    has_processor = (Path(tuned) / "processor_config.json").is_file()
    sidecar = read_sidecar(tuned)
    processor = load_processor(tuned if has_processor else model.name_or_path)
    return model.eval(), processor, sidecar.prompt_format if sidecar else "serve"


def _device(device_map: str) -> str:
    import torch

    if device_map != "auto" or torch.cuda.device_count() > 1:
        return device_map
    return "cuda" if torch.cuda.is_available() else "cpu"  # one device: nothing to spread
