"""Writes what a stage reached as a complete checkpoint directory in bf16."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from transformers import GlmOcrForConditionalGeneration

from glm_ocr_finetune.inputs.processor import save_processor
from glm_ocr_finetune.model.checkpoint import save_model
from glm_ocr_finetune.model.draft_layer import DraftLayer
from glm_ocr_finetune.model.tiny import build_model, build_mtp_tensors, build_processor


def draft_tensors(model: GlmOcrForConditionalGeneration, state_file: Path) -> dict[str, Tensor]:
    """The sixteen tensors: trained where the ``draft`` stage has run, else random."""
    if not state_file.exists():
        return build_mtp_tensors(model)
    layer = DraftLayer(model.config)
    layer.load_state_dict(torch.load(state_file, weights_only=True)["layer"])
    return layer.tensors(model.config, model.get_input_embeddings().weight, model.lm_head.weight)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--directory", type=Path, default=Path("runs/pretrain"))
    parser.add_argument("--stage", choices=("language", "joint"), default="joint")
    args = parser.parse_args()
    model = build_model(seed=0)
    model.load_state_dict(torch.load(args.directory / f"{args.stage}.pt", weights_only=True)["model"])
    drafts = draft_tensors(model, args.directory / "draft.pt")
    save_model(model.to(torch.bfloat16), args.output, {k: v.to(torch.bfloat16) for k, v in drafts.items()})
    save_processor(build_processor(), args.output)


if __name__ == "__main__":
    main()
