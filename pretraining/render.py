"""Rendered text lines: which fonts, which texts, and how a line becomes a grey image.

Everything is drawn from one ``random.Random``, so a seed gives the same lines on every machine that has the
fonts (Debian packages: see README.md).
"""

from __future__ import annotations

import io
import random
import string
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT_ROOT = Path("/usr/share/fonts")
WORD_LIST = Path("/usr/share/dict/american-english")
HELD_OUT_SHARE = 16  # one text in sixteen is never trained on, chosen by its checksum
MIN_WIDTH = 112  # a line 56 px high and narrower than this would be enlarged to the processor's pixel floor

SEEN_FONTS: dict[str, tuple[str, ...]] = {
    "DejaVu Sans": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansCondensed"),
    "DejaVu Serif": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerifCondensed"),
    "DejaVu Sans Mono": ("DejaVuSansMono", "DejaVuSansMono-Bold"),
    "Liberation Sans": ("LiberationSans-Regular", "LiberationSans-Bold", "LiberationSans-Italic"),
    "Liberation Serif": ("LiberationSerif-Regular", "LiberationSerif-Bold", "LiberationSerif-Italic"),
    "Liberation Mono": ("LiberationMono-Regular", "LiberationMono-Bold"),
    "Noto Sans": ("NotoSans-Regular", "NotoSans-Bold", "NotoSans-Italic"),
    "Noto Serif": ("NotoSerif-Regular", "NotoSerif-Bold", "NotoSerif-Italic"),
    "FreeSerif": ("FreeSerif", "FreeSerifBold", "FreeSerifItalic"),
    "Carlito": ("Carlito-Regular", "Carlito-Bold", "Carlito-Italic"),
    "Caladea": ("Caladea-Regular", "Caladea-Bold", "Caladea-Italic"),
    "Lato": ("Lato-Regular", "Lato-Bold", "Lato-Light", "Lato-Italic"),
    "Roboto": ("Roboto-Regular", "Roboto-Bold", "Roboto-Light", "Roboto-Italic"),
    "EB Garamond": ("EBGaramond12-Regular", "EBGaramond12-Bold", "EBGaramond12-Italic"),
}
UNSEEN_FONTS: dict[str, tuple[str, ...]] = {
    "Linux Libertine": ("LinLibertine_R", "LinLibertine_RB", "LinLibertine_RI"),
    "Linux Biolinum": ("LinBiolinum_R", "LinBiolinum_RB"),
    "Old Standard TT": ("OldStandard-Regular", "OldStandard-Bold", "OldStandard-Italic"),
    "Courier Prime": ("Courier Prime", "Courier Prime Bold"),
    "Inconsolata": ("Inconsolata",),
    "URW Bookman": ("URWBookman-Light", "URWBookman-Demi"),
}


@dataclass(frozen=True)
class TextStyle:
    """How long the texts are, and how many of them are random strings."""

    max_chars: int = 25
    random_share: float = 0.35
    max_random_chars: int = 14


@dataclass(frozen=True)
class Line:
    """One rendered line: grey image (height, width) uint8, its text, and each letter's centre in pixels."""

    image: np.ndarray
    text: str
    centres: tuple[float, ...]


def is_held_out(text: str) -> bool:
    """Whether the text belongs to the part that training never sees."""
    return zlib.crc32(text.encode()) % HELD_OUT_SHARE == 0


@cache
def load_words() -> tuple[str, ...]:
    """The printable ASCII words of Debian's ``wamerican``."""
    words = WORD_LIST.read_text(encoding="utf-8").split()
    return tuple(w for w in words if w.isascii() and len(w) <= 14)


@cache
def font_files() -> dict[str, Path]:
    """Every installed font file by its stem."""
    return {path.stem: path for path in sorted(FONT_ROOT.rglob("*.*")) if path.suffix in {".ttf", ".otf", ".t1"}}


