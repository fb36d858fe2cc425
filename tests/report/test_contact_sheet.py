"""The picture of samples with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from drawing import WORDS, write_lines

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.report.contact_sheet import write_contact_sheet

XHTML = "{http://www.w3.org/1999/xhtml}"


def test_a_dozen_samples_with_pictures_and_labels(processor: Any, tmp_path: Path) -> None:
    labels = ["ὦ φθέγμ᾽ <Ἀθάνας> & co", "سلام دنیا", "a\x0bb", *(f"{word} {i}" for i in range(3) for word in WORDS)]
    write_lines(tmp_path, "train", [f"{i}" for i in range(len(labels))], labels=labels)
    splits = load_splits(DataArguments(str(tmp_path)), PromptRenderer(processor), 2048, 0, evaluate=False)
    file = tmp_path / "new" / "samples.svg"
    assert write_contact_sheet(splits.train, splits.train_image_tokens, file) == 12
    svg = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    cards = [card for card in svg.iter(f"{XHTML}div") if card.get("class") == "card"]
    assert len(cards) == 12
    assert all(str(image.get("src")).startswith("data:image/webp;base64,") for image in svg.iter(f"{XHTML}img"))
    shown = [card.findall(f"{XHTML}div")[1].text for card in cards]
    assert (shown[0], shown[-1]) == (labels[0], labels[-1])
    assert "train.jsonl:1" in str(cards[0].findall(f"{XHTML}div")[2].text)
    assert f"{splits.train_image_tokens[0]} image tokens" in str(cards[0].findall(f"{XHTML}div")[2].text)


def test_few_samples_and_an_image_that_is_gone(processor: Any, tmp_path: Path) -> None:
    write_lines(tmp_path, "train", WORDS[:2])
    splits = load_splits(DataArguments(str(tmp_path)), PromptRenderer(processor), 2048, 0, evaluate=False)
    (tmp_path / "images" / "train-1.png").unlink()
    assert write_contact_sheet(splits.train, splits.train_image_tokens, tmp_path / "s.svg") == 2
    svg = (tmp_path / "s.svg").read_text(encoding="utf-8")
    assert svg.count("<img") == 1
    assert "train-1.png" in svg
