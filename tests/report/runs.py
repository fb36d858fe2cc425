"""Run folders that the report's tests make: many scripts, loops, markup in truths, pictures drawn here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drawing import draw_line

HOSTILE = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>"
TEXTS = [
    "السلام عليكم ورحمة الله",
    "ភាសាខ្មែរ ជាភាសាផ្លូវការ",
    HOSTILE,
    "first line\nsecond line",
    "Straße & <b>Söhne</b> 1871",
    "यह एक पंक्ति है",
    "日本語の文字を読む",
    "The quick brown fox",
    "",
]


def make_run(folder: Path, count: int = 36, base: bool = True, worse: bool = False) -> Path:
    """A run folder with ``count`` samples; with ``worse``, the tuned model is the one that reads badly."""
    (folder / "evaluation" / "images").mkdir(parents=True)
    truths = [f"{TEXTS[i % len(TEXTS)]}{i if i % len(TEXTS) != 8 else ''}" for i in range(count)]
    systems = {"base": _rows(truths, bad=not worse), "tuned": _rows(truths, bad=worse)}
    for i in range(count):
        draw_line(f"sample {i}", (220, 40 + i)).save(folder / "evaluation" / "images" / f"{i}.png")
    for name in ["base", "tuned"] if base else ["tuned"]:
        write_rows(folder / "evaluation" / f"{name}.jsonl", systems[name])
    write_json(folder / "summary.json", {"run": {"model": "tiny-random", "data set": HOSTILE}})
    write_json(folder / "trainer_state.json", {"log_history": _log()})
    aside = [{"source": f"row {i}", "reason": "empty_label" if i else "missing_image", "detail": ""} for i in range(5)]
    write_rows(folder / "set_aside.jsonl", aside)
    suspects = [
        {"id": f"train-{i}", "image": f"evaluation/images/{i}.png", "text": f"lable {i}", "prediction": f"label {i}"}
        | {"score": 0.001 * i, "source": "train.jsonl", "doubted": "l" if i else "<|user|>", "at": 2}
        for i in range(4)
    ]
    write_rows(folder / "suspects.jsonl", suspects)
    return folder


def _rows(truths: list[str], bad: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": f"sample-{i}",
            "image": f"images/{i}.png" if i != 5 else "images/missing.png",
            "text": truth,
            "prediction": misread(truth, i) if bad or i % 6 == 1 else truth,
            "prompt": "Text Recognition:",
            "source": "odd.jsonl" if i % 2 else "even.jsonl",
            "stopped": not (bad and i % 7 == 0),
            "num_tokens": len(truth),
            "document": f"page-{i // 3}",
        }
        for i, truth in enumerate(truths)
    ]


def misread(truth: str, index: int) -> str:
    """A wrong reading: empty, looping, or with a character missed, put in, or taken for another."""
    if index % 9 == 3:
        return ""
    if index % 7 == 0:
        return truth + " na" * 20
    middle = len(truth) // 2
    return truth[: middle - 1] + "o" * (index % 3) + truth[middle:].replace("e", "c")


def _log() -> list[dict[str, float]]:
    losses = [{"step": float(step), "loss": 3 / (step + 1) ** 0.5} for step in range(1, 60)]
    return [*losses, *({"step": float(s), "eval_loss": 2 / s**0.4, "eval_cer": 0.6 / s**0.5} for s in (10, 20, 40, 60))]


def write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_json(file: Path, value: Any) -> None:
    """Write one JSON value."""
    file.write_text(json.dumps(value), encoding="utf-8")