@lru_cache(maxsize=4096)
def load_font(stem: str, size: int) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels; raises ``KeyError`` when its Debian package is missing."""
    return ImageFont.truetype(str(font_files()[stem]), size, layout_engine=ImageFont.Layout.BASIC)


def sample_number(rng: random.Random) -> str:
    """A year, a price, a date, a time or a plain number."""
    return rng.choice(
        (
            lambda: str(rng.randint(1500, 2030)),
            lambda: f"{rng.randint(0, 999)}.{rng.randint(0, 99):02d}",
            lambda: f"${rng.randint(1, 99)}.{rng.randint(0, 99):02d}",
            lambda: f"{rng.randint(1, 31)}/{rng.randint(1, 12)}/{rng.randint(1900, 2030)}",
            lambda: f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
            lambda: f"{rng.randint(1, 100)}%",
            lambda: str(rng.randint(0, 10 ** rng.randint(1, 7))),
        )
    )()


def sample_word(rng: random.Random, case: str) -> str:
    """A word or, now and then, a number, with the punctuation that stands around words."""
    if rng.random() < 0.12:
        return sample_number(rng)
    word = rng.choice(load_words())
    word = {"upper": word.upper(), "title": word[:1].upper() + word[1:]}.get(case, word)
    draw = rng.random()
    if draw < 0.12:
        return word + rng.choice(",.;:!?-")
    if draw < 0.17:
        left, right = rng.choice(("()", "[]", '""', "''", "{}", "<>", "**"))
        return left + word + right
    return word


def sample_phrase(rng: random.Random, max_chars: int) -> str:
    """Words joined by single spaces, cut to a length drawn from 1 to ``max_chars``."""
    target = rng.randint(min(3, max_chars), max_chars)
    case = rng.choices(("lower", "upper", "title", "sentence"), (45, 15, 15, 25))[0]
    words = [sample_word(rng, "title" if case == "sentence" else case)]
    rest = "lower" if case == "sentence" else case
    while len(" ".join(words)) < target:
        words.append(sample_word(rng, rest))
    return " ".join(words)[:target].strip()


def sample_random(rng: random.Random, max_chars: int) -> str:
    """Printable ASCII without any sense, a space now and then."""
    alphabet = rng.choice((string.ascii_letters + string.digits, string.ascii_letters + string.digits, SYMBOLS))
    length = rng.randint(1, max_chars)
    letters = [rng.choice(alphabet) for _ in range(length)]
    for index in range(1, length - 1):
        if rng.random() < 0.08 and letters[index - 1] != " ":
            letters[index] = " "
    return " ".join("".join(letters).split())


SYMBOLS = string.ascii_letters + string.digits + string.punctuation + string.punctuation


def sample_text(rng: random.Random, style: TextStyle, held_out: bool = False) -> str:
    """A text of the wanted part (``held_out`` or not), never empty."""
    while True:
        if rng.random() < style.random_share:
            text = sample_random(rng, min(style.max_chars, style.max_random_chars))
        else:
            text = sample_phrase(rng, style.max_chars)
        if text and is_held_out(text) == held_out:
            return text


def draw_text(rng: random.Random, text: str, stem: str) -> tuple[Image.Image, list[float]]:
    """Draw dark on light with slight margins. Returns the grey image and the centre of each letter in pixels."""
    height = rng.randint(44, 66)
    font = load_font(stem, round(height * rng.uniform(0.48, 0.74)))
    edges = [font.getlength(text[:i]) for i in range(len(text) + 1)]
    left, right = rng.randint(2, 16), rng.randint(2, 16)
    _, top, _, bottom = font.getbbox("Agjpqy|[" + text)
    spare = height - (bottom - top)
    shift = max(min(spare // 2, 5), 0)
    y = spare // 2 - top + rng.randint(-shift, shift)
    width = max(round(left + edges[-1] + right), MIN_WIDTH * height // 56 + 1)
    paper, ink = rng.randint(185, 255), rng.randint(0, 110)
    image = Image.new("L", (width, height), paper)
    ImageDraw.Draw(image).text((left, y), text, fill=ink, font=font)
    return image, [left + (a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]


def degrade(rng: random.Random, image: Image.Image) -> Image.Image:
    """Slant a few lines, blur half of them, add noise to half, compress a tenth."""
    if rng.random() < 0.2:
        slant = rng.uniform(-0.2, 0.3)
        matrix = (1, slant, -slant * image.height / 2, 0, 1, 0)
        image = image.transform(
            image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=image.getpixel((0, 0))
        )
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.1)))
    if rng.random() < 0.5:
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal((image.height, image.width), np.float32)
        grey = np.asarray(image, np.float32) + noise * rng.uniform(1, 12)
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.1:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(50, 90))
        image = Image.open(buffer)
    return image


def render_line(rng: random.Random, text: str, fonts: dict[str, tuple[str, ...]]) -> Line:
    """Render ``text`` in a face of a family drawn from ``fonts``, family first so that all weigh the same."""
    stem = rng.choice(fonts[rng.choice(sorted(fonts))])
    image, centres = draw_text(rng, text, stem)
    return Line(np.asarray(degrade(rng, image)), text, tuple(centres))


def fit_height(line: Line, height: int = 56) -> Line:
    """Resize as the processor does: ``height`` px high, the width rounded to a multiple of 28 px."""
    width = max(round(line.image.shape[1] / 28) * 28, MIN_WIDTH)
    image = Image.fromarray(line.image).resize((width, height), Image.Resampling.BICUBIC)
    scale = width / line.image.shape[1]
    return Line(np.asarray(image), line.text, tuple(c * scale for c in line.centres))
