"""Real files as their own tools wrote them, against the readings that were taken from them by eye."""

from __future__ import annotations

import pytest
from PIL import Image
from shared_data import DATA, needs_shared

from glm_ocr_finetune.inputs.images import open_upright, read_size
from glm_ocr_finetune.readers import load_rows
from glm_ocr_finetune.readers.pages.kinds import Kind, kind_of, read_pages
from glm_ocr_finetune.readers.rows import image_of

FORMATS = DATA / "formats"
pytestmark = needs_shared

ALETHEIA = "page-ocrd-aletheia"
READINGS: dict[str, tuple[int, list[str]]] = {
    "page-transkribus-2013/00000105.xml": (
        24,
        ["93", "ſeits ſollen vor dem Landgericht Berlin III als dem", "vereinbarten Gerichtsſtand ausgetragen werden."],
    ),
    "page-transkribus-2013/Tag_Mitt_Charl_1901_013700.xml": (132, ["124", "Titel 2 (Sächliche Ausgaben) die Poſ. 1"]),
    "page-transkribus-2013/missing_coords_transkribus.xml": (4, ["Line 1", "Line 2", "Line 3", "Line 4"]),
    "page-transkribus-2013/cPAS-2000.xml": (97, []),
    "page-escriptorium-2019/StadtarchivTue_D90_04.xml": (
        50,
        [
            "Ir Ulrich (von gottes gnaden) Hertzog zu ꝛvirtemberg",
            "vnd zuͦ Tegk/ Graue zuͦ Mümppelgart ꝛc. Bekennen vnd thon kundt mit dißem brieff/ als hieuor",
        ],
    ),
    "page-escriptorium-2019/Bd231_qt_2_01.xml": (30, ["Grundtlicher Bericht", "Von den Zwo", "R", "Oten"]),
    "page-escriptorium-2019/stml_1871_01_00002.xml": (2, ["N12<516419875 021", "ubTÜBINGEN"]),
    f"{ALETHEIA}/2017-07-15/OCR-D-GT_0008.xml": (
        35,
        ["— Vl —", "sondere Schrift daraus zu machen. Locke scheint fort-"],
    ),
    f"{ALETHEIA}/2017-07-15/007.xml": (39, ["Q", "De subiectis medicinae.", "Cap .I.", "VONIAM medicina corpus"]),
    f"{ALETHEIA}/2018-07-15/order.page.xml": (
        26,
        [
            "79",
            "Herr Konfrater wird, neb\ueada ſeiner lieben Familie,",
            "gebeten, morgen zum Mittagse\ueba6en zu mir zu kom⸗",
            "men. Den andern Tag ers\uf502ien der eingeladene",
            "Ga\ueada mit den Seinigen, und kam na\uf502her zwey",
        ],
    ),
    f"{ALETHEIA}/2018-07-15/levels-are-different.page.xml": (
        2,
        ["Als er einsmals in dem Oberhauſe eine Bi\uf4f9 we⸗", "Hand, Mylord? fragte der Graf von Ro\uf502e\ueadaer."],
    ),
    f"{ALETHEIA}/2018-07-15/mixed-regions.page.xml": (35, ["phariſei hypocritæ, qui comeditis domos uiduarã ſub"]),
    f"{ALETHEIA}/2019-07-15/table-region.xml": (9, list("123456789")),
    f"{ALETHEIA}/2019-07-15/table-no-reading-order.xml": (9, list("567891234")),
    f"{ALETHEIA}/2019-07-15/PAGE_0017_PAGE.xml": (
        24,
        ["Berliniſche Monatsſchrift.", "1784 .", "Zwoͤlftes Stuͤk . December .", "1.", "Beantwortung der Frage:"],
    ),
    f"{ALETHEIA}/kraken-tests/explicit_ro.xml": (
        5,
        [
            "Line 1 in region 2",
            "Line 2 in region 2",
            "Line 1 in region 1",
            "Line 2 in region 1",
            "Line 1 in region 3",
        ],
    ),
    "alto-v2/test.alto2.xml": (30, ["142", "die Zugtiere eines Joches (griechisch zygos), so nennt man die Zporen"]),
    "alto-v2/alto_kb_dk_1795_inch1200.xml": (
        94,
        ["Ao. 1795 z7«A«ga»s. !Ro. 146", "KwbenhavnS Kongelig »WP. aUene privilege«de"],
    ),
    "alto-v2/sn90050306_1920_05_27_1.xml": (
        279,
        [
            "Help on Business",
            "Problems",
            "In solving business problems the",
            "opinions anil viewpoint of a disinter-",
            "i sfcil outsider may often have a high",
        ],
    ),
    "alto-v3/alto_semantics_urn+nbn+de+gbv+3+5-83179_00000007.xml": (
        98,
        [
            "Hintergrund: Oligarchisierung der ägyptischen Wirtschaft unter Mubarak",
            "Die Unternehmerelite und das Ende des Mubarak-Regimes",
        ],
    ),
    "alto-v3/lorem-ipsum-scan.ocr.tesseract.alto.xml": (
        7,
        ["Lorem ipsum dolor sit amet, consetetur sadipscing elitr, sed diam nonumy eirmod tempor invidunt"],
    ),
    "alto-v3/test.alto3.xml": (
        3,
        [
            "über die vielen Sorgen wegen deſſelben vergaß",
            "Hartkopf, der Frau Amtmännin das ver-",
            "ſprochene zu überliefern.",
        ],
    ),
    "alto-v3/00004.xml": (22, ["84", "Schon ist Herr Siegfried aufgesprungen,"]),
    "alto-v3/Glyph_Sample01_General.xml": (1, ["Marne Home"]),
    "alto-v3/Glyph_Sample04_Chinese.xml": (1, ["義 禮 說 選"]),
    "alto-v4/alto_nospace.xml": (20, ["Vorerinnerung.", "Die Zahl derer, welche jene Schreckens:"]),
    "alto-v4/es-scbg_bblg_18950101_0006.xml": (77, ["6", "BOLETIN BIBLIÓ&RAFÍCO", "¡HELA- AHI!", "SONETO."]),
    "alto-v4/bsb00084914_00007.xml": (
        31,
        [
            "בשאול וגו' ˙ אם יחבאו בראש הכרמל וגו' אם ילכו בשבי וגו' אין חשך ואין [צל']",
            "צלמות וגו' ˙ אלא אמ' יונה אלך לי חוצה לארץ מקום שאין השכינה נגלית",
            "שהגוים קרובי תשובה הם שלא לחייב את ישרﭏ ˙ משל למה הדבר דומה",
        ],
    ),
    "alto-escriptorium/0014.xml": (2, ["Ꝙesãsͥ", "a9"]),
    "htr-united/data/europeana-random-selection/Capucin_sans_le_vouloir_ _[...]_btv1b52505123m_3.xml": (
        11,
        [
            "V Tableau",
            "La rue ( ad libitum )",
            "Course de Jean-Pierre poursuivi par une nuée de gamins moqueurs.",
        ],
    ),
    "htr-united/data/12148-btv1b525062185/0_4a125_default.xml": (
        7,
        ["Lettre d'Auguste Delâtre,au-sujet de Méryon,", "I3 avril I858 : \" Vous pouvez m'envoyer la"],
    ),
    "mets-alto/bl-newspaper-short/0002647_18240217_0001.xml": (
        5,
        [
            "This article should continue from 1 to 10.-",
            "1 2 3 4 5 6",
            "7 8 9 10",
            "This article is missing content.",
        ],
    ),
    "mets-alto/ocrd-kant/OCR-D-GT-ALTO/PAGE_0017_ALTO.xml": (24, ["Berliniſche Monatsſchrift ."]),
    "hocr/tess.hocr": (
        37,
        [
            "1 Down the Rabbit-Hole",
            "Alice was beginning to get very tired of sitting by her sister on the bank,",
            "and of having nothing to do: once or twice she had peeped into the book her",
            "sister was reading, but it had no pictures or conversations in it, ‘and what is",
            "the use of a book,’ thought Alice ‘Without pictures or conversation?’",
        ],
    ),
    "hocr/sample.html": (
        37,
        [
            "1 Down the Rabbit-Hole",
            "Alice was beginning to get very tired of sitting by her sister on the bank,",
            "and of having nothing to do: once or twice she had peeped into the book her",
            "sister was reading, but it had no pictures or conversations in it, `and what is",
            "the use of a book,' thought Alice `without pictures or conversation?",
        ],
    ),
    "hocr/hocr_hyphen.html": (
        43,
        [
            "162",
            "KONKLUSION",
            "Die Mehrstimmigkeit des Subjekts ist in Dürrenmatts späten Texten eng verbun\u00ad",
            "den mit der Oszilliation zwischen Schriftlichkeit und Mündlichkeit. Frisch drückt",
        ],
    ),
    "hocr/multicolumn.hocr": (119, ["- - -", "ſ", "-", "Betriebsbeamte beiden", "dert zu Mittheilung alles Wiffens"]),
    "abbyy-xml/bsb11015645_00020.abbyy.xml": (
        28,
        [
            "12",
            "mich in Harnisch. Es handelt sich also nicht um einen",
            "Kampf auf Leben und Tod — man will mich wie ein",
            'schwaches Mädchen entfilzen?"',
        ],
    ),
    "tesseract-gt/own-run/INPUT_0017.alto.xml": (
        23,
        ["Berliniſche Monatsſ<rift,", "I 784", "Zwölftes Stüf, December."],
    ),
    "tesseract-gt/own-run/INPUT_0017.hocr": (23, ["Berliniſche Monatsſ<rift,", "I 784", "Zwölftes Stüf, December."]),
    "tesseract-gt/own-run/INPUT_0017.tsv": (27, ["", "", "Berliniſche Monatsſ<rift,", "I 784"]),
    "tesseract-gt/own-run/INPUT_0017.wordstr.box": (27, ["", "", "Berliniſche Monatsſ<rift,", "I 784"]),
}


