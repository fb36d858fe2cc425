"""The process that compares tables for :mod:`tables`: one JSON line in, one out.

In: ``[truth_html, prediction_html, same_structure]``. Out: ``[teds, teds_structure]``. First a line ``"ready"``.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Answer until the standard input ends."""
    from table_recognition_metric import TEDS

    teds, teds_structure = TEDS(), TEDS(structure_only=True)
    _write("ready")
    for line in sys.stdin:
        truth, prediction, same_structure = json.loads(line)
        structure = 1.0 if same_structure else teds_structure(prediction, truth)
        _write([teds(prediction, truth), structure])


def _write(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
