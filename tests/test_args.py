"""The package's own flags: each stands here, so that a new one is a decision; and what help says of them."""

from __future__ import annotations

from dataclasses import fields

import pytest

from glm_ocr_finetune import args
from glm_ocr_finetune.args import default_of

FLAGS = {
    "ModelArguments": """
        model_name use_lora lora_rank lora_alpha lora_dropout lora_target load_in_4bit freeze_vision_tower
        freeze_multi_modal_projector
    """,
    "DataArguments": """
        dataset_name dataset_config image_folder image_column text_column train_split eval_split eval_split_size
        max_samples prompt prompt_format min_pixels max_pixels probe_dataset replay_dataset replay_ratio dry_run plan
    """,
    "TrainingDefaults": """
        output_dir num_train_epochs max_steps learning_rate lr_scheduler_type warmup_ratio warmup_steps
        per_device_train_batch_size gradient_accumulation_steps tokens_per_batch padding_free cache_vision_features
        vision_cache_gb dataloader_num_workers max_length eval_strategy eval_steps save_steps save_total_limit
        load_best_model_at_end eval_generate eval_samples metric_for_best_model early_stopping_patience
        text_normalisation cer_unit report_to max_grad_norm bf16 fp16 gradient_checkpointing
    """,
    "InferenceArguments": """
        model adapter image prompt prompt_format min_pixels max_pixels max_new_tokens batch_size repetition_penalty
        device_map
    """,
    "EvaluateArguments": """
        dataset_name model adapter predictions split dataset_config image_folder image_column text_column max_samples
        find_label_errors output_dir prompt prompt_format min_pixels max_pixels max_new_tokens batch_size
        repetition_penalty text_normalisation cer_unit device_map
    """,
    "ReportArguments": "run tuned base output text_normalisation cer_unit",
    "DemoArguments": "output_dir use_lora load_in_4bit seed",
}


@pytest.mark.parametrize("name", FLAGS)
def test_a_new_flag_is_a_decision(name: str) -> None:
    """Do two users need two values of it? Then add it here and to the README or docs, else settle it without one."""
    assert [one.name for one in fields(getattr(args, name))] == FLAGS[name].split()


def test_no_command_is_left_out() -> None:
    declared = {
        name for name, value in vars(args).items() if isinstance(value, type) and value.__module__ == args.__name__
    }
    assert declared == set(FLAGS)


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_says_what_it_is_and_its_default_is_one_of_its_choices(name: str) -> None:
    for one in fields(getattr(args, name)):
        text = one.metadata["help"]
        assert text[0].isupper() or text[0] in "'1\"" or text.startswith(("auto", "wandb", "bf16", "fp16")), one.name
        assert text.endswith((".", "...")), one.name
        choices = one.metadata.get("choices")
        assert not choices or default_of(one) in (None, *choices), one.name


def test_flags_of_one_name_mean_one_thing() -> None:
    """Reading and training share prompt, budget and scoring: the same choices everywhere."""
    choices: dict[str, set[tuple[str, ...]]] = {}
    for name in FLAGS:
        for one in fields(getattr(args, name)):
            choices.setdefault(one.name, set()).add(tuple(one.metadata.get("choices") or ()))
    assert {name for name, found in choices.items() if len(found) > 1} == set()
