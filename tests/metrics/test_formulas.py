from __future__ import annotations

import pytest

from glm_ocr_finetune.metrics import Reading, cdm_input, latex_tokens, score_formulas


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


def test_distance_is_counted_in_tokens() -> None:
    scores = score_formulas(
        [
            Reading("1", r"\alpha + b", r"$\beta + b$"),
            Reading("2", "x^2", "x^{2}"),
            Reading("3", "x", ""),
            Reading("4", "", ""),
        ]
    )
    assert [sample.normalized_edit_distance for sample in scores.samples] == [1 / 3, 0, 1, 0]
    assert scores.normalized_edit_distance == pytest.approx((1 / 3 + 1) / 4)
    assert scores.exact_match == 2 / 4
    assert scores.count == 4


def test_no_formulas_give_none() -> None:
    assert score_formulas([]).normalized_edit_distance is None


@pytest.mark.parametrize("text", ["{", "}", "}}{{", "\\", "$", "$$", "\\begin{", "", "{}{}", "\\cal", "{\\cal"])
def test_broken_latex_does_not_raise(text: str) -> None:
    latex_tokens(text)


def test_cdm_input() -> None:
    assert cdm_input([Reading("1", "a", "b")]) == [{"img_id": "1", "gt": "a", "pred": "b"}]
