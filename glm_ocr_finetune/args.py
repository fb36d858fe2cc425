"""Every argument this package declares, with its default and its help; nothing heavy is imported here.

``TrainingArguments`` joins :class:`TrainingDefaults` with TRL's ``SFTConfig`` and so needs torch; it lives in
``training_args`` and is reachable from here by name. What is said of TRL's other arguments is in ``sft_arguments``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .argument_fields import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range, arg
from .errors import UserError

if TYPE_CHECKING:
    from .training_args import TrainingArguments as TrainingArguments

DEFAULT_MODEL = "zai-org/GLM-OCR"
DEFAULT_PROMPT = "Text Recognition:"
TASK_PROMPTS = {"text": DEFAULT_PROMPT, "table": "Table Recognition:", "formula": "Formula Recognition:"}
JSON_PROMPT = "请按下列JSON格式输出图中信息:"  # of the model card; a template of the answer stands below it
TASKS = (*TASK_PROMPTS, "json")
DEFAULT_LENGTH = 2048  # tokens, of the official recipe
PROMPT_FORMATS = ("serve", "no_think")
DEFAULT_PROMPT_FORMAT = PROMPT_FORMATS[0]
NORMALISATIONS = ("none", "nfc", "nfc_case", "nfc_case_punct")
CER_UNITS = ("grapheme", "codepoint")
CACHES = ("auto", "off", "memory", "disk")
INTERVALS = ("no", "steps", "epoch")
OUTPUT_FORMATS = ("jsonl", "text", "markdown", "xml")
LEVELS = ("line", "region", "page")
MTP = ("keep", "train")
SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"),
    *("reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy"),
)


@dataclass
class ModelArguments:
    """Model, and which of its parts are trained."""

    model_name: str = arg(
        DEFAULT_MODEL,
        "Hub id or directory of a GLM-OCR checkpoint. 'tiny' is a small model that comes with the package and runs on "
        "any CPU; 'tiny-random' is the same with random weights.",
        also=("model",),
    )
    use_lora: bool = arg(False, "Train LoRA adapters instead of the weights themselves.")
    lora_rank: int = arg(8, "LoRA rank: higher means more capacity and more memory.", within=COUNT)
    lora_alpha: int | None = arg(None, "LoRA scaling numerator. Default: 2 x rank.", within=COUNT)
    lora_dropout: float = arg(0.0, "Dropout on the input of each adapter; the official recipe has none.", within=SHARE)
    lora_target: str = arg(
        "all", "'all' linear layers of the parts being trained, or a comma-separated list such as 'q_proj,v_proj'."
    )
    load_in_4bit: bool = arg(
        False, "Quantise the language model's layers to 4-bit NF4; needs --use_lora True and the extra '4bit'."
    )
    freeze_vision_tower: bool = arg(True, "Freeze patch embedding, vision blocks and the norm after them.")
    freeze_multi_modal_projector: bool = arg(
        True, "Freeze downsample and merger, which connect the vision tower to the language model."
    )


@dataclass
class DataSource:
    """Where samples come from."""

    dataset_name: list[Any] | str | None = arg(
        None,
        "Hub id, folder or file with images and transcriptions (required). Several are read together; NAME:0.7 gives "
        "one its share of the training samples.",
    )
    dataset_config: str | None = arg(None, "Configuration name, for a hub data set that has several.")
    image_folder: str | None = arg(
        None, "Folder that relative image paths start from. Default: the folder of the file that names them."
    )
    image_column: str | None = arg(None, "Column with the image. Default: detected.")
    text_column: str | None = arg(None, "Column with the transcription. Default: detected.")
    group_column: str | None = arg(
        None,
        "Column whose equal values stay on one side of the split, such as a writer. Default: the page, where known.",
    )
    data_format: str | None = arg(None, "Format of a local data set, as in docs/formats.md. Default: detected.")
    level: str | None = arg(None, "What a sample is in page formats. Default: a line where there are lines.", LEVELS)
    max_samples: int | None = arg(None, "Use only the first N samples of each split.", within=COUNT)

    def __post_init__(self) -> None:
        if isinstance(self.dataset_name, list):
            entries = [_mapping(one) if str(one).startswith("{") else one for one in self.dataset_name]
            self.dataset_name = entries[0] if len(entries) == 1 and isinstance(entries[0], str) else entries

    @property
    def data_sets(self) -> str:
        """The names of the data sets, for messages."""
        names = self.dataset_name if isinstance(self.dataset_name, list) else [self.dataset_name]
        return ", ".join(str(one.get("dataset_name") if isinstance(one, dict) else one) for one in names)


def _mapping(entry: Any) -> dict[str, Any]:
    """A data set with arguments of its own; on the command line, and from a configuration file, it is JSON."""
    try:
        return dict(json.loads(entry) if isinstance(entry, str) else entry)
    except ValueError as error:
        raise UserError(f"--dataset_name {entry} is neither a name nor JSON: {error}") from error


@dataclass
class PromptArguments:
    """Prompt and image size."""

    prompt: str | None = arg(
        None,
        "Prompt for samples that have none of their own. "
        f"Default: what the checkpoint was tuned with, else '{DEFAULT_PROMPT}'.",
    )
    task: str | None = arg(
        None,
        "Prompt by task, instead of --prompt: those that GLM-OCR was trained with. 'json' asks for the fields that "
        "occur in the labels; where there are none, as in infer, it is refused.",
        choices=TASKS,
    )
    prompt_format: str | None = arg(
        None,
        "'serve': the prompt that servers send by default. 'no_think': the one they send with enable_thinking=False. "
        "Default: what the checkpoint was tuned with, else 'serve'.",
        choices=PROMPT_FORMATS,
    )
    min_pixels: int | None = arg(
        None, "Smallest image in pixels, height x width. Default: the checkpoint's (6272 in GLM-OCR).", within=COUNT
    )
    max_pixels: int | None = arg(
        None, "Largest image in pixels, height x width. Default: the checkpoint's (4816896 in GLM-OCR).", within=COUNT
    )

    @property
    def asked_prompt(self) -> str | None:
        """The prompt that was given, in words or by its task; None where neither was."""
        if self.prompt is not None or self.task is None:
            return self.prompt
        return TASK_PROMPTS.get(self.task, JSON_PROMPT)


@dataclass
class ScoringArguments:
    """Scoring."""

    text_normalisation: str = arg(
        "nfc", "Normalisation of both texts before they are compared.", choices=NORMALISATIONS
    )
    cer_unit: str = arg("grapheme", "What counts as one character.", choices=CER_UNITS)


@dataclass
class DataArguments(PromptArguments, DataSource):
    """Splits, and looking before training."""

    train_split: str | None = arg("train", "Split to train on.")
    eval_split: str | None = arg(None, "Split to evaluate on, if the data set has one.")
    eval_split_size: float = arg(
        0.1, "Share of the training split held out for evaluation if --eval_split is not given.", within=SHARE
    )
    probe_dataset: str | None = arg(
        None, "Other data to read before and after training, to see what the tuning cost there."
    )
    replay_dataset: str | None = arg(None, "Other data to mix into the training, so that it is not forgotten.")
    replay_ratio: float = arg(0.1, "Samples of --replay_dataset for each training sample.", within=POSITIVE)
    streaming: bool = arg(
        False,
        "Read parquet files or tar shards, local or of the hub, as a stream: nothing is surveyed before the first step. "
        "Needs --max_steps; what is evaluated on is a fixed head (docs/streaming.md).",
    )
    dry_run: bool = arg(False, "Load everything, show what would be trained, and stop.")
    plan: str | None = arg(
        None,
        "Expected memory by part, number of steps, and time from a few measured steps; nothing is saved. With the "
        "size of a GPU, such as 8GB: what would fit on it, and the flags to type; no weights are loaded.",
        bare="True",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.plan and self.plan.lower() == "false":
            self.plan = None

    @classmethod
    def of(cls, source: Any, **others: Any) -> DataArguments:
        """The fields that ``source``, the arguments of another command, has in common with these, and ``others``."""
        common = {one.name for one in fields(cls)} & {one.name for one in fields(source)}
        return cls(**{name: getattr(source, name) for name in common} | others)

    @property
    def default_prompt(self) -> str:
        """The prompt of samples that bring none of their own."""
        asked = self.asked_prompt
        return DEFAULT_PROMPT if asked is None else asked


@dataclass
class TrainingDefaults(ScoringArguments):
    """Training: arguments whose default differs from TRL's, and those this package adds."""

    output_dir: str = arg("./glm-ocr-finetuned", "Folder for checkpoints, logs and the tuned model.")
    overwrite_output_dir: bool = arg(False, "Remove the results of another run from --output_dir, and start there.")
    num_train_epochs: float = arg(3.0, "Passes over the training samples.", within=POSITIVE, needs="epochs")
    max_steps: int = arg(-1, "Optimizer steps; overrides --num_train_epochs when positive.", within=Range(1, also=-1))
    learning_rate: float | None = arg(
        None, "Peak learning rate. Default: 1e-5, or 1e-4 with LoRA; more for the tiny model.", within=POSITIVE
    )
    lr_scheduler_type: str = arg("cosine", "Shape of the learning rate after the warm-up.", choices=SCHEDULES)
    warmup_ratio: float | None = arg(
        None, "Share of the steps spent warming up. Default: 0.1.", within=SHARE, needs="warm-up"
    )
    warmup_steps: float | None = arg(
        None, "Warm-up in steps, instead of --warmup_ratio.", within=NOT_NEGATIVE, needs="warm-up"
    )
    per_device_train_batch_size: int = arg(4, "Samples per device and step.", within=COUNT)
    gradient_accumulation_steps: int = arg(
        2, "Batches whose gradients are summed before the weights are updated.", within=COUNT
    )
    tokens_per_batch: int | None = arg(
        None,
        "Most tokens per device and step, in samples of similar length, instead of a fixed number of samples.",
        within=COUNT,
    )
    padding_free: bool = arg(True, "Lay the samples of a batch out as one row instead of padding them to the longest.")
    mtp: str = arg(
        "keep",
        "The multi-token-prediction layer, which servers draft tokens with: 'keep' it as the base has it, or 'train' it "
        "beside the model, which does not change.",
        choices=MTP,
    )
    cache_vision_features: str = arg(
        "auto",
        "Where to keep image features once a frozen vision tower has computed them. "
        "Default: auto, which decides by their size and prints why.",
        choices=CACHES,
    )
    vision_cache_gb: float | None = arg(
        None,
        "Most gigabytes of cached features. Default: half of the free memory, or of the free disk.",
        within=NOT_NEGATIVE,
        needs="cache",
    )
    dataloader_num_workers: int | None = arg(
        None,
        "Processes that read and resize images ahead. Default: up to 4 with a GPU, none on a CPU.",
        within=NOT_NEGATIVE,
    )
    max_length: int | None = arg(
        None,
        "Longest sequence in tokens: image, prompt, answer and stop token. Default: 2048, or more where the data needs "
        "it and the memory holds it. Where images are too large for it, max_pixels is lowered, and saved so.",
        within=COUNT,
    )
    eval_strategy: str = arg("steps", "When to evaluate.", choices=INTERVALS)
    eval_steps: float | None = arg(
        None,
        "Evaluate every N steps. Default: 100, or --save_steps if that is smaller; less often if evaluations would take "
        "more than a tenth of the training time.",
        within=POSITIVE,
        needs="evaluation by steps",
    )
    save_strategy: str | None = arg(
        None,
        "When to save a checkpoint. Default: epoch with --eval_strategy epoch, else steps.",
        choices=(*INTERVALS, "best"),
    )
    save_steps: float | None = arg(
        None,
        "Save a checkpoint every N steps. Default: 500, as a multiple of --eval_steps.",
        within=POSITIVE,
        needs="saving by steps",
    )
    save_total_limit: int | None = arg(3, "Checkpoints to keep; None keeps all.", within=COUNT)
    load_best_model_at_end: bool | None = arg(
        None, "End with the best checkpoint instead of the last. Default: yes, if there is an evaluation."
    )
    eval_generate: bool | None = arg(
        None, "Read with the model at every evaluation, and score the texts. Default: yes, if there is an evaluation."
    )
    eval_samples: int | None = arg(
        None,
        "Evaluation samples to read, drawn once by the seed. Default: 200, fewer where their labels are long.",
        within=COUNT,
        needs="reading",
    )
    per_device_eval_batch_size: int | None = arg(
        None,
        "Samples per device in an evaluation. Default: 8 for the loss; for reading, what fits the free memory.",
        within=COUNT,
    )
    metric_for_best_model: str | None = arg(
        None,
        "Metric that chooses the best checkpoint. Default: eval_cer, or eval_loss without --eval_generate.",
        needs="evaluation",
    )
    early_stopping_patience: int | None = arg(
        None, "Stop after N evaluations without an improvement. Default: never.", within=COUNT
    )
    report_to: list[str] | str | None = arg(
        None,
        "Experiment trackers: wandb, tensorboard, or none. Default: wandb when logged in, else tensorboard when "
        "installed, else none.",
    )
    logging_nan_inf_filter: bool = arg(False, "Log a loss that is not a number as the mean of those before it.")
    max_grad_norm: float = arg(1.0, "Clip gradients to this norm; 0 does not clip.", within=NOT_NEGATIVE)
    bf16: bool | None = arg(None, "bf16 autocast. Default: on GPUs that have bf16.")
    fp16: bool | None = arg(None, "fp16 autocast with loss scaling. Default: on GPUs without bf16.")
    gradient_checkpointing: bool | None = arg(
        None,
        "Recompute activations instead of keeping them. Default: on a GPU where they would not fit well, on a CPU no.",
    )


