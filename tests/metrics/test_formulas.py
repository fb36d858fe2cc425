from __future__ import annotations

import pytest

from glm_ocr_finetune.metrics import Reading, latex_tokens, score, score_formula


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (r"$$a+b$$", r"\[ a + b \]"),
        (r"$a$", r"\(a\)"),
        (r"\begin{equation*} a \end{equation*}", "a"),
        (r"x^{2}_{i}", "x^2_i"),
        (r"{\cal A}", r"\mathcal{A}"),
        (r"{\bf x y}", r"\mathbf{x y}"),
        (r"\dfrac{1}{2}", r"\frac12"),
        (r"a \le b", r"a\leq b"),
        (r"\left( a \right)", "(a)"),
        (r"\left. a \right|", "a|"),
        (r"a\,b\quad c\ d~e", "abcde"),
        (r"f'", r"f^{\prime}"),
        (r"\operatorname*{max}", r"\operatorname{max}"),
        (r"\displaystyle\sum\limits_{i}", r"\sum_i"),
        (r"\label{eq:1}a\hspace{2em}b", "ab"),
    ],
)
def test_same_print_gives_same_tokens(first: str, second: str) -> None:
    assert latex_tokens(first) == latex_tokens(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (r"x^{12}", "x^12"),
        (r"\alpha", r"\beta"),
        (r"\frac{a}{b}", r"\frac{b}{a}"),
        ("a*b", "ab"),
        (r"\begin{pmatrix}a\end{pmatrix}", r"\begin{bmatrix}a\end{bmatrix}"),
        (r"a & b \\ c", r"a \\ b & c"),
        (r"\mathbf{x}", "x"),
        (r"\{a\}", "a"),
        (r"\left.5", r"\left 6"),
    ],
)
def test_other_print_gives_other_tokens(first: str, second: str) -> None:
    assert latex_tokens(first) != latex_tokens(second)


FORMULAS = [
    Reading("1", r"\alpha + b", r"$\beta + b$", prompt="Formula Recognition:"),
    Reading("2", "x^2", "x^{2}", prompt="Formula Recognition:"),
    Reading("3", "x", "", prompt="Formula Recognition:"),
    Reading("4", "", "", prompt="Formula Recognition:"),
]


def test_distance_is_counted_in_tokens() -> None:
    scores = [score_formula(reading) for reading in FORMULAS]
    assert [one.normalized_edit_distance for one in scores] == [1 / 3, 0, 1, 0]
    assert [one.exact for one in scores] == [False, True, False, True]
    assert score(FORMULAS).values["formula_edit_distance"] == pytest.approx((1 / 3 + 1) / 4)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("{", ["{"]),
        ("}", ["}"]),
        ("}}{{", ["}", "}", "{", "{"]),
        ("\\", ["\\"]),
        ("$", ["$"]),
        ("$$", []),
        ("\\begin{", [r"\begin", "{"]),
        ("", []),
        ("{}{}", ["{", "}", "{", "}"]),
        ("\\cal", [r"\mathcal"]),
        ("{\\cal", [r"\mathcal", "{"]),
        ("x^{2", ["x", "^", "{", "2"]),
        ("\\frac{a}{b", [r"\frac", "a", "{", "b"]),
    ],
)
def test_broken_latex_is_cut_as_far_as_it_goes(text: str, tokens: list[str]) -> None:
    assert latex_tokens(text) == tokens
