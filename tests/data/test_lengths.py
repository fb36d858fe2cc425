"""What is trained at is what is served at: one pixel budget for a run, whatever its samples are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from glm_ocr_finetune.args import DEFAULT_LENGTH
from glm_ocr_finetune.data.lengths import Fitted, Shapes, fit, settle
from glm_ocr_finetune.inputs.images import num_image_tokens
from glm_ocr_finetune.inputs.processor import PixelBudget

BUDGET = PixelBudget(6_272, 4_816_896)
A4_300, A4_200 = (3508, 2480), (2339, 1654)  # (height, width) in pixels
Sample = tuple[tuple[int, int], int]


def shapes(*samples: Sample) -> Shapes:
    """From ((height, width), tokens of text)."""
    heights, widths = zip(*(size for size, _ in samples), strict=True)
    return Shapes(*(np.array(values, np.int32) for values in (heights, widths, [text for _, text in samples])))


def pages(texts: Sequence[int], size: tuple[int, int] = A4_300) -> Shapes:
    return shapes(*((size, text) for text in texts))


def always(fitted: Fitted) -> bool:
    return True


def longest(fitted: Fitted, of: Shapes) -> int:
    kept = ~fitted.too_long
    return int((fitted.image_tokens + of.text_tokens)[kept].max())


def test_lines_keep_the_default_and_their_budget() -> None:
    some = shapes(((56, 800), 30), ((80, 1200), 60))
    for found in (settle(some, BUDGET, lambda _: pytest.fail("nothing to ask")), fit(some, BUDGET, 2048)):
        assert (found.budget, found.max_length) == (BUDGET, DEFAULT_LENGTH)
        assert not found.too_long.any()


def test_pages_get_the_length_they_need_where_it_fits() -> None:
    some = pages([300, 500, 900])
    found = settle(some, BUDGET, always)
    assert found.budget == BUDGET
    assert found.max_length == int(num_image_tokens(*A4_300, 6_272, 4_816_896)) + 900
    assert not found.too_long.any()


def test_pages_that_do_not_fit_the_memory_lower_the_budget_of_the_run() -> None:
    some = pages(range(300, 900, 6))
    found = settle(some, BUDGET, lambda fitted: longest(fitted, some) <= 4000)
    assert 3900 <= longest(found, some) <= 4000
    assert found.budget.max_pixels < BUDGET.max_pixels
    assert found.too_long.sum() == 0
    assert len(set(found.image_tokens.tolist())) == 1, "all pages are of one size, so all are shrunk alike"


def test_a_device_on_which_nothing_fits_loses_no_pages() -> None:
    few_words, many_words = pages([300, 400, 500]), pages([300, 500, 900])
    found = settle(few_words, BUDGET, lambda _: False)
    assert (found.max_length, found.too_long.any()) == (DEFAULT_LENGTH, False)
    found = settle(many_words, BUDGET, lambda _: False)
    assert found.max_length is not None
    assert 2_400 <= found.max_length <= 2_500, "a quarter of the page, and the longest text beside it"
    assert not found.too_long.any()


@pytest.mark.parametrize("size", [A4_200, A4_300], ids=["200 dpi", "300 dpi"])
@pytest.mark.parametrize("max_length", [2048, 3000, 4096, 8192])
def test_a_length_that_is_given_is_kept_by_the_budget_and_not_by_images(size: tuple[int, int], max_length: int) -> None:
    some = pages([300, 400, 500], size)
    found = fit(some, BUDGET, max_length)
    assert not found.too_long.any()
    assert longest(found, some) <= max_length
    served = [num_image_tokens(*size, found.budget.min_pixels, found.budget.max_pixels)] * 3
    assert found.image_tokens.tolist() == served
    room = max_length - 500
    assert min(found.image_tokens) >= 0.95 * min(room, num_image_tokens(*size, 6_272, 4_816_896))


def test_one_long_label_in_a_hundred_does_not_ruin_the_others() -> None:
    some = pages([400] * 99 + [3200])
    found = fit(some, BUDGET, 5000)
    assert found.too_long.tolist() == [False] * 99 + [True]
    assert found.image_tokens[0] > 4400
    two = pages([400] * 98 + [3200] * 2)
    assert not fit(two, BUDGET, 5000).too_long.any(), "two in a hundred are not few"


def test_a_label_that_is_a_little_longer_is_no_reason_to_set_it_aside() -> None:
    some = pages([400] * 99 + [800])
    assert not fit(some, BUDGET, 3500).too_long.any()


def test_no_image_falls_below_a_quarter_for_the_sake_of_texts_that_fill_the_sequence() -> None:
    some = pages([400] * 50 + [2000] * 50)
    found = fit(some, BUDGET, 2048)
    assert found.too_long.tolist() == [False] * 50 + [True] * 50
    assert fit(pages([2047] * 3), BUDGET, 2048).too_long.all()


def test_one_giant_among_small_images_does_not_set_them_aside() -> None:
    some = shapes(*[((784, 1000), 1300)] * 30, (A4_300, 300))
    found = fit(some, BUDGET, 2048)
    assert not found.too_long.any()
    assert longest(found, some) <= 2048


def test_a_budget_that_was_given_stays() -> None:
    some = pages([300, 500, 900])
    given = PixelBudget(6_272, 2_000_000)
    assert settle(some, given, lambda _: False, may_lower=False).budget == given
    found = fit(some, given, 3300, may_lower=False)
    assert found.budget == given
    assert found.too_long.tolist() == [False, False, True]


def test_no_longest_sequence_at_all() -> None:
    some = pages([300, 90_000])
    found = fit(some, BUDGET, None)
    assert (found.budget, found.max_length, found.too_long.any()) == (BUDGET, None, False)


def test_a_smallest_image_that_does_not_fit_is_lowered_as_well() -> None:
    budget = PixelBudget(784_000, 4_816_896)
    found = fit(pages([1500], (500, 400)), budget, 2048)
    assert found.budget.min_pixels <= found.budget.max_pixels
    assert longest(found, pages([1500])) <= 2048


def test_images_too_thin_to_be_resized_have_no_tokens() -> None:
    some = shapes(((1, 2000), 10), (A4_200, 10))
    assert some.image_tokens(BUDGET).tolist() == [0, num_image_tokens(*A4_200, 6_272, 4_816_896)]


def test_no_samples() -> None:
    none = Shapes(*(np.array([], np.int32) for _ in range(3)))
    assert settle(none, BUDGET, always).max_length == DEFAULT_LENGTH
