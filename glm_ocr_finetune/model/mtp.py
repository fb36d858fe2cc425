"""The multi-token-prediction (MTP) layer: sixteen tensors that transformers neither loads nor saves.

They sit behind the last text layer, under ``model.language_model.layers.{num_hidden_layers}.``. Engines use
them to draft tokens; a checkpoint that lost them, with ``num_nextn_predict_layers`` still 1, stops the server.
Beside a LoRA adapter, which has no such place, a retrained layer lies in ``mtp.safetensors``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import GlmOcrConfig

MTP_FILE = "mtp.safetensors"
SHARED = ("embed_tokens.weight", "shared_head.head.weight")  # copies; engines use the trunk's own


def mtp_prefix(config: GlmOcrConfig) -> str:
    """The common start of the MTP tensor names, e.g. ``model.language_model.layers.16.``."""
    return f"model.language_model.layers.{config.text_config.num_hidden_layers}."


def mtp_shapes(config: GlmOcrConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of each of the sixteen MTP tensors that a model of this configuration has."""
    text = config.text_config
    hidden, mlp, vocab = text.hidden_size, text.intermediate_size, text.vocab_size
    queries, keys = text.num_attention_heads * text.head_dim, text.num_key_value_heads * text.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_up_proj": (2 * mlp, hidden),
        "mlp.down_proj": (hidden, mlp),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "post_self_attn_layernorm": (hidden,),
        "post_mlp_layernorm": (hidden,),
        "eh_proj": (hidden, 2 * hidden),
        "enorm": (hidden,),
        "hnorm": (hidden,),
        "embed_tokens": (vocab, hidden),
        "shared_head.head": (vocab, hidden),
        "shared_head.norm": (hidden,),
    }
    return {f"{mtp_prefix(config)}{name}.weight": shape for name, shape in shapes.items()}


def read_mtp_tensors(model_name: str, config: GlmOcrConfig) -> dict[str, torch.Tensor]:
    """The MTP tensors of a checkpoint, bit for bit; empty when it has none.

    ``model_name`` is a directory or a hub id whose files are already fetched or can be.
    """
    from safetensors import safe_open

    tensors = {}
    for name, file in files_of_mtp_tensors(model_name, mtp_prefix(config)).items():
        with safe_open(file, framework="pt") as handle:
            tensors[name] = handle.get_tensor(name)
    return tensors


def files_of_mtp_tensors(model_name: str, prefix: str) -> dict[str, str]:
    """Name of each MTP tensor of a checkpoint or adapter -> the file that it lies in."""
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

    def find(name: str) -> str | None:
        return cached_file(model_name, name, _raise_exceptions_for_missing_entries=False)

    if single := find(SAFE_WEIGHTS_NAME):
        return _held_by(single, prefix)
    if index := find(SAFE_WEIGHTS_INDEX_NAME):
        weight_map: dict[str, str] = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
        wanted = {name: file for name, file in weight_map.items() if name.startswith(prefix)}
        return {name: str(find(file)) for name, file in wanted.items()}
    beside_adapter = find(MTP_FILE)
    return _held_by(beside_adapter, prefix) if beside_adapter else {}


def _held_by(file: str, prefix: str) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as handle:
        names: list[str] = handle.keys()
    return {name: file for name in names if name.startswith(prefix)}


def replace_mtp_tensors(folder: Path, tensors: Mapping[str, torch.Tensor], config: GlmOcrConfig) -> list[Path]:
    """Put these tensors into the files of a checkpoint in the place of its own, or beside an adapter.

    Each file is written under another name first, and renamed when all of them lie on the disk.

    Returns:
        The files that were written.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    own = files_of_mtp_tensors(str(folder), mtp_prefix(config))
    written: list[tuple[Path, Path]] = []
    for file in {Path(name) for name in own.values()} or {folder / MTP_FILE}:
        names = [name for name in tensors if Path(own.get(name, file)) == file]
        held: dict[str, torch.Tensor] = {}
        if file.is_file():
            with safe_open(file, framework="pt") as handle:
                held = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        staged = file.with_name(f".{file.name}.partial")
        save_file(held | {name: tensors[name].cpu().contiguous() for name in names}, staged, {"format": "pt"})
        with staged.open("rb+") as opened:
            os.fsync(opened.fileno())
        written.append((staged, file))
    for staged, file in written:
        staged.replace(file)
    return [file for _, file in written]