@pytest.mark.parametrize("name", READINGS)
def test_lines_are_read_in_order(name: str) -> None:
    kind = kind_of(FORMATS / name)
    assert isinstance(kind, Kind)
    lines = [line for page in read_pages(FORMATS / name, kind) for line in page.lines]
    count, first = READINGS[name]
    assert len(lines) == count
    assert [line.text for line in lines[: len(first)]] == first
    assert all(line.points for line in lines)


def test_every_page_file_here_has_its_reading() -> None:
    """So that a file that is added is read, too; those without lines have tests of their own below."""
    without_lines = {f"{ALETHEIA}/2010-03-19/00439040_gt_PAGE.xml", f"{ALETHEIA}/2017-07-15/SimplePage.xml"}
    elsewhere = {
        "hocr/empty_words_bug.html",
        "htr-united/data/12148-btv1b525062185/2_a91bf_default.xml",
        "mets-alto/ocrd-kant/OCR-D-GT-PAGE/PAGE_0017_PAGE.xml",
        "page-transkribus-2013/Tag_Mitt_Charl_1901_013700.without_tables.xml",
        "tesseract-gt/own-run/INPUT_0017.box",
    }
    found = {
        file.relative_to(FORMATS).as_posix()
        for file in FORMATS.rglob("*")
        if file.suffix in (".xml", ".hocr", ".html", ".tsv", ".box") and "schemas" not in file.parts
        if isinstance(kind_of(file), Kind)
    }
    assert found == set(READINGS) | without_lines | elsewhere


