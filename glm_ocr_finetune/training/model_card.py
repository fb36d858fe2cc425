"""The model card: ``README.md`` of an output folder and of each checkpoint, made from what the run knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..args import DEFAULT_PROMPT
from ..inputs.geometry import FRAMES
from ..inputs.processor import PixelBudget
from ..metrics import Scores, compare
from ..model.checkpoint import Sidecar
from ..model.parts import count_parts
from ..readers.hub import is_hub_id
from .checkpoints import final_folder

CARD_FILE = "README.md"
PROJECT = "https://github.com/Reach2N/glm-ocr-finetune"
SHOWN_METRICS = {
    "corpus_cer": "character error rate (CER)",
    "corpus_wer": "word error rate (WER)",
    "exact_match": "read without any error",
    "stop_rate": "answers ended by a stop token",
    "repetition_rate": "answers that end in a loop",
}
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what its --max-lora-rank takes


@dataclass(frozen=True)
class Card:
    """What a card is made of.

    Attributes:
        location: what stands for the folder in commands: its name, or its hub id.
        sidecar: base model, prompt and prompt format.
        data: names of the data sets, separated by commas, or None where nobody named them.
        counts: samples trained on and evaluated on; None for a stream.
        recipe: rows of the table, name -> value.
        lora_rank: None for full fine-tuning.
        drafts: whether the weights hold a multi-token-prediction layer.
        scores: base and tuned, where both were read.
        step: optimizer steps behind the weights.
    """

    location: str
    sidecar: Sidecar
    data: str | None
    counts: tuple[int | None, int | None]
    budget: PixelBudget
    recipe: Mapping[str, str]
    lora_rank: int | None
    drafts: bool
    scores: tuple[Scores, Scores] | None
    step: int

    @property
    def name(self) -> str:
        return self.location.rsplit("/", 1)[-1]

    @property
    def base(self) -> str:
        """The base as it is shown: a hub id, or the last part of a path."""
        base = self.sidecar.base_model
        return base if is_published(base) else Path(base).name


def write_card(trainer: Any, directory: str | Path, readings: str | None = None) -> None:
    """Write the card of what lies in ``directory``.

    Args:
        trainer: a ``GlmOcrTrainer``.
        readings: name of the readings that were made with it; by default those of the step it was saved at.
    """
    if trainer.args.process_index == 0:
        text = render_card(describe(trainer, Path(directory), readings))
        (Path(directory) / CARD_FILE).write_text(text, encoding="utf-8")


def is_published(name: str) -> bool:
    """Whether a model or data set is named by its hub id."""
    return is_hub_id(name) and "/" in name and not Path(name).exists()


def describe(trainer: Any, directory: Path, readings: str | None) -> Card:
    """What the trainer knows of the weights in ``directory``."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    step = _step(trainer, directory)
    adapters = getattr(model, "peft_config", {})
    return Card(
        location=trainer.args.hub_model_id or _location(Path(trainer.args.output_dir), directory),
        sidecar=trainer.sidecar or Sidecar(model.name_or_path, DEFAULT_PROMPT, _prompt_format(trainer.data_collator)),
        data=trainer.data_name,
        counts=(_count(trainer.train_dataset), _count(trainer.eval_dataset)),
        budget=PixelBudget.of(trainer.processing_class),
        recipe=recipe(trainer, model, step),
        lora_rank=next((adapter.r for adapter in adapters.values()), None),
        drafts=bool(model.config.text_config.num_nextn_predict_layers),
        scores=_scores(trainer, readings or f"step-{step}", step),
        step=step,
    )


def _prompt_format(collator: Any) -> str:
    """Of our own collator; somebody else's renders as servers do, or nobody knows."""
    return str(getattr(getattr(collator, "renderer", None), "prompt_format", "serve"))


def _step(trainer: Any, directory: Path) -> int:
    is_final = directory.resolve() == Path(trainer.args.output_dir).resolve()
    best = trainer.state.best_global_step if trainer.args.load_best_model_at_end and is_final else None
    return int(best or trainer.state.global_step)


def _location(output: Path, directory: Path) -> str:
    output, directory = output.resolve(), final_folder(directory.resolve())
    return f"{output.name}/{directory.name}" if directory.parent == output else directory.name


def _count(samples: Any) -> int | None:
    return len(samples) if hasattr(samples, "__len__") else None


