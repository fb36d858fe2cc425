"""A sample is the same whether it comes as a row of a split or dressed for TRL."""

from __future__ import annotations

from drawing import draw_line

from glm_ocr_finetune.data.samples import Sample, format_for_vlm, sample_of

IMAGE = draw_line("x", (140, 56))


def test_a_row_and_its_dressed_form_are_one_sample() -> None:
    row = {"image": IMAGE, "text": "abc", "prompt": "Read:", "source": "x:1", "group": "page 7"}
    plain, dressed = sample_of(row), sample_of(format_for_vlm(row))
    assert plain == dressed == Sample(IMAGE, "abc", "Read:", "x:1", group="page 7")


def test_what_the_survey_learned_travels_with_the_row() -> None:
    surveyed = {"image": "gone.png", "text": "a", "prompt": "p", "source": "s", "height": 56, "width": 140, "key": b"k"}
    sample = sample_of(surveyed)
    assert sample.image_size() == (56, 140)  # the file is not opened: there is none
    assert sample.key == b"k"


def test_without_a_survey_the_size_is_read() -> None:
    assert sample_of({"image": IMAGE, "text": "a", "prompt": "p", "source": "s"}).image_size() == (56, 140)