@dataclass
class ReaderArguments:
    """Model that reads."""

    model: str = arg(
        DEFAULT_MODEL, "Hub id or directory: a base model, a tuned one, or a LoRA adapter.", also=("model_name",)
    )
    adapter: str | None = arg(None, "Directory of a LoRA adapter. Default: --model, if it holds adapter_config.json.")
    batch_size: int | None = arg(
        None, "Images read together. Default: what fits 16,384 tokens, at most 64.", within=COUNT
    )
    repetition_penalty: float = arg(1.0, "1.0 is none; the official SDK asks its server for 1.1.", within=POSITIVE)
    speculative: bool = arg(
        False,
        "Let the multi-token-prediction layer draft tokens that the model then checks: the same text in fewer steps.",
    )
    device_map: str = arg("auto", "auto, cpu, cuda, cuda:1, ...")


@dataclass
class InferenceArguments(PromptArguments, ReaderArguments):
    """Images."""

    image: list[str] = field(
        default_factory=list, metadata={"help": "Image files and folders of images to read (required)."}
    )
    max_new_tokens: int = arg(8192, "Longest answer in tokens.", within=COUNT)
    recursive: bool = arg(False, "Also read the folders inside the folders of --image.")
    pages: str | None = arg(None, "Pages to read of each PDF and TIFF, such as 1-3,7,10-. Default: all.")
    dataset_name: str | None = arg(None, "Data set whose images are read instead of --image; see docs/formats.md.")
    split: str | None = arg(None, "Split of --dataset_name. Default: test, else validation, else train.")
    regions: str | None = arg(
        None,
        "PAGE XML or ALTO files, or a folder of them, whose lines or regions (--level) are read instead of --image.",
    )
    level: str | None = arg(None, "What is read of --regions. Default: a line where there are lines.", LEVELS)
    output_dir: str | None = arg(
        None, "Folder for the results, for as many images as there are: a run that is cut off goes on where it was."
    )
    output_format: str | None = arg(
        None,
        "What --output_dir gets beside readings.jsonl: a text for each page, Markdown for each document, or the files of "
        "--regions with the texts in them. Default: jsonl, nothing else.",
        choices=OUTPUT_FORMATS,
    )
    shard: str | None = arg(
        None, "Read only the k-th of every n images, given as k/n, for n processes with one --output_dir."
    )
    retry_failed: bool = arg(False, "Read again what could not be read before.")
    server: list[str] = field(
        default_factory=list,
        metadata={"help": "URLs of OpenAI-compatible servers to read with instead of this process."},
    )
    concurrency: int = arg(16, "Requests under way at once, over all servers.", within=COUNT)
    stop_loops: bool = arg(True, "With --output_dir: end answers that repeat themselves 32 times, and mark them.")


def __getattr__(name: str) -> Any:
    if name == "TrainingArguments":
        from .training_args import TrainingArguments

        return TrainingArguments
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