def test_the_table_of_transkribus_stands_where_its_custom_says_and_by_rows() -> None:
    (page,) = pages("page-transkribus-2013/Tag_Mitt_Charl_1901_013700.xml")
    texts = [[line.text for line in region.lines] for region in page.regions]
    assert [len(lines) for lines in texts] == [1, 65, 22, 1, 6, 1, 1, 1, 1, 33]
    assert texts[3:9] == [
        ["Für die öffentlichen Abortanſtalten:"],
        [
            "a) an den Unternehmer Otto Protz",
            "in Berlin, Auguſt Straße 6",
            "für den Betrieb und die Unter⸗",
            "haltung von 9 Abortanſtalten,",
            "zahlbar vierteljährlich nachher",
            "auf beſondere Anweiſung",
        ],
        ["3375 ℳ."],
        ["b) Waſſerverbrauch pp."],
        ["650 „"],
        ["4025 ℳ."],
    ]


def test_region_text_where_there_are_no_lines() -> None:
    (page,) = pages(f"{ALETHEIA}/2010-03-19/00439040_gt_PAGE.xml")
    first, *others = [(region.text or "").split("\n") for region in page.regions]
    assert first[0] == "eſcriuano, ſe librò. Que hartos indicios huuo para ſer"
    assert first[1] == "ca\ueadaigado. Hermano mio, los indicios no ſon capaces de"
    assert [text for (text,) in others] == [
        "todos",
        "PARTE I. LIB. I. CAP. I.",
        "© Biblioteca Nacional de España",
        "A 5",
        "9",
    ]


def test_pages_of_one_hocr_file() -> None:
    found = pages("hocr/empty_words_bug.html")
    assert [[line.text for line in page.lines][:2] for page in found] == [
        [""],
        ["A Ephpol. /", "2/2"],
        [],
        [],
        ["-", "Rhein-u. Moſelzeitung."],
    ]
    assert [page.image for page in found] == [f"bsb10486426_0000{number}" for number in range(1, 6)]


