"""Every argument this package declares, with its default and its help; nothing heavy is imported here.

``TrainingArguments`` joins :class:`TrainingDefaults` with TRL's ``SFTConfig`` and so needs torch; it lives in
``training_args`` and is reachable from here by name.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .training_args import TrainingArguments as TrainingArguments

DEFAULT_MODEL = "zai-org/GLM-OCR"
DEFAULT_PROMPT = "Text Recognition:"
DEFAULT_LENGTH = 2048  # tokens, of the official recipe
PROMPT_FORMATS = ("serve", "no_think")
NORMALISATIONS = ("none", "nfc", "nfc_case", "nfc_case_punct")
CER_UNITS = ("grapheme", "codepoint")
CACHES = ("auto", "off", "memory", "disk")


def arg(default: Any, help: str, choices: tuple[str, ...] | None = None, bare: str | None = None) -> Any:
    """A dataclass field with its help text, its choices where there are some, and the value of the flag alone."""
    metadata: dict[str, Any] = {"help": help}
    if choices:
        metadata["choices"] = list(choices)
    if bare:
        metadata |= {"nargs": "?", "const": bare}
    return field(default=default, metadata=metadata)


def default_of(declared: Field[Any]) -> Any:
    """The default of a dataclass field."""
    return declared.default_factory() if declared.default_factory is not MISSING else declared.default


@dataclass
class ModelArguments:
    """What is loaded and which of its parts are trained."""

    model_name: str = arg(
        DEFAULT_MODEL,
        "Hub id or directory of a GLM-OCR checkpoint; 'tiny' reads on any CPU, 'tiny-random' reads nothing.",
    )
    use_lora: bool = arg(False, "Train LoRA adapters instead of the weights themselves.")
    lora_rank: int = arg(8, "LoRA rank: higher means more capacity and more memory.")
    lora_alpha: int | None = arg(None, "LoRA scaling numerator. Default: 2 x rank.")
    lora_dropout: float = arg(0.0, "Dropout on the input of each adapter; the official recipe has none.")
    lora_target: str = arg(
        "all", "'all' linear layers of the parts being trained, or a comma-separated list such as 'q_proj,v_proj'."
    )
    load_in_4bit: bool = arg(
        False, "Quantise the language model's layers to 4-bit NF4; needs --use_lora True and the extra '4bit'."
    )
    freeze_vision_tower: bool = arg(True, "Freeze patch embedding, vision blocks and the norm after them.")
    freeze_multi_modal_projector: bool = arg(True, "Freeze downsample and merger, which join vision and language.")


@dataclass
class DataArguments:
    """Which samples are read, and how they are shown to the model."""

    dataset_name: str | None = arg(None, "Hub id, folder or file of the data set (required).")
    dataset_config: str | None = arg(None, "Configuration name of a hub data set that has several.")
    image_folder: str | None = arg(None, "Folder that relative image paths start from. Default: where the file lies.")
    image_column: str | None = arg(None, "Column with the image. Default: detected.")
    text_column: str | None = arg(None, "Column with the transcription. Default: detected.")
    train_split: str = arg("train", "Split to train on.")
    eval_split: str | None = arg(None, "Split to evaluate on, when the data set has one.")
    eval_split_size: float = arg(0.1, "Share of the training split kept for evaluation when --eval_split is not given.")
    max_samples: int | None = arg(None, "Use only the first N samples of each split.")
    prompt: str | None = arg(
        None,
        "Prompt of samples that bring none of their own. "
        f"Default: what the checkpoint was tuned with, else '{DEFAULT_PROMPT}'.",
    )
    prompt_format: str | None = arg(
        None,
        "'serve': the prompt servers send by default. 'no_think': the one they send with enable_thinking=False. "
        "Default: what the checkpoint was tuned with, else 'serve'.",
        choices=PROMPT_FORMATS,
    )
    min_pixels: int | None = arg(None, "Smallest image in pixels, height x width. Default: the checkpoint's (6272).")
    max_pixels: int | None = arg(None, "Largest image in pixels, height x width. Default: the checkpoint's (4816896).")
    probe_dataset: str | None = arg(
        None, "Other data to read before and after training, to see what the tuning cost there."
    )
    replay_dataset: str | None = arg(None, "Other data to mix into the training, so that it is not forgotten.")
    replay_ratio: float = arg(0.1, "Samples of --replay_dataset for each training sample.")
    dry_run: bool = arg(False, "Load everything, show what would be trained, and stop.")
    plan: str | None = arg(
        None,
        "Expected memory by part, steps, and time from a few measured steps; nothing is kept. With the size of a GPU, "
        "such as 8GB: what would fit on it, and the flags to type; nothing is loaded.",
        bare="True",
    )

    def __post_init__(self) -> None:
        if self.plan and self.plan.lower() == "false":
            self.plan = None

    @property
    def default_prompt(self) -> str:
        """The prompt of samples that bring none of their own."""
        return DEFAULT_PROMPT if self.prompt is None else self.prompt


@dataclass
class TrainingDefaults:
    """The training arguments whose default differs from TRL's, and the ones this package adds."""

    output_dir: str = arg("./glm-ocr-finetuned", "Where checkpoints, logs and the tuned model go.")
    num_train_epochs: float = arg(3.0, "Passes over the training samples.")
    max_steps: int = arg(-1, "Optimizer steps; overrides --num_train_epochs when positive.")
    learning_rate: float | None = arg(
        None, "Peak learning rate. Default: 1e-5, or 1e-4 with LoRA; more for the tiny model."
    )
    lr_scheduler_type: str = arg("cosine", "Shape of the learning rate after the warm-up.")
    warmup_ratio: float | None = arg(None, "Share of the steps spent warming up. Default: 0.1.")
    warmup_steps: float | None = arg(None, "Warm-up in steps; use it instead of --warmup_ratio.")
    per_device_train_batch_size: int = arg(4, "Samples per device and step.")
    gradient_accumulation_steps: int = arg(2, "Steps whose gradients are added before the weights move.")
    tokens_per_batch: int | None = arg(
        None, "Most tokens per device and step, in samples of like length, instead of a fixed number of samples."
    )
    padding_free: bool = arg(True, "Lay the samples of a batch out as one row instead of padding them to the longest.")
    cache_vision_features: str = arg(
        "auto",
        "Where the features of images are kept once a frozen vision tower has seen them. "
        "Default: auto, which decides by their size and says why.",
        choices=CACHES,
    )
    vision_cache_gb: float | None = arg(
        None, "Most gigabytes of cached features. Default: half of the free memory, or of the free disk."
    )
    dataloader_num_workers: int | None = arg(
        None, "Processes that read and resize images ahead. Default: up to 4 with a GPU, none on a CPU."
    )
    max_length: int | None = arg(
        None,
        "Longest sequence in tokens: image, prompt, answer and stop token. Default: 2048, or more where the data needs "
        "it and the memory holds it. Where images are too large for it, max_pixels is lowered, and saved so.",
    )
    eval_strategy: str = arg("steps", "When to evaluate.", choices=("no", "steps", "epoch"))
    eval_steps: float | None = arg(
        None,
        "Evaluate every N steps. Default: 100, or --save_steps if that is smaller; rarer where evaluations would take "
        "more than a tenth of the training time.",
    )
    save_steps: float | None = arg(
        None, "Save a checkpoint every N steps. Default: 500, as a multiple of --eval_steps."
    )
    save_total_limit: int | None = arg(3, "Checkpoints to keep.")
    load_best_model_at_end: bool | None = arg(
        None, "End with the best checkpoint instead of the last. Default: yes, when there is an evaluation."
    )
    eval_generate: bool | None = arg(
        None, "Read with the model at every evaluation, and judge by it. Default: yes, when there is an evaluation."
    )
    eval_samples: int | None = arg(
        None, "Evaluation samples to read, drawn once by the seed. Default: 200, fewer where their labels are long."
    )
    per_device_eval_batch_size: int | None = arg(
        None,
        "Samples per device in an evaluation. Default: 8 for the loss; for reading, what fits the free memory.",
    )
    metric_for_best_model: str | None = arg(
        None, "What the best checkpoint is best at. Default: eval_cer, or eval_loss without --eval_generate."
    )
    early_stopping_patience: int | None = arg(None, "Stop after N evaluations without a better one. Default: never.")
    text_normalisation: str = arg("nfc", "What is done to texts before they are compared.", choices=NORMALISATIONS)
    cer_unit: str = arg("grapheme", "What counts as one character.", choices=CER_UNITS)
    report_to: str | None = arg(
        None, "wandb, tensorboard or none. Default: wandb when logged in, else tensorboard when installed, else none."
    )
    max_grad_norm: float = arg(1.0, "Gradients are scaled down to this norm.")
    bf16: bool | None = arg(None, "bf16 autocast. Default: on GPUs that have it.")
    fp16: bool | None = arg(None, "fp16 autocast with loss scaling. Default: on GPUs without bf16.")
    gradient_checkpointing: bool | None = arg(
        None, "Recompute activations instead of keeping them. Default: on a GPU yes, on a CPU no."
    )


