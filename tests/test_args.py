"""The package's own flags: each stands here, so that a new one is a decision; and what help says of them."""

from __future__ import annotations

from dataclasses import fields

import pytest

from glm_ocr_finetune import args, argument_fields, command_args
from glm_ocr_finetune.argument_fields import default_of

FLAGS = {  # those of a class's bases stand with the bases
    "ModelArguments": """
        model_name use_lora lora_rank lora_alpha lora_dropout lora_target load_in_4bit freeze_vision_tower
        freeze_multi_modal_projector
    """,
    "DataSource": """
        dataset_name dataset_config image_folder image_column text_column group_column data_format level max_samples
    """,
    "PromptArguments": "prompt task prompt_format min_pixels max_pixels",
    "ScoringArguments": "text_normalisation cer_unit",
    "ReaderArguments": "model adapter batch_size repetition_penalty speculative device_map",
    "DataArguments": "train_split eval_split eval_split_size probe_dataset replay_dataset replay_ratio streaming dry_run plan",
    "TrainingDefaults": """
        output_dir overwrite_output_dir num_train_epochs max_steps learning_rate lr_scheduler_type warmup_ratio warmup_steps
        per_device_train_batch_size gradient_accumulation_steps tokens_per_batch padding_free mtp cache_vision_features
        vision_cache_gb dataloader_num_workers max_length eval_strategy eval_steps save_strategy save_steps
        save_total_limit load_best_model_at_end eval_generate eval_samples per_device_eval_batch_size
        metric_for_best_model early_stopping_patience report_to logging_nan_inf_filter max_grad_norm bf16 fp16 gradient_checkpointing
    """,
    "InferenceArguments": """
        image max_new_tokens recursive pages dataset_name split regions level output_dir output_format shard retry_failed
        server concurrency stop_loops
    """,
    "EvaluateArguments": "predictions split find_label_errors like output_dir max_new_tokens",
    "ExportArguments": "model adapter engine output_dir prove split max_shard_size llama_cpp push_to_hub",
    "MtpArguments": "model split output_dir num_train_epochs batch_size device_map",
    "ReportArguments": "run tuned base output",
    "DemoArguments": "output_dir use_lora load_in_4bit seed",
    "DoctorArguments": "",
}
COMMANDS = (
    (args.ModelArguments, args.DataArguments, args.TrainingDefaults),
    *(
        (one,)
        for one in (
            args.InferenceArguments,
            command_args.EvaluateArguments,
            command_args.ExportArguments,
            command_args.MtpArguments,
            command_args.ReportArguments,
            command_args.DemoArguments,
            command_args.DoctorArguments,
        )
    ),
)


def declared_as(name: str) -> type:
    declared: type = getattr(args, name, None) or getattr(command_args, name)
    return declared


@pytest.mark.parametrize("name", FLAGS)
def test_a_new_flag_is_a_decision(name: str) -> None:
    """Do two users need two values of it? Then add it here and to the README or docs, else settle it without one."""
    assert list(declared_as(name).__dict__.get("__annotations__", {})) == FLAGS[name].split()


def test_no_command_is_left_out() -> None:
    declared = {
        name
        for module in (args, command_args)
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    assert declared == set(FLAGS)


@pytest.mark.parametrize("classes", COMMANDS, ids=lambda classes: classes[0].__name__)
def test_no_name_stands_for_two_things_in_one_command(classes: tuple[type, ...]) -> None:
    names = [name for cls in classes for one in fields(cls) for name in (one.name, *one.metadata.get("also", ()))]
    assert len(names) == len(set(names))


def test_model_and_model_name_are_accepted_for_each_other() -> None:
    for classes in COMMANDS[:4]:
        known = {(one.name, *one.metadata.get("also", ())) for cls in classes for one in fields(cls)}
        assert known & {("model", "model_name"), ("model_name", "model")}


@pytest.mark.parametrize(
    ("within", "inside", "outside", "text"),
    [
        (argument_fields.POSITIVE, (1e-9, 5), (0, -1, float("nan"), float("inf")), "above 0"),
        (argument_fields.NOT_NEGATIVE, (0, 2), (-1e-9,), "at least 0"),
        (argument_fields.SHARE, (0, 0.99), (1, -0.1), "from 0 to below 1"),
        (argument_fields.Range(1, also=-1), (1, -1), (0, -2), "at least 1, or -1"),
    ],
)
def test_ranges(
    within: argument_fields.Range, inside: tuple[float, ...], outside: tuple[float, ...], text: str
) -> None:
    assert all(value in within for value in inside)
    assert not any(value in within for value in outside)
    assert str(within) == text


def test_arguments_of_another_command_are_taken_by_name() -> None:
    source = command_args.EvaluateArguments(
        dataset_name="lines", max_samples=3, prompt="Table Recognition:", max_pixels=7840
    )
    data_args = args.DataArguments.of(source, train_split="test")
    taken = (data_args.dataset_name, data_args.max_samples, data_args.prompt, data_args.max_pixels)
    assert (*taken, data_args.train_split) == ("lines", 3, "Table Recognition:", 7840, "test")


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_says_what_it_is_and_its_default_is_one_of_its_choices(name: str) -> None:
    for one in fields(declared_as(name)):
        text = one.metadata["help"]
        assert text[0].isupper() or text[0] in "'1\"" or text.startswith(("auto", "wandb", "bf16", "fp16")), one.name
        assert text.endswith((".", "...")), one.name
        choices = one.metadata.get("choices")
        assert not choices or default_of(one) in (None, *choices), one.name


def test_flags_of_one_name_mean_one_thing() -> None:
    """Reading and training share prompt, budget and scoring: the same choices everywhere."""
    choices: dict[str, set[tuple[str, ...]]] = {}
    for name in FLAGS:
        for one in fields(declared_as(name)):
            choices.setdefault(one.name, set()).add(tuple(one.metadata.get("choices") or ()))
    assert {name for name, found in choices.items() if len(found) > 1} == set()
