"""Which characters are taken for which, and how well each script is read, as kraken's test report shows them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import regex

from .edit import UnitEdit

MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Confusion:
    """``truth`` read as ``prediction``; an empty truth is an insertion, an empty prediction a deletion.

    ``examples`` are the ids of the first samples in which it happened, each once.
    """

    truth: str
    prediction: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class ScriptAccuracy:
    """How the truth's characters of one Unicode script were read.

    Attributes:
        characters: characters of the truths in this script.
        errors: those substituted or deleted.
        inserted: characters of this script that were inserted; they belong to no character of a truth.
    """

    script: str
    characters: int
    errors: int
    inserted: int

    @property
    def accuracy(self) -> float | None:
        """1 - errors / characters; None when the script occurs in insertions only."""
        return 1 - self.errors / self.characters if self.characters else None


@dataclass
class ConfusionCounter:
    """Gathers the edits of all samples; the only mutable thing here."""

    characters: Counter[str] = field(default_factory=Counter)
    edits: Counter[UnitEdit] = field(default_factory=Counter)
    examples: defaultdict[UnitEdit, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, sample_id: str, truth_units: Iterable[str], edits: Iterable[UnitEdit]) -> None:
        self.characters.update(truth_units)
        for edit in edits:
            self.edits[edit] += 1
            examples = self.examples[edit]
            if len(examples) < MAX_EXAMPLES:
                examples[sample_id] = None

    def table(self) -> tuple[Confusion, ...]:
        """Return every confusion, the most frequent first, then by text so that the order never varies."""
        ordered = sorted(self.edits.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Confusion(*edit, count, tuple(self.examples[edit])) for edit, count in ordered)

    def scripts(self) -> tuple[ScriptAccuracy, ...]:
        """Return one entry per script, the one with most characters first."""
        characters, errors, inserted = Counter[str](), Counter[str](), Counter[str]()
        for unit, count in self.characters.items():
            characters[script_of(unit)] += count
        for edit, count in self.edits.items():
            (errors if edit.truth else inserted)[script_of(edit.truth or edit.prediction)] += count
        names = sorted(characters.keys() | inserted.keys(), key=lambda name: (-characters[name], name))
        return tuple(ScriptAccuracy(name, characters[name], errors[name], inserted[name]) for name in names)


@lru_cache(maxsize=65536)
def script_of(unit: str) -> str:
    """Return the Unicode script of a character or grapheme cluster: of its first code point that has one of its own.

    ``Common`` (digits, punctuation, spaces) and ``Inherited`` (loose combining marks) are scripts of their own here;
    ``Unknown`` stands for scripts newer than the list below, and for unassigned code points.
    """
    scripts = [_code_point_script(character) for character in unit]
    return next((script for script in scripts if script not in ("Common", "Inherited")), scripts[0])


@lru_cache(maxsize=65536)
def _code_point_script(character: str) -> str:
    return next((name for name, pattern in _script_patterns() if pattern.match(character)), "Unknown")


@lru_cache(maxsize=1)
def _script_patterns() -> tuple[tuple[str, regex.Pattern[str]], ...]:
    return tuple((name, regex.compile(rf"\p{{Script={name}}}")) for name in SCRIPTS)


# Scripts of Unicode 13 (Scripts.txt), the frequent ones first; names that the regex module of 2022 already knows.
_SCRIPT_NAMES = """
    Latin Common Inherited Cyrillic Greek Arabic Hebrew Han Hiragana Katakana Hangul Devanagari Bengali Tamil Telugu
    Khmer Thai Lao Myanmar Georgian Armenian Ethiopic Sinhala Tibetan Gujarati Gurmukhi Kannada Malayalam Oriya
    Adlam Ahom Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak Bhaiksuki Bopomofo Brahmi Braille
    Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic Cuneiform
    Cypriot Deseret Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Glagolitic Gothic Grantha
    Gunjala_Gondi Hanifi_Rohingya Hanunoo Hatran Imperial_Aramaic Inscriptional_Pahlavi Inscriptional_Parthian
    Javanese Kaithi Kayah_Li Kharoshthi Khitan_Small_Script Khojki Khudawadi Lepcha Limbu Linear_A Linear_B Lisu
    Lycian Lydian Mahajani Makasar Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Nabataean Nandinagari New_Tai_Lue Newa Nko
    Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian
    Old_Sogdian Old_South_Arabian Old_Turkic Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician
    Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sogdian Sora_Sompeng
    Soyombo Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tangut Tifinagh Tirhuta
    Ugaritic Vai Wancho Warang_Citi Yezidi Yi Zanabazar_Square
"""
SCRIPTS: tuple[str, ...] = tuple(_SCRIPT_NAMES.split())