@dataclass
class InferenceArguments:
    """What ``inference.py`` takes; ``--image`` may be repeated, and may name folders."""

    model: str = arg(DEFAULT_MODEL, "Hub id or directory: a base model, a tuned one, or a LoRA adapter.")
    adapter: str | None = arg(None, "LoRA adapter directory. Default: found by adapter_config.json in --model.")
    image: list[str] = field(
        default_factory=list, metadata={"help": "Image files and folders of images to read (required)."}
    )
    prompt: str | None = arg(
        None, f"Prompt of the task. Default: what the checkpoint was tuned with, else '{DEFAULT_PROMPT}'."
    )
    prompt_format: str | None = arg(None, "Default: what the checkpoint was tuned with.", choices=PROMPT_FORMATS)
    min_pixels: int | None = arg(None, "Smallest image in pixels. Default: the checkpoint's.")
    max_pixels: int | None = arg(None, "Largest image in pixels. Default: the checkpoint's.")
    max_new_tokens: int = arg(8192, "Longest answer in tokens.")
    batch_size: int | None = arg(None, "Images read together. Default: what fits the free memory.")
    repetition_penalty: float = arg(1.0, "1.0 is none; the official SDK asks its server for 1.1.")
    device_map: str = arg("auto", "auto, cpu, cuda, cuda:1, ...")


