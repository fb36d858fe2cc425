"""Figures as the page writes them: per cent, differences in percentage points, which way is better."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

from ..metrics import METRICS, Interval

_FLAG = re.compile(r"--\w+")
_NAMES = {" ": "space", "\n": "line break", "\t": "tab", "": "nothing"}
_WAYS = {"lower": "↓", "higher": "↑", "one": "→ 1"}


def figure(value: float | None, name: str = "corpus_cer", signed: bool = False) -> str:
    """A metric's value as text: per cent, a signed difference in percentage points; the length ratio as it is."""
    if value is None:
        return "–"
    value = round(value, 5) or 0.0
    sign = "+" if signed and value else ""
    unit = "pp" if signed else "%"
    text = f"{value:{sign}.3f}" if name == "length_ratio" else f"{100 * value:{sign}.2f} {unit}"
    return text.replace("-", "−")


def interval(found: Interval | None, name: str = "corpus_cer", signed: bool = False) -> str:
    """The two ends of an interval as text; empty when there is none."""
    if found is None:
        return ""
    low, high = (figure(value, name, signed) for value in (found.low, found.high))
    return f"{low.split()[0]} to {high}"


def way(name: str) -> str:
    """An arrow that shows in which direction a metric gets better."""
    return _WAYS[METRICS[name].direction]


def whole_words(text: str) -> Markup:
    """Prose in which no line breaks inside a flag or before a unit."""
    kept = str(escape(text.replace(" %", "\u00a0%").replace(" pp", "\u00a0pp")))
    return Markup(_FLAG.sub(r'<code class="flag">\g<0></code>', kept))  # noqa: S704 - escaped above


def visible(unit: str) -> str:
    """A character as it can be seen in a table: blanks by name, loose marks on a dotted circle."""
    if unit in _NAMES:
        return _NAMES[unit]
    if unit.isspace() or unicodedata.category(unit[0]) in ("Cc", "Cf"):
        return " ".join(f"U+{ord(character):04X}" for character in unit)
    return "◌" + unit if unicodedata.combining(unit[0]) or unicodedata.category(unit[0]).startswith("M") else unit
