"""What a run was started with, kept beside it and in its checkpoints, so that a continuation can be compared with it."""

from __future__ import annotations

import json
import logging
import math
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..args import DataArguments, ModelArguments
from ..data.splits import Splits
from ..errors import UserError
from ..folders import RUN_FILE
from ..readers.streams import fingerprint
from ..training_args import TrainingArguments
from .processes import sharding_of

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import nn

logger = logging.getLogger(__name__)

SAMPLED = 64  # values of each tensor that tell one base model from another

# In the optimizer's state, which is restored: what is typed anew has no effect.
RESTORED = ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")
# The weights or the optimizer's state of a checkpoint fit no other value.
FITS_NO_OTHER = (
    *("use_lora", "lora_rank", "lora_alpha", "lora_target", "load_in_4bit"),
    *("freeze_vision_tower", "freeze_multi_modal_projector", "optim", "streaming", "mtp"),
)
# Which samples are in which step.
ORDER = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "tokens_per_batch", "train_sampling_strategy"),
    *("seed", "data_seed", "ranks"),
)
# Where things go, what is printed, how work is shared out: the weights are the same.
WITHOUT_EFFECT = re.compile(
    r"output_dir|overwrite_output_dir|resume_from_checkpoint|dry_run|plan|dataset_name|image_folder|local_rank|fsdp|"
    r"(logging|log|report|run|save|hub|push|trackio|dataloader|ddp|do|include|skip|vision_cache|cache|fsdp|jit|enable)_.*|"
    r"project|disable_tqdm|debug|padding_free|per_device_eval_batch_size|deepspeed|accelerator_config|use_cpu|origins|"
    r"parallelism_config|torch_empty_cache_steps|restore_callback_states_from_checkpoint|warmup_ratio|prediction_loss_only"
)


