"""The prompt says what a sample is, and nothing else does."""

from __future__ import annotations

import pytest

from glm_ocr_finetune.metrics import Reading
from glm_ocr_finetune.metrics.tasks import is_formula, is_table


@pytest.mark.parametrize(
    ("prompt", "table", "formula"),
    [
        ("Table Recognition:", True, False),
        (" Table Recognition:\n", True, False),
        ("Formula Recognition:", False, True),
        ("Text Recognition:", False, False),
        ("table recognition:", False, False),
        (None, False, False),
    ],
)
def test_tasks(prompt: str | None, table: bool, formula: bool) -> None:
    reading = Reading("a", "<table></table>", "", prompt=prompt)
    assert (is_table(reading), is_formula(reading)) == (table, formula)
