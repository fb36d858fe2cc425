"""What somebody meant who typed a name that is none: names of other tools, misspellings, other commands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

# Names that people know from other tools, and what they are called here; the first that the command has is named.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "epochs": ("num_train_epochs",),
    "num_epochs": ("num_train_epochs",),
    "steps": ("max_steps",),
    "num_train_steps": ("max_steps",),
    "batch": ("per_device_train_batch_size", "batch_size"),
    "bs": ("per_device_train_batch_size", "batch_size"),
    "batch_size": ("per_device_train_batch_size",),
    "train_batch_size": ("per_device_train_batch_size",),
    "micro_batch_size": ("per_device_train_batch_size",),
    "per_device_batch_size": ("per_device_train_batch_size", "batch_size"),
    "eval_batch_size": ("per_device_eval_batch_size", "batch_size"),
    "per_device_eval_batch_size": ("batch_size",),
    "grad_accum": ("gradient_accumulation_steps",),
    "accumulation_steps": ("gradient_accumulation_steps",),
    "grad_clip": ("max_grad_norm",),
    "warmup": ("warmup_ratio",),
    "scheduler": ("lr_scheduler_type",),
    "lr_scheduler": ("lr_scheduler_type",),
    "optimizer": ("optim",),
    "model_name_or_path": ("model_name", "model"),
    "model_id": ("model_name", "model"),
    "model_path": ("model_name", "model"),
    "base_model": ("model_name", "model"),
    "pretrained_model_name_or_path": ("model_name", "model"),
    "checkpoint": ("resume_from_checkpoint", "model"),
    "resume": ("resume_from_checkpoint",),
    "adapter_path": ("adapter",),
    "adapter_name_or_path": ("adapter",),
    "adapters": ("adapter",),
    "dataset": ("dataset_name", "image"),
    "data": ("dataset_name", "image"),
    "dataset_path": ("dataset_name",),
    "data_path": ("dataset_name",),
    "data_dir": ("dataset_name",),
    "dataset_dir": ("dataset_name",),
    "train_file": ("dataset_name",),
    "train_data": ("dataset_name",),
    "dataset_split": ("train_split", "split"),
    "split": ("train_split",),
    "test_split": ("eval_split", "split"),
    "validation_split": ("eval_split", "split"),
    "eval_dataset": ("eval_split",),
    "validation_file": ("eval_split",),
    "val_size": ("eval_split_size",),
    "test_size": ("eval_split_size",),
    "limit": ("max_samples",),
    "num_samples": ("max_samples",),
    "images": ("image", "image_folder"),
    "input": ("image", "dataset_name"),
    "image_path": ("image", "image_folder"),
    "image_file": ("image",),
    "image_dir": ("image", "image_folder"),
    "media_dir": ("image_folder",),
    "label_column": ("text_column",),
    "dataset_text_field": ("text_column",),
    "instruction": ("prompt",),
    "template": ("prompt_format",),
    "image_max_pixels": ("max_pixels",),
    "image_min_pixels": ("min_pixels",),
    "resolution": ("max_pixels",),
    "cutoff_len": ("max_length",),
    "max_seq_length": ("max_length",),
    "max_seq_len": ("max_length",),
    "model_max_length": ("max_length",),
    "max_tokens": ("max_new_tokens", "max_length"),
    "output": ("output_dir",),
    "out": ("output_dir", "output"),
    "output_path": ("output_dir", "output"),
    "save_dir": ("output_dir",),
    "lora": ("use_lora",),
    "use_peft": ("use_lora",),
    "finetuning_type": ("use_lora",),
    "qlora": ("load_in_4bit",),
    "quantization_bit": ("load_in_4bit",),
    "load_in_8bit": ("load_in_4bit",),
    "r": ("lora_rank",),
    "rank": ("lora_rank",),
    "lora_r": ("lora_rank",),
    "alpha": ("lora_alpha",),
    "target_modules": ("lora_target",),
    "lora_target_modules": ("lora_target",),
    "freeze_vit": ("freeze_vision_tower",),
    "freeze_llm": ("use_lora",),
    "freeze_aligner": ("freeze_multi_modal_projector",),
    "group_by_length": ("train_sampling_strategy group_by_length",),
    "length_grouped_sampler": ("train_sampling_strategy group_by_length",),
    "shuffle": ("train_sampling_strategy",),
    "evaluation_strategy": ("eval_strategy",),
    "predict_with_generate": ("eval_generate",),
    "patience": ("early_stopping_patience",),
    "early_stopping": ("early_stopping_patience",),
    "wandb": ("report_to wandb",),
    "tensorboard": ("report_to tensorboard",),
    "num_workers": ("dataloader_num_workers",),
    "workers": ("dataloader_num_workers",),
    "flash_attn": ("padding_free",),
    "cpu": ("use_cpu", "device_map cpu"),
    "no_cuda": ("use_cpu", "device_map cpu"),
    "device": ("device_map", "use_cpu"),
    "gpu": ("device_map",),
    "fp32": ("bf16 False",),
    "normalization": ("text_normalisation",),
    "text_normalization": ("text_normalisation",),
    "preds": ("predictions",),
    "prediction": ("predictions",),
    "prediction_file": ("predictions",),
    "run_dir": ("run",),
    "run_folder": ("run",),
}


def suggestion(typed: str, names: Sequence[str], others: Mapping[str, Sequence[str]]) -> str:
    """What to say after "unknown argument": the name that was meant, or the command that has it; else nothing.

    Args:
        typed: without dashes.
        names: the arguments of the command, without dashes.
        others: those of the other commands.
    """
    known = [meant for meant in ELSEWHERE.get(typed, ()) if meant.split()[0] in names]
    close = known or difflib.get_close_matches(typed, names, n=1, cutoff=0.7)
    if close:
        return f"; did you mean --{close[0]}?"
    having = [command for command, theirs in others.items() if typed in theirs]
    if having:
        return f"; it is an argument of: {', '.join(having)}"
    holding = [name for name in names if typed in name.split("_")] or difflib.get_close_matches(typed, names, n=1)
    return f"; did you mean --{' or --'.join(holding[:3])}?" if holding else ""