@dataclass(frozen=True)
class RunRecord:
    """What a run was started with.

    Attributes:
        run: names the run; its continuations have the same name.
        arguments: name to value, those that have an effect on the weights.
        ranks: processes that trained.
        model: digest of the base model.
        data: digest of the training samples and, where there are some, of the evaluation samples.
        samples: number of training samples.
        planned: optimizer steps of the whole run.
        finished: the step that it ended at; None while it has not.
    """

    run: str
    arguments: dict[str, Any]
    ranks: int
    model: str
    data: dict[str, str]
    samples: int
    planned: int | None = None
    finished: int | None = None

    def write(self, directory: Path) -> None:
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (directory / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def read_record(directory: Path) -> RunRecord | None:
    """The record in a run's folder or checkpoint; None where there is none that can be read."""
    try:
        return RunRecord(**json.loads((directory / RUN_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def arguments_with_effect(*groups: ModelArguments | DataArguments | TrainingArguments) -> dict[str, Any]:
    """Name to value, as JSON has it, of the arguments that may change what is trained."""
    values: dict[str, Any] = {}
    for group in groups:
        if isinstance(group, TrainingArguments):
            values |= group.to_dict() | {"sharding": sharding_of(group)}
        else:
            values |= asdict(group)
    if values.get("lora_alpha") is None:
        values["lora_alpha"] = 2 * values["lora_rank"]
    kept = {name: value for name, value in values.items() if not WITHOUT_EFFECT.fullmatch(name)}
    if not values["use_lora"]:
        kept = {name: value for name, value in kept.items() if not name.startswith("lora_")}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def record_run(
    arguments: dict[str, Any], ranks: int, model: nn.Module, splits: Splits, earlier: RunRecord | None
) -> RunRecord:
    """The record of this run. A continuation keeps the name, and the values that its checkpoint restores.

    Args:
        model: with the base's weights; those of a checkpoint are not loaded yet.
    """
    data = {"training": digest_of_samples(splits.train)}
    if splits.stream:
        data["training"] += f"-{fingerprint(splits.stream.source)}"
    if splits.evaluation is not None:
        data["evaluation"] = digest_of_samples(splits.evaluation)
    record = RunRecord(uuid.uuid4().hex, arguments, ranks, digest_of_model(model), data, len(splits.train))
    if earlier is None:
        return record
    restored = {name: earlier.arguments[name] for name in RESTORED if name in earlier.arguments}
    return replace(record, run=earlier.run, arguments=arguments | restored)


def digest_of_samples(samples: Dataset) -> str:
    """A digest of texts, prompts and images, in their order; the survey's keys stand for the images."""
    digest = blake2b(digest_size=12)
    names = ["text", "prompt", "key"]  # alone: the images would be copied out of their table
    for table in samples.with_format("arrow").select_columns(names).iter(batch_size=1000):
        columns = [table.column(name).to_pylist() for name in names]
        digest.update(repr(columns).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def digest_of_model(model: nn.Module) -> str:
    """A digest of names, shapes and some values of the base's parameters; adapters are drawn at random and left out."""
    digest = blake2b(digest_size=12)
    for name, parameter in sorted(model.named_parameters()):
        if ".lora_" not in name:
            values = parameter.detach().flatten()[:SAMPLED].float().cpu().numpy().tobytes()
            digest.update(f"{name} {tuple(parameter.shape)} ".encode() + values)
    return digest.hexdigest()


def compare_arguments(earlier: RunRecord, arguments: Mapping[str, Any], ranks: int, checkpoint: Path) -> list[str]:
    """What a continuation does with each argument that differs from its checkpoint's, a line each.

    Raises:
        UserError: the checkpoint cannot be continued with one of them.
    """
    old = earlier.arguments | {"ranks": earlier.ranks}
    new = {**arguments, "ranks": ranks}
    _refuse_other_sharding(old, new, checkpoint)
    order = () if _has_the_same_steps(old, new) else ORDER
    lines = []
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            lines.append(_difference(name, old[name], new[name], checkpoint, order))
    return lines


def _refuse_other_sharding(old: Mapping[str, Any], new: Mapping[str, Any], checkpoint: Path) -> None:
    """Raise UserError where the optimizer's state lies in files that only as many ranks, shared out alike, can read."""
    was, now = old.get("sharding", ""), new.get("sharding", "")
    if was != now:
        raise UserError(
            f"{checkpoint} was saved with {was or 'whole weights on each rank'} and cannot be continued with "
            f"{now or 'whole weights on each rank'}; start as before, or a new run with --model_name {checkpoint}"
        )
    if now.startswith("ZeRO") and old["ranks"] != new["ranks"]:
        raise UserError(
            f"{checkpoint} was saved by {old['ranks']} ranks, and DeepSpeed continues with as many only; start "
            f"{old['ranks']}, or a new run with --model_name {checkpoint}"
        )


def _has_the_same_steps(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether each optimizer step has the same samples, shared out and accumulated otherwise."""
    cut = ["ranks", "gradient_accumulation_steps", "per_device_train_batch_size"]
    if new.get("tokens_per_batch") or new.get("train_sampling_strategy") == "group_by_length":
        cut.pop()  # then batches are made first, and only shared out otherwise
    others = {*ORDER} - {*cut}
    if new.get("streaming") or any(old.get(name) != new.get(name) for name in others):
        return False
    sizes = [math.prod(int(one.get(name) or 1) for name in cut) for one in (old, new)]
    return sizes[0] == sizes[1]


def _difference(name: str, old: Any, new: Any, checkpoint: Path, order: Collection[str]) -> str:
    if name in FITS_NO_OTHER:
        raise UserError(
            f"--{name} is {new}, but {checkpoint} was saved with {old} and cannot be continued with another; give "
            f"--{name} {old}, or start a new run in another --output_dir"
        )
    if name in RESTORED:
        return f"{name} stays {old}, as {checkpoint.name} has it; the {new} that is asked for takes effect in a new run only"
    line = f"{name} is {new} from here on; {checkpoint.name} was saved with {old}"
    if name in ORDER:
        line += (
            " (samples of this epoch may come twice or not at all)"
            if name in order
            else " (each step has the same samples, summed up in another order)"
        )
    return line


def refuse_other_data(earlier: RunRecord, record: RunRecord, checkpoint: Path) -> None:
    """Raise UserError when a checkpoint would be continued on another base model or on other samples."""
    start = f"start a new run with --model_name {checkpoint} and another --output_dir"
    if earlier.model != record.model:
        raise UserError(
            f"the base model differs from that of {checkpoint} (fingerprint {record.model}, was {earlier.model}): give "
            f"the same --model_name, or {start}"
        )
    for part in sorted(earlier.data.keys() & record.data.keys()):
        if earlier.data[part] != record.data[part]:
            raise UserError(
                f"the {part} data differ from those of {checkpoint}: {record.samples} samples to train on with "
                f"fingerprint {record.data[part]}, there were {earlier.samples} with {earlier.data[part]}; give the "
                f"same data, or {start}"
            )