def _scores(trainer: Any, readings: str, step: int) -> tuple[Scores, Scores] | None:
    """Base and tuned; None unless this run read with both (files of an earlier one may lie in the same folder)."""
    read_here = any(row["step"] == step and "eval_cer" in row for row in trainer.state.log_history)
    if trainer.judge is None or not read_here:
        return None
    base, tuned = trainer.judge.remembered("base"), trainer.judge.remembered(readings)
    return (base, tuned) if base and tuned else None


def recipe(trainer: Any, model: Any, step: int) -> dict[str, str]:
    """How it was trained, as rows of a table."""
    args = trainer.args
    trained = {part.name: part.trainable for part in count_parts(model)}
    warmup = f"{args.warmup_steps:g} {'of the steps' if args.warmup_steps < 1 else 'steps'}"
    return {
        "method": _method(model),
        "trained": ", ".join(f"{name} ({count:,} parameters)" for name, count in trained.items() if count),
        "frozen": ", ".join(name for name, count in trained.items() if not count) or "nothing",
        "learning rate": f"{args.learning_rate:g}, schedule {_plain(args.lr_scheduler_type)}, warm-up {warmup}",
        "batch": _batch(args),
        "length": f"{step} steps of {trainer.state.max_steps}, {trainer.state.num_train_epochs} epochs",
        "optimizer": _plain(args.optim),
        "precision": "bf16 autocast" if args.bf16 else "fp16 autocast" if args.fp16 else "fp32",
        "longest sequence": f"{args.max_length} tokens" if args.max_length else "not limited",
        "seed": str(args.seed),
    }


def _batch(args: Any) -> str:
    """What goes into one optimizer step."""
    size = f"{args.tokens_per_batch} tokens" if args.tokens_per_batch else f"{args.per_device_train_batch_size} samples"
    size += f" x {args.gradient_accumulation_steps} accumulated" if args.gradient_accumulation_steps > 1 else ""
    return size + (f" x {args.world_size} processes" if args.world_size > 1 else "")


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))


def _method(model: Any) -> str:
    adapters = getattr(model, "peft_config", {})
    if not adapters:
        return "full fine-tuning"
    adapter = next(iter(adapters.values()))
    quantised = ", frozen language model in 4-bit NF4" if getattr(model, "is_loaded_in_4bit", False) else ""
    return f"LoRA, rank {adapter.r}, alpha {adapter.lora_alpha}, dropout {adapter.lora_dropout:g}{quantised}"


def render_card(card: Card) -> str:
    """The whole file: what the hub reads, then what people read."""
    sections = {
        f"# {card.name}": introduction(card),
        "## Results": results(card),
        "## How it was trained": _table(("setting", "value"), card.recipe.items()),
        "## Prompt and image size": prompt_section(card),
        "## Read with it": reading(card),
        "## Serve it": serving(card),
        "## Versions": ", ".join(f"{name} {version}" for name, version in card.sidecar.versions.items()) + ".",
        "## Licence": _licence(card),
    }
    return front_matter(card) + "".join(f"\n{title}\n\n{text.strip()}\n" for title, text in sections.items())


def front_matter(card: Card) -> str:
    """The YAML block that the hub reads."""
    import yaml

    data: dict[str, Any] = {
        "library_name": "transformers" if card.lora_rank is None else "peft",
        "pipeline_tag": "image-to-text",
        "tags": ["glm-ocr", "ocr", "glm-ocr-finetune", *([] if card.lora_rank is None else ["lora"])],
    }
    if is_published(card.sidecar.base_model):
        relation = "finetune" if card.lora_rank is None else "adapter"
        data |= {"base_model": card.sidecar.base_model, "base_model_relation": relation}
    if published := list(filter(is_published, data_sets(card))):
        data["datasets"] = published
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n"


def data_sets(card: Card) -> list[str]:
    return card.data.split(", ") if card.data else []


def introduction(card: Card) -> str:
    """What it is, of what base, and on how much of what data."""
    what = "fine-tuned" if card.lora_rank is None else "with a LoRA adapter fine-tuned"
    data = ", ".join(f"`{name if is_published(name) else Path(name).resolve().name}`" for name in data_sets(card))
    trained, evaluated = card.counts
    amount = f"{trained:,} samples" if trained is not None else "a stream of samples"
    source = f" of {data}" if data else ""
    held_out = f"; {evaluated:,} others were held out for evaluation" if evaluated else ""
    return (
        f"[GLM-OCR](https://huggingface.co/zai-org/GLM-OCR) {what} from `{card.base}` on {amount}{source}{held_out}. "
        f"Made with [glm-ocr-finetune]({PROJECT})."
    )


