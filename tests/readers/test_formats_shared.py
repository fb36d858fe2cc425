"""Real files of tables, lists, boxes and archives, against the readings that were taken from them by eye."""

from __future__ import annotations

import pytest
from shared_data import DATA, needs_shared
from writing import read

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import read_size
from glm_ocr_finetune.readers.rows import image_of

FORMATS = DATA / "formats"
pytestmark = needs_shared

KANT = [
    "Berliniſche Monatsſchrift.",
    "1784 .",
    "Zwoͤlftes Stuͤk . December .",
    "1.",
    "Beantwortung der Frage:",
    "Was iſt Aufklaͤrung?",
    "(S. Decemb. 1783. S. 516.)",
]
KANT_IN_WINDOWS = [
    "Berlinische Monatsschrift.",
    "1784 .",
    "Zwölftes Stük . December .",
    "1.",
    "Beantwortung der Frage:",
    "Was ist Aufklärung?",
    "(S. Decemb. 1783. S. 516.)",
]
RECEIPT = (
    '{"menu": [{"nm": "ICE BLACKCOFFE", "cnt": "2", "price": "82,000"}, {"nm": "AVOCADO COFFEE", "cnt": "1", "price": '
    '"61,000"}, {"nm": "CHIKEN KATSU FF", "cnt": "1", "price": "51,000"}], "sub_total": {"subtotal_price": "194,000", '
    '"discount_price": "19,400"}, "total": {"total_price": "174,600", "cashprice": "200,000", "changeprice": "25,400"}}'
)
READINGS: dict[str, list[str | None]] = {
    "csv-excel/utf8_bom_comma.csv": [*KANT],
    "csv-excel/cp1252_semicolon.csv": [*KANT_IN_WINDOWS],
    "csv-excel/utf16le_tab.txt": [*KANT],
    "csv-excel/multiline_quotes.csv": [
        "Beantwortung der Frage:\nWas iſt Aufklaͤrung?",
        "(S. Decemb. 1783. S. 516.)",
        '"Berliniſche" Monatsſchrift.',
    ],
    "csv-excel/labels.xlsx": [KANT[0], "1784", *KANT[2:]],
    "doctr/recognition": [
        *("siṁhamīśvaram", "tasyāścaivāntaraprepsuratiṣṭhatpākaśāsana:", "vr̥ndāvanaśriyam", "kalpasva", "।", "21"),
        *("pūrṇo'ntaraṁge", "daryānanānto", "nicito", "garuḍaṁ", "tathā।", "empty_label"),
    ],
    "donut-cord/text-reading": [
        "Berliniſche Monatsſchrift. 1784 . Zwoͤlftes Stuͤk . December .",
        "Beantwortung der Frage: Was iſt Aufklaͤrung?",
    ],
    "easyocr/en_train_filtered": [
        *("Tel", "Lindsey_Coge Vaqueros nuns", "Jinglei @ Extensive", "~Bombed Discourse", "whishes Jews Lunenburg $"),
        *("Enough Wiener", "129 Reykjavik Chip &", 'Highland " Weaver Overpowered'),
    ],
    "funsd": ["missing_image"] * 5,
    "iam": ["missing_image"] * 5,
    "kraken-arrow/base.arrow": ["Ud; lib;", "ex~ Sĩ"],
    "tesseract-gt": ["Ud; lib;", "ex~ Sĩ"],
    "label-studio": ["KENAPA", "HARUS", "PUNYA", "skipped"],
    "label-studio/project-1-at-2026-11-25-20-59-0a1b2c3d.json_min.json": ["KENAPA", "HARUS", "PUNYA"],
    "label-studio/project-1-at-2026-11-25-20-59-0a1b2c3d.csv": ["KENAPA", "HARUS", "PUNYA"],
    "paddleocr/kant17": [*KANT[:3], "difficult", *KANT[4:], "A", "ufklaͤrung iſt der Ausgang des Men-"],
    "paddleocr/kant17/rec_gt.txt": [*KANT[:3], *KANT[4:], "A", "ufklaͤrung iſt der Ausgang des Men-"],
    "paddleocr/icdar2015-form/rec_gt_excerpt.txt": ["missing_image"] * 6,
    "sroie": [
        *("SANJUNG REALITI SDN. BHD. (779763-K)", "(GST REGISTRATION NO.: 001751072768)"),
        *("CAR PARK OFFICE, BASEMANT 1,", "LABUHRAYA SPRINT, PJU6A,", "47400 PETALING JAYA, SELANGOR"),
        *("TEL.: +603 7726 2929 FAX: +603 7726 1326", "TAX INVOICE"),
    ],
    "vlm-json/llamafactory_sharegpt_messages.json": [KANT[0], KANT[4]],
    "vlm-json/llava_conversations.json": [KANT[0], KANT[4], KANT[5]],
    "vlm-json/ms_swift.jsonl": ["system_message", "several_images", KANT[5]],
    "vlm-json/trl_messages.jsonl": [KANT[0], KANT[4]],
    "vlm-json/trl_prompt_completion.jsonl": [KANT[5]],
    "webdataset": [
        *("Tel", "Lindsey_Coge Vaqueros nuns", "Jinglei @ Extensive", "~Bombed Discourse", "whishes Jews Lunenburg $"),
        *("Enough Wiener", "129 Reykjavik Chip &", 'Highland " Weaver Overpowered', "KOHGILUYEH leasing"),
    ],
    "calamari": [
        "Efficient Algorithms for Finding Maximum Matching in Graphs",
        "ZVI GALIL",
        "Department of Computer Science, Columbia University, New York, N.Y., 10027 and Tel-Aviv University,",
    ],
}
COUNTS = {"easyocr/en_train_filtered": 20, "paddleocr/kant17": 12, "sroie": 23, "webdataset": 10, "calamari": 6}


