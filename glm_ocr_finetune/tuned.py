"""From a list of (image, text) to a tuned model that reads, in Python; the code behind it is that of the commands."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from .args import DEFAULT_MODEL, InferenceArguments
from .errors import UserError
from .folders import SUMMARY_FILE
from .inputs.image_list import write_samples
from .messages import quiet_others, speak_unless_arranged

if TYPE_CHECKING:
    from .inputs.image_list import AnyPicture, Sample
    from .reading.many import Engine

OURS = ("dataset_name", "eval_split", "image_folder", "model_name", "output_dir")  # given under other names here
NOT_HERE = ("dry_run", "plan", "config")
MOST_TOKENS = InferenceArguments().max_new_tokens
HEADLINES = {"CER": "corpus_cer", "WER": "corpus_wer"}


@dataclass(frozen=True, repr=False)
class TunedScores:
    """Base beside tuned on the samples that were held out, as ``summary.json`` has it.

    Attributes:
        base, tuned: every metric by name (``corpus_cer``, ``corpus_wer``, ``stop_rate``, ...); None where undefined.
        intervals: of each metric's difference, tuned - base, with 95 % confidence: (low, high), or None.
        count: samples read.
        verdict: ``better``, ``worse`` or ``no difference shown``.
        text: the verdict in one line, with its figures.
    """

    base: dict[str, float | None]
    tuned: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]
    count: int
    verdict: str
    text: str

    @property
    def cer(self) -> float | None:
        """Character error rate of the tuned model; that of the base is ``base["corpus_cer"]``."""
        return self.tuned["corpus_cer"]

    @property
    def wer(self) -> float | None:
        """Word error rate of the tuned model."""
        return self.tuned["corpus_wer"]

    def __str__(self) -> str:
        lines = [self._line(title, metric) for title, metric in HEADLINES.items()]
        return "\n".join([*lines, f"{self.text.split(':')[0]} ({self.count} samples)"])

    __repr__ = __str__  # what a notebook shows

    def _line(self, title: str, metric: str) -> str:
        line = f"{title} {_percent(self.tuned[metric])} (base {_percent(self.base[metric])}"
        if interval := self.intervals[metric]:
            line += f"; difference with 95 % confidence {100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}"
        return f"{line})"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f} %"


@dataclass(frozen=True)
class Tuned:
    """A model that reads: what :func:`finetune` and :func:`load` return. Its weights are loaded when it first reads.

    Attributes:
        path: folder (or hub id) of the model, as ``--model`` of the commands takes it.
        scores: base beside tuned; None where nothing was held out, or the model comes from elsewhere.
        adapter: folder of a LoRA adapter for the model at ``path``, where it is not in ``path`` itself.
    """

    path: str
    scores: TunedScores | None = field(default=None, repr=False)
    adapter: str | None = None

    @overload
    def read(self, image: AnyPicture) -> str: ...
    @overload
    def read(self, image: list[Any] | tuple[Any, ...]) -> list[str]: ...
    def read(self, image: AnyPicture | list[Any] | tuple[Any, ...]) -> str | list[str]:
        """The text of an image (a path or a PIL image), or of each image of a list, in batches.

        Raises:
            UserError: an image cannot be read; it is named.
        """
        if isinstance(image, (list, tuple)):
            return self._read(image)
        return self._read([image])[0]

    def _read(self, images: Sequence[AnyPicture]) -> list[str]:
        from .infer import tell
        from .inputs.images import ImageError
        from .reading.scans import Scan

        scans = [Scan(_name(one, number), _given(one), str(number)) for number, one in enumerate(images)]
        texts = [""] * len(scans)
        for scan, answer in self._engine(iter(scans)):
            if isinstance(answer, ImageError):
                raise UserError(str(answer) if scan.name in str(answer) else f"{scan.name}: {answer}") from answer
            if isinstance(answer, Exception):
                raise answer
            tell(scan, answer, MOST_TOKENS)
            texts[int(scan.document)] = answer.text
        return texts

    @cached_property
    def _engine(self) -> Engine:
        from .infer import own_engine
        from .reading.asking import how_to_ask

        quiet_others()
        asking = how_to_ask(self.path, self.adapter, None, None)
        return own_engine(InferenceArguments(model=self.path, adapter=self.adapter, max_new_tokens=MOST_TOKENS), asking)


def _given(image: AnyPicture) -> Any:
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else image


def _name(image: AnyPicture, number: int) -> str:
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"image {number} of the list"


def finetune(
    samples: Iterable[Sample] | str | Path,
    *,
    model: str = DEFAULT_MODEL,
    output_dir: str | Path = "./glm-ocr-finetuned",
    evaluation: Iterable[Sample] | None = None,
    **arguments: Any,
) -> Tuned:
    """Fine-tune on (image, text) pairs, or on any data set that ``--dataset_name`` takes, and compare with the base.

    Args:
        samples: pairs of an image (path or PIL image) and its transcription; or the name of a data set.
        model: hub id, folder, or ``tiny``.
        output_dir: new folder for the tuned model, its readings and its scores.
        evaluation: pairs to evaluate on; by default a tenth of the samples is held out (``eval_split_size``).
        arguments: any argument of ``glm-ocr-finetune train`` by its name: ``use_lora=True``, ``num_train_epochs=5``.

    Returns:
        The tuned model, with its scores.

    Raises:
        UserError: an argument, a sample or the model cannot work; the message names it and what mends it.
        Interrupted: a signal came; a checkpoint was saved, from which ``resume_from_checkpoint=True`` continues.
    """
    speak_unless_arranged()
    quiet_others()
    from .parse import build_train, read_train_values

    values = _values(arguments) | {"model_name": model, "output_dir": os.fspath(output_dir)}
    typed = read_train_values(values, "finetune()")
    typed.values.update(_data(samples, evaluation, Path(output_dir)))
    from .train import train

    train(*build_train(typed))
    return load(output_dir)


def load(path: str | Path, adapter: str | Path | None = None) -> Tuned:
    """A model to read with: a folder of :func:`finetune` or ``glm-ocr-finetune train``, an adapter, or a hub id.

    Raises:
        UserError: the folder does not exist, or ``summary.json`` in it is damaged.
    """
    name = os.fspath(path)
    if not Path(name).is_dir() and (isinstance(path, Path) or name.startswith((".", "/", "~"))):
        raise UserError(f"there is no folder {name} to load a model from")
    return Tuned(name, scores_of(Path(name)), None if adapter is None else os.fspath(adapter))


def scores_of(run: Path) -> TunedScores | None:
    """Base beside tuned, from the summary of a run; None where a folder has none."""
    file = run / SUMMARY_FILE
    if not file.is_file():
        return None
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        intervals = {name: one["interval"] for name, one in summary["comparison"].items()}
        return TunedScores(
            base=summary["base"],
            tuned=summary["tuned"],
            intervals={name: (one["low"], one["high"]) if one else None for name, one in intervals.items()},
            count=summary["samples"],
            verdict=summary["verdict"],
            text=summary["verdict_text"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error!r}); remove it to load the model without its scores") from error


def _values(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, but for those that are given under another name here or give no model."""
    for name in OURS:
        if name in arguments:
            raise UserError(f"finetune() takes no {name}; give samples, evaluation, model and output_dir instead")
    for name in NOT_HERE:
        if name in arguments:
            raise UserError(f"finetune() returns a model, so it takes no {name}; use glm-ocr-finetune train for that")
    return arguments


def _data(samples: Iterable[Sample] | str | Path, evaluation: Iterable[Sample] | None, output: Path) -> dict[str, Any]:
    """The data arguments that stand for the samples, which are written down below the output folder."""
    if isinstance(samples, (str, Path)):
        if evaluation is not None:
            raise UserError("evaluation goes with a list of samples; for a data set give eval_split_size or none")
        return {"dataset_name": os.fspath(samples)}
    written = write_samples(samples, evaluation, output)
    splits = {} if evaluation is None else {"eval_split": "validation"}
    return {"dataset_name": str(written.folder), "image_folder": written.image_folder} | splits