def results(card: Card) -> str:
    """Base beside tuned with 95 % intervals, or that nothing was read."""
    if card.scores is None:
        return "Not evaluated by reading: there is no error rate to report for these weights."
    base, tuned = card.scores
    titles = (f"{len(tuned.samples):,} evaluation samples", f"base, {card.base}", f"tuned, step {card.step}")
    rows = ((title, _figure(base, name), _figure(tuned, name)) for name, title in SHOWN_METRICS.items())
    return (
        f"{compare(base, tuned)}.\n\n{_table(titles, rows)}\n\n"
        f"In brackets: 95 % bootstrap intervals. Scored with: {tuned.settings}. "
        "Where a run ends with its best checkpoint, that was chosen on these samples."
    )


def _figure(scores: Scores, name: str) -> str:
    value, interval = scores.values[name], scores.overall.intervals[name]
    if value is None:
        return "unknown"
    return f"{value:.4f}" + (f" ({interval.low:.4f} to {interval.high:.4f})" if interval else "")


def prompt_section(card: Card) -> str:
    """What to ask, in which format, and how large images are read."""
    low, high = card.budget.min_pixels, card.budget.max_pixels
    return (
        f"Send the image first, then the prompt `{card.sidecar.prompt}`, unless the data gave a sample its own. The "
        f"prompt format is `{card.sidecar.prompt_format}`: {_FORMATS[card.sidecar.prompt_format]}.\n\n"
        f"Images are resized to between {low:,} and {high:,} pixels (height x width), as `processor_config.json` says. "
        "Decode greedily (temperature 0); an answer ends at `<|user|>` or `<|endoftext|>`."
    )


_FORMATS = {
    "serve": "what the chat template renders by default, and what servers send",
    "no_think": "the chat template with `enable_thinking=False`, which a request has to ask for",
}


def reading(card: Card) -> str:
    """The command, and plain transformers."""
    return (
        f"```bash\npip install git+{PROJECT}.git\n"
        f"glm-ocr-finetune infer --model {card.location} --image page.png\n```\n\n"
        "or with transformers alone" + ("" if card.lora_rank is None else " (and peft installed)") + ":\n\n"
        f"```python\n{python_code(card)}```\n"
    )


def python_code(card: Card) -> str:
    """A program that reads ``page.png`` with transformers."""
    thinking = "" if card.sidecar.prompt_format == "serve" else ", enable_thinking=False"
    content = [{"type": "image"}, {"type": "text", "text": card.sidecar.prompt}]
    return f"""\
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained({json.dumps(card.location)}, device_map="auto")
processor = AutoProcessor.from_pretrained({json.dumps(card.location)})
messages = [{{"role": "user", "content": {json.dumps(content, ensure_ascii=False)}}}]
text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False{thinking})
image = Image.open("page.png").convert("RGB")
inputs = processor(images=[image], text=[text], return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=4096, do_sample=False)
print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""


def serving(card: Card) -> str:
    """The vLLM command, and what a request has to say beside the usual."""
    command = _vllm_full(card) if card.lora_rank is None else _vllm_adapter(card)
    request = ""
    if card.sidecar.prompt_format == "no_think":
        request = '\n\nEach request has to carry `"chat_template_kwargs": {"enable_thinking": false}`.'
    return f"With [vLLM](https://docs.vllm.ai), tried with 0.32:\n\n```bash\n{command}\n```{request}"


def _vllm_full(card: Card) -> str:
    drafting = {"method": "mtp", "num_speculative_tokens": 1}
    option = f" \\\n  --speculative-config '{json.dumps(drafting)}'" if card.drafts else ""
    return f"vllm serve {card.location} --served-model-name {card.name}{option}"


def _vllm_adapter(card: Card) -> str:
    """A served adapter gets its base's processor, so the pixel budget is handed over."""
    rank = next((rank for rank in VLLM_RANKS if rank >= (card.lora_rank or 0)), card.lora_rank)
    size = {"shortest_edge": FRAMES * card.budget.min_pixels, "longest_edge": FRAMES * card.budget.max_pixels}
    return (
        f"vllm serve {card.sidecar.base_model if is_published(card.sidecar.base_model) else card.base} \\\n"
        f"  --enable-lora --max-lora-rank {rank} --lora-modules {card.name}={card.location} \\\n"
        f"  --mm-processor-kwargs '{json.dumps({'size': size})}'"
    )


def _licence(card: Card) -> str:
    return (
        f"These weights derive from `{card.base}`; its licence applies to them. Whether they may be published also "
        "depends on the rights in the training data. The software that made them is under Apache-2.0."
    )


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(titles)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
