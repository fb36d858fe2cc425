"""Loading GLM-OCR, freezing its parts, and adapting them."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_MODEL, DEFAULT_PROMPT_FORMAT
from ..errors import UserError, first_line
from ..inputs.processor import load_processor
from ..network import only_local
from .adapters import adapter_base, add_lora, check_adapter_arguments
from .checkpoint import model_file, read_sidecar
from .damage import check_adapter, check_weights, put_adapter
from .mtp import mtp_prefix, read_mtp_tensors
from .parts import freeze, keep_trained_in_fp32
from .tiny import TINY_NAMES, is_tiny, tiny_path

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import Glm46VProcessor, PreTrainedModel

logger = logging.getLogger(__name__)


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
    processor: Glm46VProcessor | None = None,
) -> tuple[Any, Glm46VProcessor]:
    """Load GLM-OCR for training: frozen as asked, with adapters where asked.

    Trained weights are fp32; frozen ones keep the checkpoint's bf16 on a GPU and are fp32 on a CPU.

    Args:
        model_name: hub id, directory, ``tiny`` or ``tiny-random``.
        lora_target: ``all`` linear layers of the parts being trained, or their names separated by commas.
        min_pixels: smallest image, height x width; the checkpoint's when None.
        max_pixels: largest image, height x width; the checkpoint's when None.
        processor: the checkpoint's, where it was loaded before.

    Returns:
        The model (a ``PeftModel`` with LoRA) and its processor.

    Raises:
        UserError: the model cannot be found or is no GLM-OCR, or the arguments contradict each other.
    """
    check_adapter_arguments(use_lora, lora_rank, lora_alpha, lora_dropout, load_in_4bit)
    check_model(model_name)
    model = load_weights(model_name, load_in_4bit=load_in_4bit)
    processor = processor or load_processor(model.name_or_path, min_pixels, max_pixels)
    frozen = {"vision tower": freeze_vision_tower, "multi-modal projector": freeze_multi_modal_projector}
    freeze(model, [part for part, asked in frozen.items() if asked])
    if use_lora:
        model = add_lora(model, lora_rank, lora_alpha or 2 * lora_rank, lora_dropout, lora_target)
    keep_trained_in_fp32(model)
    return model, processor


def check_model(model_name: str) -> None:
    """Raise UserError for what is no GLM-OCR to train: an adapter, another architecture, nothing at all."""
    if adapter_base(model_name):
        raise UserError(f"--model_name {model_name} is a LoRA adapter, not a model; name its base, or a merged model")
    path = resolve_model_path(model_name)
    load_config(path)
    check_weights(path)


def load_weights(
    model_name: str, load_in_4bit: bool = False, device_map: str | None = None, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """The bare model of a hub id, directory or tiny name, by default in the type this machine trains and reads in."""
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading and writing tensors, a second each; those of downloads stay
    torch.backends.cuda.enable_cudnn_sdp(False)  # it makes a plan for every new length: 20 ms on an H100, with a mask
    path = resolve_model_path(model_name)
    config = load_config(path)
    dtype = dtype or compute_dtype()
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": False, "device_map": device_map}
    options["local_files_only"] = only_local(path)
    if load_in_4bit:
        options["quantization_config"] = four_bit_config(dtype)
        if not torch.cuda.is_available():
            options["device_map"] = {"": "cpu"}
    with _expecting_mtp(config), _explained(path), _whole_on_each_rank():
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
def _whole_on_each_rank() -> Iterator[None]:
    """Keep transformers from loading a model for DeepSpeed ZeRO-3 in parts; what is shared out is so when training begins."""
    from transformers.integrations import deepspeed

    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = reference


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
    """``tiny`` and ``tiny-random`` become directories, a directory its absolute path; a hub id stays as it is."""
    return str(tiny_path(model_name)) if model_name in TINY_NAMES else lasting_name(model_name)


def lasting_name(model_name: str) -> str:
    """The name that finds a model from any working directory: a hub id, ``tiny``, or an absolute path."""
    is_path = model_name not in TINY_NAMES and Path(model_name).is_dir()
    return os.path.abspath(model_name) if is_path else model_name


def is_tiny_model(model_name: str) -> bool:
    """Whether a name is that of the tiny model, or of a directory with one; what is wrong there is told on loading."""
    path = resolve_model_path(model_name)
    if not (Path(path) / "config.json").is_file():
        return False
    return is_tiny(load_config(path))


def load_config(path: str) -> Any:
    """The configuration of a GLM-OCR checkpoint; UserError when it is missing or another architecture."""
    from transformers import AutoConfig

    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise UserError(f"{path} holds no model: config.json is missing there; name a checkpoint directory")
    with _explained(path):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=only_local(path))
    if config.model_type != "glm_ocr":
        raise UserError(f"{path} is a model of type {config.model_type!r}; expected 'glm_ocr', such as {DEFAULT_MODEL}")
    return config


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn what is raised for a model that is not there, or damaged, into one line."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    odd = (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError, SafetensorError)
    try:
        yield
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise UserError(f"{path} is damaged: config.json and the weights differ in their shapes") from error
    except odd as error:
        if Path(path).exists():
            raise UserError(f"{path} holds no model that can be read: {first_line(error)}") from error
        raise UserError(
            f"model {path!r} is neither a directory nor reachable on the hub; fetch it where there is a network with "
            f"`hf download {path if path.count('/') == 1 else DEFAULT_MODEL}`, or try without one: tiny"
        ) from error


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


def load_for_reading(
    model_name: str, adapter: str | None = None, device_map: str = "auto"
) -> tuple[Any, Glm46VProcessor, str]:
    """A model that reads: base, tuned, or adapter (merged into its base), in evaluation mode.

    Returns:
        The model, the processor it was tuned with, and the prompt format it was tuned with.
    """
    base, adapter = base_and_adapter(model_name, adapter)
    model: Any = load_weights(base, device_map=_device(device_map))
    if adapter:
        model = put_adapter(model, adapter).merge_and_unload()
    tuned = adapter or model.name_or_path
    has_processor = model_file(tuned, "processor_config.json") is not None
    sidecar = read_sidecar(tuned)
    processor = load_processor(tuned if has_processor else model.name_or_path)
    return model.eval(), processor, sidecar.prompt_format if sidecar else DEFAULT_PROMPT_FORMAT


def base_and_adapter(model_name: str, adapter: str | None) -> tuple[str, str | None]:
    """The base model, and the adapter where ``model_name`` is one or one is given.

    Raises:
        UserError: either is not there, or is damaged.
    """
    base = adapter_base(model_name)
    base, adapter = (base, model_name) if base else (model_name, adapter)
    if adapter:
        check_adapter(adapter)
    if adapter and (os.path.isabs(base) or base.startswith(".")) and not Path(base).exists():
        raise UserError(
            f"the adapter {adapter} was trained on {base}, which is not there; name its base yourself: "
            f"--model BASE --adapter {adapter}"
        )
    check_weights(resolve_model_path(base))
    return base, adapter


def _device(device_map: str) -> str:
    import torch

    if device_map != "auto" or torch.cuda.device_count() > 1:
        return device_map
    return "cuda" if torch.cuda.is_available() else "cpu"  # one device: nothing to spread
