"""A step whose gradient is far above those before it is left out, and its rows are listed with their pictures.

The rule is that of OLMo's ``SkipStepOptimizer`` (allenai/OLMo-core, ``optim/skip_step_optimizer.py``; OLMo 2,
arXiv:2501.00656): a step is left out where the norm of its gradient is more than ``SIGMAS`` standard deviations above
the mean of the ``WINDOW`` steps before it, and none is before half a window was seen. Two things differ. The window is
half as long, since norms fall fast at the beginning of a fine-tuning, and early ones would hide a spike (docs/log.md).
And losses are not compared: a loss that moves the weights shows in the gradient, whose norm, before it is clipped, all
ranks know alike, so that they decide alike without asking each other.

A step that is left out stays in the window, as in OLMo: where norms rise to a new level, the deviation grows and the
level is accepted.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState

from ..folders import SPIKE_SHEET, SPIKES_FILE
from ..report.contact_sheet import write_contact_sheet
from .divergence import listed

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

WINDOW, SIGMAS = 64, 6.0
FEWEST = WINDOW // 2  # steps before the first that may be left out


class LeaveOutSpikes(TrainerCallback, ExportableState):
    """Tells spikes of the gradient norm, and lists them in the folder of the run.

    Args:
        rows: gives the sources of the samples of the step that has just been made.
        samples: gives the samples themselves; None where they are not at hand (a stream).
    """

    def __init__(self, rows: Callable[[], list[str]], samples: Callable[[], Dataset | None]) -> None:
        self.rows, self.samples = rows, samples
        self.norms: deque[float] = deque(maxlen=WINDOW)
        self.too_late = False  # DeepSpeed has made the step when its norm is known: it is listed only
        self._spike: tuple[float, float] | None = None

    def see(self, norm: Any) -> bool:
        """Look at the norm of the gradient of a step; True where the step is to be left out."""
        norm = 0.0 if norm is None else float(norm)
        if norm <= 0 or not math.isfinite(norm):
            return False
        before = list(self.norms)
        self.norms.append(norm)
        if len(before) < FEWEST or norm <= statistics.fmean(before) + SIGMAS * statistics.stdev(before):
            return False
        self._spike = (norm, statistics.fmean(before))
        return not self.too_late

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run leaves out the same steps."""
        return {"args": {}, "attributes": {"norms": list(self.norms)}}

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        kept = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
        self.norms = deque(kept["attributes"]["norms"] if isinstance(kept, dict) else [], maxlen=WINDOW)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._spike and state.is_world_process_zero:
            self._list(Path(args.output_dir), state.global_step, *self._spike)
        self._spike = None

    def _list(self, folder: Path, step: int, norm: float, usual: float) -> None:
        rows, samples = self.rows(), self.samples()
        with (folder / SPIKES_FILE).open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({"step": step, "norm": norm, "usual": usual, "rows": rows}, ensure_ascii=False) + "\n"
            )
        sheet = folder / SPIKE_SHEET.format(step=step)
        if samples is not None:
            write_contact_sheet(samples, None, sheet, most=0)
        pictures = f"; their pictures are in {sheet}" if samples is not None else ""
        logger.warning(
            "step %d %s: its gradient norm is %.3g, usual are %.3g (%s)%s",
            step,
            "stands out" if self.too_late else "is left out",
            norm,
            usual,
            listed(rows),
            pictures,
        )