def test_by_levels() -> None:
    texts = {level: load_rows(str(FORMATS / ALETHEIA), split="train", level=level) for level in ("region", "page")}
    by_region = {row["source"]: row["text"] for row in texts["region"]}
    assert by_region["2018-07-15/levels-are-different.page.xml:r1070"] == "Inconsistent dummy region text"
    by_page = {row["source"]: row["text"] for row in texts["page"]}
    assert by_page["2019-07-15/table-region.xml"] == "\n".join("123456789")
    assert by_page["2017-07-15/SimplePage.xml"].startswith("The PAGE Format\nThere is a plethora of established and")


def test_what_is_not_transcribed_is_said() -> None:
    rows = load_rows(str(FORMATS / "page-transkribus-2013" / "cPAS-2000.xml"), split="train")
    assert set(rows["problem"]) == {"not_transcribed"}
    rows = load_rows(str(FORMATS / "htr-united" / "data" / "12148-btv1b525062185"), split="train")
    assert [row["problem"] for row in rows] == [None] * 7 + ["placeholder"] * 7


@pytest.mark.parametrize(
    ("name", "image"),
    [
        (f"{ALETHEIA}/2017-07-15/007.xml", "007.mono.png"),
        (f"{ALETHEIA}/2019-07-15/PAGE_0017_PAGE.xml", "OCR-D-IMG/INPUT_0017.jpg"),
        (f"{ALETHEIA}/2010-03-19/00439040_gt_PAGE.xml", "00439040.jpg"),
        ("hocr/tess.hocr", "alice_1.jpg"),
        ("abbyy-xml/bsb11015645_00020.abbyy.xml", "bsb11015645_00020.jpg"),
        ("tesseract-gt/own-run/INPUT_0017.wordstr.box", "INPUT_0017.jpg"),
        ("htr-united/data/europeana-random-selection", "Capucin_sans_le_vouloir_ _[...]_btv1b52505123m_3.jpeg"),
    ],
)
def test_the_image_is_found_under_its_other_name(name: str, image: str) -> None:
    rows = load_rows(str(FORMATS / name), split="train")
    assert {row["group"] for row in rows} == {image}
    assert {row["problem"] for row in rows} <= {None, "empty_label"}


def test_mets_names_what_is_read() -> None:
    rows = load_rows(str(FORMATS / "mets-alto" / "ocrd-kant"), split="train").to_list()
    assert [row["text"] for row in rows[:2]] == ["Berliniſche Monatsſchrift.", "1784 ."]
    assert {row["group"] for row in rows[:24]} == {"OCR-D-IMG/INPUT_0017.jpg"}
    assert [(row["source"], row["problem"]) for row in rows[24:]] == [
        ("OCR-D-GT-PAGE/PAGE_0020_PAGE.xml", "missing_page")
    ]
    assert rows == load_rows(str(FORMATS / "mets-alto" / "ocrd-kant" / "mets.xml"), split="train").to_list()


def test_box_files_count_from_the_bottom() -> None:
    boxes = load_rows(str(FORMATS / "tesseract-gt" / "own-run" / "INPUT_0017.wordstr.box"), split="train")
    table = load_rows(str(FORMATS / "tesseract-gt" / "own-run" / "INPUT_0017.tsv"), split="train")
    for box, row in zip(boxes, table, strict=True):
        if row["problem"] is None and row["text"] == box["text"]:
            assert read_size(image_of(box)) == pytest.approx(read_size(image_of(row)), abs=2)


def test_crops_are_those_that_were_cut_before() -> None:
    """The same lines, cut from the same polygons by the maker of the data set and shrunk to 96 pixels in grey."""
    import json

    folder = DATA / "handwriting-en-stanford-1905"
    texts = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = {row["text"]: row for row in load_rows(str(folder / "pages"), split="train")}
    compared = 0
    for told in texts:
        row = rows.get(told["text"])
        if row and told["page"] in row["source"]:
            cut = open_upright(image_of(row)).convert("L")
            with Image.open(folder / told["image"]) as before:
                assert cut.width / cut.height == pytest.approx(before.width / before.height, rel=0.05)
            compared += 1
    assert compared > 10


def test_kraken_fixture_and_its_pages_reading() -> None:
    folder = DATA / "page-xml-kraken"
    rows = load_rows(str(folder / "170025120000003,0074.xml"), split="train")
    page = load_rows(str(folder), split="train")[0]
    assert "\n".join(rows["text"]) == page["text"]
    assert {row["group"] for row in rows} == {"170025120000003,0074.jpg"}
    assert rows[0]["source"] == "170025120000003,0074.xml:line_1469098625593_463"


def pages(name: str) -> list:  # type: ignore[type-arg]
    kind = kind_of(FORMATS / name)
    assert isinstance(kind, Kind)
    return read_pages(FORMATS / name, kind)
