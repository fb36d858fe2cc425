"""The real training workflow, with its trainer in the hands of whoever measures, and nothing written at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def train_watched(argv: Sequence[str], watch: Callable[[Any], object]) -> Any:
    """Train as ``glm-ocr-finetune train`` would with ``argv``; the trainer, which ``watch`` sees before it starts."""
    from glm_ocr_finetune import train as workflow
    from glm_ocr_finetune.parse import parse_train

    own = workflow.create_trainer, workflow.write
    made: list[Any] = []

    def watched(*args: Any, **kwargs: Any) -> Any:
        made.append(own[0](*args, **kwargs))
        watch(made[0])
        return made[0]

    workflow.create_trainer, workflow.write = watched, lambda *args: None
    try:
        workflow.train(*parse_train(list(argv), "benchmarks"))
    finally:
        workflow.create_trainer, workflow.write = own
    return made[0]
