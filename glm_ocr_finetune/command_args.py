"""The arguments of ``evaluate``, ``export``, ``mtp``, ``report``, ``demo`` and ``doctor``; nothing heavy is imported here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .args import DEFAULT_MODEL, DataSource, PromptArguments, ReaderArguments, ScoringArguments
from .argument_fields import COUNT, NOT_NEGATIVE, POSITIVE, arg
from .errors import UserError

LIKE = ("sdk",)
ENGINES = ("transformers", "vllm", "sglang", "gguf", "ollama", "adapter")


@dataclass
class ExportArguments(DataSource):
    """What is exported, for which engine, and with which images it is proven."""

    model: str = arg(
        DEFAULT_MODEL,
        "Hub id or directory: a tuned model, a LoRA adapter, a run's output folder or one of its checkpoints.",
        also=("model_name",),
    )
    adapter: str | None = arg(None, "Directory of a LoRA adapter. Default: --model, if it holds adapter_config.json.")
    engine: str = arg(
        "vllm",
        "What is to load it. 'adapter': a LoRA adapter that vLLM serves beside its base.",
        choices=ENGINES,
        also=("for",),
    )
    output_dir: str = arg("./glm-ocr-export", "New folder for the exported files.")
    prove: int = arg(
        8,
        "Images that a fresh process reads with the exported files, for comparison with the model before the export; "
        "0 compares the files only. Taken from --dataset_name, else from the run's evaluation, else drawn.",
        within=NOT_NEGATIVE,
    )
    split: str | None = arg(None, "Split of --dataset_name. Default: test, else validation, else train.")
    max_shard_size: str | None = arg(None, "Split the weights into files of at most this size, such as 2GB.")
    llama_cpp: str | None = arg(
        None, "Source folder of llama.cpp, whose converter is run with --for gguf. Default: $LLAMA_CPP."
    )
    push_to_hub: str | None = arg(None, "Hub repository to upload the export to once it is proven: owner/name.")

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.max_shard_size
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*[KMGT]B", size.strip(), re.IGNORECASE) if size is not None else None
        if size is not None and not (found and float(found[1]) > 0):
            raise UserError(f"--max_shard_size {size} is no size of a file; expected for instance 500MB or 2GB")


@dataclass
class ReportArguments(ScoringArguments):
    """A training run, or the predictions of one or two systems."""

    run: str | None = arg(None, "Output folder of a training run.")
    tuned: str | None = arg(None, "Predictions of one system with their labels, as evaluate writes them.")
    base: str | None = arg(None, "Predictions of another system to compare with.")
    output: str | None = arg(None, "The HTML file. Default: report.html in the run's folder, or here.")


@dataclass
class DemoArguments:
    """How the tiny model is tuned on the lines that come with the package."""

    output_dir: str = arg("./demo-run", "Folder for the tuned model and its readings.")
    use_lora: bool = arg(False, "Train LoRA adapters instead of the weights themselves.")
    load_in_4bit: bool = arg(False, "With --use_lora True: on a language model in 4-bit NF4.")
    seed: int = arg(42, "Order of the samples and initial adapters; the same seed gives the same result.")


@dataclass
class DoctorArguments:
    """There are none: everything is looked at."""


@dataclass
class MtpArguments(PromptArguments, DataSource):
    """The tuned model whose multi-token-prediction layer is trained again, on what the model reads; labels are not used."""

    model: str = arg(
        DEFAULT_MODEL,
        "Folder of a tuned model or a LoRA adapter, in which the layer is replaced.",
        also=("model_name",),
    )
    split: str = arg("train", "Split whose images are read.")
    output_dir: str | None = arg(None, "Another folder for the model with the new layer. Default: --model itself.")
    num_train_epochs: float = arg(10.0, "Passes over the readings.", within=POSITIVE)
    batch_size: int | None = arg(
        None, "Images read together. Default: what fits 16,384 tokens, at most 64.", within=COUNT
    )
    device_map: str = arg("auto", "auto, cpu, cuda, cuda:1, ...")


@dataclass
class EvaluateArguments(ScoringArguments, PromptArguments, ReaderArguments, DataSource):
    """What is scored, and where the scores go."""

    predictions: str | None = arg(
        None,
        "Output of another OCR system to score instead of reading: JSON lines with 'id' or 'image', and 'prediction'.",
    )
    split: str | None = arg(None, "Split to read. Default: test, else validation, else train.")
    find_label_errors: bool = arg(
        False, "Also rank the labels that the model contradicts with confidence, in suspects.jsonl."
    )
    like: str | None = arg(
        None,
        "'sdk': read what the official SDK sends its server: the image resized by the SDK and compressed as JPEG, and a "
        "repetition penalty of 1.1.",
        choices=LIKE,
    )
    output_dir: str = arg("./glm-ocr-evaluation", "Folder for predictions.jsonl and scores.json.")
    max_new_tokens: int | None = arg(
        None, "Longest answer in tokens. Default: twice the label's tokens plus 64.", within=COUNT
    )