@dataclass
class EvaluateArguments:
    """What ``evaluate`` takes: a model to read with, or the predictions of any system, and the truths to compare."""

    dataset_name: str | None = arg(None, "Hub id, folder or file with images and transcriptions (required).")
    model: str = arg(DEFAULT_MODEL, "Hub id or directory: a base model, a tuned one, or a LoRA adapter.")
    adapter: str | None = arg(None, "LoRA adapter directory. Default: found by adapter_config.json in --model.")
    predictions: str | None = arg(
        None, "JSON lines with 'id' or 'image' and 'prediction', of any OCR system, to score instead of reading."
    )
    split: str | None = arg(None, "Split to read. Default: test, else validation, else train.")
    dataset_config: str | None = arg(None, "Configuration name of a hub data set that has several.")
    image_folder: str | None = arg(None, "Folder that relative image paths start from. Default: where the file lies.")
    image_column: str | None = arg(None, "Column with the image. Default: detected.")
    text_column: str | None = arg(None, "Column with the transcription. Default: detected.")
    max_samples: int | None = arg(None, "Read only the first N samples.")
    find_label_errors: bool = arg(
        False, "Also rank the labels that the model contradicts with confidence, in suspects.jsonl."
    )
    output_dir: str = arg("./glm-ocr-evaluation", "Where predictions.jsonl and scores.json go.")
    prompt: str | None = arg(
        None,
        "Prompt of samples that bring none of their own. "
        f"Default: what the checkpoint was tuned with, else '{DEFAULT_PROMPT}'.",
    )
    prompt_format: str | None = arg(None, "Default: what the checkpoint was tuned with.", choices=PROMPT_FORMATS)
    min_pixels: int | None = arg(None, "Smallest image in pixels. Default: the checkpoint's.")
    max_pixels: int | None = arg(None, "Largest image in pixels. Default: the checkpoint's.")
    max_new_tokens: int | None = arg(None, "Longest answer. Default: twice the truth's tokens and 64 more.")
    batch_size: int | None = arg(None, "Images read together. Default: what fits the free memory.")
    repetition_penalty: float = arg(1.0, "1.0 is none; the official SDK asks its server for 1.1.")
    text_normalisation: str = arg("nfc", "What is done to texts before they are compared.", choices=NORMALISATIONS)
    cer_unit: str = arg("grapheme", "What counts as one character.", choices=CER_UNITS)
    device_map: str = arg("auto", "auto, cpu, cuda, cuda:1, ...")


@dataclass
class ReportArguments:
    """What ``report`` takes: the output folder of a run, or the predictions of one or two systems."""

    run: str | None = arg(None, "Output folder of a training run.")
    tuned: str | None = arg(None, "Predictions of one system with their truths, as evaluate writes them.")
    base: str | None = arg(None, "Predictions of another system to compare with.")
    output: str | None = arg(None, "The HTML file. Default: report.html in the run's folder, or here.")
    text_normalisation: str = arg("nfc", "What is done to texts before they are compared.", choices=NORMALISATIONS)
    cer_unit: str = arg("grapheme", "What counts as one character.", choices=CER_UNITS)


@dataclass
class DemoArguments:
    """What ``demo`` takes: how the tiny model is tuned on the lines that come with the package."""

    output_dir: str = arg("./demo-run", "Where the tuned model and its readings go.")
    use_lora: bool = arg(False, "Train LoRA adapters instead of the weights themselves.")
    load_in_4bit: bool = arg(False, "With --use_lora True: on a language model in 4-bit NF4.")
    seed: int = arg(42, "Order of the samples and draw of the adapters; the same seed gives the same result.")


def __getattr__(name: str) -> Any:
    if name == "TrainingArguments":
        from .training_args import TrainingArguments

        return TrainingArguments
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
