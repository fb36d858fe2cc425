"""Edits, rates and alignments against jiwer, which is needed for the tests only."""

from __future__ import annotations

import random
import unicodedata

import pytest

from glm_ocr_finetune.metrics import Reading, ScoringSettings, alignment, normalise_text, score, split_units

jiwer = pytest.importorskip("jiwer")

AS_IT_IS = ScoringSettings("none", "codepoint")
# jiwer strips and joins words by default; these transforms only cut.
JIWER_CHARACTERS = jiwer.ReduceToListOfListOfChars()
JIWER_WORDS = jiwer.ReduceToListOfListOfWords()
ALPHABETS = ("abcde ", "aé e\u0301\u0323 ", "कखिी्ं ", "ខ្ញុំេ ", "سلَّام ", "日本語。 ", "😀👩\u200d👧 ")


def random_text(rng: random.Random, alphabet: str, least: int) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(least, 40)))


def misread(rng: random.Random, text: str, alphabet: str) -> str:
    """Change, drop and add a fifth of the characters; one in ten is another text, one in ten is empty."""
    if rng.random() < 0.2:
        return rng.choice(["", random_text(rng, alphabet, 0)])
    parts = [rng.choice([character] * 12 + ["", rng.choice(alphabet), character * 2]) for character in text]
    return "".join(parts)


def random_readings(count: int) -> list[Reading]:
    """Pairs with at least one word in the truth, since jiwer refuses or redefines the others."""
    rng = random.Random(4)
    readings = []
    while len(readings) < count:
        alphabet = rng.choice(ALPHABETS)
        truth = random_text(rng, alphabet, 1)
        if truth.split(" ") and truth.strip():
            readings.append(Reading(str(len(readings)), truth, misread(rng, truth, alphabet)))
    return readings


READINGS = random_readings(1000)
TRUTHS = [reading.truth for reading in READINGS]
PREDICTIONS = [reading.prediction for reading in READINGS]


def test_characters_equal_jiwer() -> None:
    theirs = jiwer.process_characters(
        TRUTHS, PREDICTIONS, reference_transform=JIWER_CHARACTERS, hypothesis_transform=JIWER_CHARACTERS
    )
    scores = score(READINGS, AS_IT_IS)
    totals = scores.totals
    assert (totals.substitutions, totals.deletions, totals.insertions) == (
        theirs.substitutions,
        theirs.deletions,
        theirs.insertions,
    )
    assert scores.values["corpus_cer"] == pytest.approx(theirs.cer, abs=1e-12)


def test_each_sample_and_alignment_equal_jiwer() -> None:
    theirs = jiwer.process_characters(
        TRUTHS, PREDICTIONS, reference_transform=JIWER_CHARACTERS, hypothesis_transform=JIWER_CHARACTERS
    )
    names = {"substitute": "replace"}
    for reading, chunks in zip(READINGS, theirs.alignments, strict=True):
        expected = [
            (
                names.get(chunk.type, chunk.type),
                reading.truth[chunk.ref_start_idx : chunk.ref_end_idx],
                reading.prediction[chunk.hyp_start_idx : chunk.hyp_end_idx],
            )
            for chunk in chunks
        ]
        assert [tuple(part) for part in alignment(reading.truth, reading.prediction, AS_IT_IS)] == expected


def test_words_equal_jiwer() -> None:
    theirs = jiwer.process_words(TRUTHS, PREDICTIONS, reference_transform=JIWER_WORDS, hypothesis_transform=JIWER_WORDS)
    scores = score(READINGS, AS_IT_IS)
    counts = [sample.word_counts for sample in scores.samples]
    assert sum(count.substitutions for count in counts) == theirs.substitutions
    assert sum(count.deletions for count in counts) == theirs.deletions
    assert sum(count.insertions for count in counts) == theirs.insertions
    assert scores.values["corpus_wer"] == pytest.approx(theirs.wer, abs=1e-12)


@pytest.mark.parametrize("normalisation", ["none", "nfc", "nfc_case_punct"])
def test_graphemes_equal_jiwer_over_words_of_one_grapheme(normalisation: str) -> None:
    settings = ScoringSettings(normalisation, "grapheme")
    scores = score(READINGS, settings)

    def as_words(text: str) -> str:
        units = split_units(normalise_text(text, settings.text_normalisation), "grapheme")
        return " ".join("_".join(f"{ord(character):x}" for character in unit) for unit in units)

    kept = [sample for sample in scores.samples if sample.characters]
    theirs = jiwer.process_words(
        [as_words(sample.reading.truth) for sample in kept],
        [as_words(sample.reading.prediction) for sample in kept],
        reference_transform=JIWER_WORDS,
        hypothesis_transform=JIWER_WORDS,
    )
    assert sum(sample.edits for sample in kept) == theirs.substitutions + theirs.deletions + theirs.insertions


def test_empty_truth_is_where_jiwer_differs() -> None:
    """jiwer gives the number of insertions for an empty reference; here the mean takes 1 and the corpus the count."""
    assert jiwer.cer("", "abc") == 3
    scores = score([Reading("empty", "", "abc"), Reading("full", "wxyz", "wxyz")])
    assert scores.values["mean_cer"] == 0.5
    assert scores.values["corpus_cer"] == 3 / 4


@pytest.mark.parametrize("unit", ["grapheme", "codepoint"])
def test_alignment_gives_back_both_texts(unit: str) -> None:
    settings = ScoringSettings("nfc", unit)
    for reading in READINGS[:300]:
        parts = alignment(reading.truth, reading.prediction, settings)
        assert "".join(part.truth for part in parts) == normalise_text(reading.truth, "nfc")
        assert "".join(part.prediction for part in parts) == normalise_text(reading.prediction, "nfc")
        assert all((part.truth == part.prediction) == (part.operation == "equal") for part in parts)


def test_nfd_prediction_is_no_error_under_nfc_and_is_one_under_none() -> None:
    truth = "déjà vu"
    reading = Reading("1", truth, unicodedata.normalize("NFD", truth))
    assert score([reading]).values["corpus_cer"] == 0
    assert score([reading], AS_IT_IS).totals == score([reading], AS_IT_IS).totals
    assert score([reading], AS_IT_IS).samples[0].edits == 4