@pytest.mark.parametrize("name", READINGS)
def test_first_lines(name: str) -> None:
    expected = READINGS[name]
    rows = read(FORMATS / name)
    assert [row["problem"] or row["text"] for row in rows[: len(expected)]] == expected
    assert len(rows) == COUNTS.get(name, len(rows))
    for row in rows:
        if row["problem"] is None:
            assert min(read_size(image_of(row))) > 4, row["source"]


def test_the_receipt_of_cord() -> None:
    from glm_ocr_finetune.readers import list_splits, load_rows

    path = str(FORMATS / "donut-cord" / "cord-v2")
    assert list_splits(path) == ["test"]
    assert load_rows(path, split="test")["text"][:] == [RECEIPT]


def test_texts_of_boxes_without_an_image() -> None:
    rows = read(FORMATS / "paddleocr" / "icdar2015-form" / "det_gt_excerpt.txt")
    assert [row["text"] for row in rows if row["problem"] == "missing_image"] == [
        *("Ave", "West", "YOU", "CAN", "PAY", "LESS?", "Singapore's", "no.1", "RamenPlay")
    ]
    assert [row["text"] for row in rows if row["problem"] == "placeholder"] == ["###"] * 3
    entries = read(FORMATS / "funsd")
    assert [row["text"] for row in entries[1:]] == ["FAX NO.", "NOTE:", "3", "82092117"]
    assert entries[4]["region"] == [[633, 775], [653, 874]]
    assert [row["text"] for row in read(FORMATS / "iam")] == ["A", "MOVE", "to", "stop", "Mr."]


def test_boxes_in_percent() -> None:
    boxes = [row["region"] for row in read(FORMATS / "label-studio")[:3]]
    # x, y, width, height in pixels of the page
    measured = [[left, top, right - left, bottom - top] for (left, top), (right, bottom) in boxes]
    assert [[round(value) for value in box] for box in measured] == [
        [28, 210, 479, 168],
        [33, 418, 402, 158],
        [29, 609, 406, 164],
    ]


def test_prompts_of_conversations() -> None:
    names = [name for name in READINGS if name.startswith("vlm-json/")]
    rows = [row for name in names for row in read(FORMATS / name)]
    assert {row["prompt"] for row in rows if row["problem"] is None} == {"Text Recognition:"}


def test_fields_of_a_receipt() -> None:
    (row,) = read(FORMATS / "sroie" / "key")
    assert row["text"].startswith('{"company": "SANJUNG REALITI SDN. BHD.", "date": "27/06/18", "address": ')
    assert row["text"].endswith('"total": "1.50"}')
    assert row["problem"] is None


def test_boxes_without_texts_are_told() -> None:
    with pytest.raises(UserError, match="holds boxes without texts"):
        read(FORMATS / "doctr" / "detection")


def test_pages_of_olmocr() -> None:
    pytest.importorskip("pypdfium2")
    blank, edgar = read(FORMATS / "olmocr" / "sample_dataset")
    assert blank["problem"] == "empty_label"
    assert edgar["text"].startswith("Edgar (or Eadgar;[1] c. 944 – 8 July 975) was King of the English from 959")
    assert "\n\nEdgar mainly followed the political policies of his predecessors, " in edgar["text"]
