"""Formulas compared as LaTeX tokens, after ways of writing that print the same have been made equal.

A small normaliser: it does not know TeX's macros and renders nothing. Where the rendered picture should decide, score
with CDM (github.com/opendatalab/UniMERNet, directory cdm), which needs TeX, Node and ImageMagick.
"""

from __future__ import annotations

from dataclasses import dataclass

import regex

from .edit import edit_distance
from .reading import Reading

_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_DROPPED_WITH_ARGUMENT = regex.compile(
    r"\\(?:hspace|vspace|hskip|mspace|label)\*?\s*\{[^{}]*\}|\\(?:left|right|middle)\s*\.(?![0-9])"
)
_TOKEN = regex.compile(r"\\(?:begin|end)\s*\{[A-Za-z]+\*?\}|\\[A-Za-z]+\*?|\\[\s\S]|\S")
_ENVIRONMENTS_DROPPED = ("equation", "displaymath", "math")

# Space, size and placement: nothing of it is a character of the formula.
_DROPPED_NAMES = r"""
    \, \; \: \! \> \/ ~ \quad \qquad \enspace \thinspace \medspace \thickspace \negthinspace \hfill \hfil
    \displaystyle \textstyle \scriptstyle \scriptscriptstyle \limits \nolimits \nonumber \notag
    \left \right \middle \big \Big \bigg \Bigg \bigl \bigr \bigm \Bigl \Bigr \Bigm \biggl \biggr \biggm
    \Biggl \Biggr \Biggm
"""
_DROPPED = frozenset(_DROPPED_NAMES.split())
_SYNONYMS = {
    r"\le": r"\leq",
    r"\ge": r"\geq",
    r"\ne": r"\neq",
    r"\to": r"\rightarrow",
    r"\gets": r"\leftarrow",
    r"\land": r"\wedge",
    r"\lor": r"\vee",
    r"\lnot": r"\neg",
    r"\owns": r"\ni",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\vert": "|",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\Vert": r"\|",
    r"\lVert": r"\|",
    r"\rVert": r"\|",
    r"\ast": "*",
    r"\dots": r"\ldots",
    r"\dotsc": r"\ldots",
    r"\dotsb": r"\cdots",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\dbinom": r"\binom",
    r"\tbinom": r"\binom",
    r"\bold": r"\mathbf",
    r"\Bbb": r"\mathbb",
    r"\mbox": r"\text",
    r"\textrm": r"\text",
    r"\textnormal": r"\text",
}
_OLD_FONTS = {rf"\{name}": rf"\math{name}" for name in ("cal", "bf", "rm", "it", "sf", "tt", "frak")}


@dataclass(frozen=True)
class FormulaScore:
    """One formula: token edits / tokens of the longer one, both after normalisation."""

    id: str
    normalized_edit_distance: float
    exact: bool


def score_formula(reading: Reading) -> FormulaScore:
    """Score one reading whose truth is a LaTeX formula."""
    truth, prediction = latex_tokens(reading.truth), latex_tokens(reading.prediction)
    longer = max(len(truth), len(prediction))
    return FormulaScore(reading.id, edit_distance(truth, prediction) / max(1, longer), truth == prediction)


def latex_tokens(latex: str) -> list[str]:
    r"""Cut LaTeX into normalised tokens.

    In this order: outer math delimiters and equation environments go; ``\hspace{..}``, ``\vspace{..}``, ``\label{..}``
    and the invisible delimiters ``\left.`` and ``\right.`` go; the rest is cut into commands, ``\begin{..}`` and
    ``\end{..}``, and single characters, white space between them ignored; commands of space, size and placement
    (``\,``, ``\quad``, ``\left``, ``\displaystyle`` ...) go, stars too; synonyms become one (``\le`` and ``\leq``,
    ``\dfrac`` and ``\frac``); fonts of old style become new (``{\cal A}`` and ``\mathcal{A}``); a prime ``'`` becomes
    ``^\prime``; braces around one token go (``x^{2}`` and ``x^2``). The order of sub- and superscript and the meaning
    of macros are not touched.

    >>> latex_tokens(r"$$ x ^ {2} \, \left( {\cal A} \right) $$")
    ['x', '^', '2', '(', '\\mathcal', 'A', ')']
    """
    body = _DROPPED_WITH_ARGUMENT.sub(" ", _strip_delimiters(latex))
    tokens = [_plain_token(token) for token in _TOKEN.findall(body)]
    kept = [part for token in tokens if not _is_dropped(token) for part in _spell_out(token)]
    return _unwrap_single(_modern_fonts(_unwrap_single(kept)))


def _strip_delimiters(latex: str) -> str:
    text = latex.strip()
    for opening, closing in _DELIMITERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing):
            return text[len(opening) : -len(closing)]
    return text


def _plain_token(token: str) -> str:
    """Take off stars and inner spaces, and choose one of several names."""
    if token.startswith(("\\begin", "\\end")):
        return "".join(token.split()).replace("*", "")
    if len(token) > 2:
        token = token.rstrip("*")
    return _SYNONYMS.get(token, token)


def _is_dropped(token: str) -> bool:
    if token in _DROPPED or (token.startswith("\\") and token[1:].isspace()):
        return True
    return any(token in (rf"\begin{{{name}}}", rf"\end{{{name}}}") for name in _ENVIRONMENTS_DROPPED)


def _spell_out(token: str) -> tuple[str, ...]:
    return ("^", r"\prime") if token == "'" else (token,)


def _modern_fonts(tokens: list[str]) -> list[str]:
    r"""Turn ``{\cal A b}`` into ``\mathcal{A b}``, and a bare ``\cal A`` into ``\mathcal A``."""
    result: list[str] = []
    for token in tokens:
        if token in _OLD_FONTS and result and result[-1] == "{":
            result[-1:] = [_OLD_FONTS[token], "{"]
        else:
            result.append(_OLD_FONTS.get(token, token))
    return result


def _unwrap_single(tokens: list[str]) -> list[str]:
    """Drop braces around exactly one token, from the inside out; an empty pair stays."""
    result: list[str] = []
    for token in tokens:
        if token == "}" and len(result) >= 2 and result[-2] == "{" and result[-1] != "{":
            result[-2:] = result[-1:]
        else:
            result.append(token)
    return result
