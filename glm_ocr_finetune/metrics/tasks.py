"""Which task a sample is: its prompt says so, since GLM-OCR is taught one prompt for text, tables and formulas each."""

from __future__ import annotations

from .reading import Reading

TABLE_PROMPT = "Table Recognition:"
FORMULA_PROMPT = "Formula Recognition:"


def is_table(reading: Reading) -> bool:
    """Tell whether a table was asked for, by the prompt alone (white space around it aside)."""
    return (reading.prompt or "").strip() == TABLE_PROMPT


def is_formula(reading: Reading) -> bool:
    """Tell whether a formula was asked for, by the prompt alone (white space around it aside)."""
    return (reading.prompt or "").strip() == FORMULA_PROMPT
