"""Writes the diagrams of ``docs/how-it-works.md`` to ``docs/images``, each for a light and for a dark page.

``--check`` only tells whether they are up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "images"
WIDTH = 860


@dataclass(frozen=True)
class Palette:
    """Colours of a page: text, soft text, lines, and boxes that are plain, frozen, trained and wasted."""

    ink: str
    soft: str
    line: str
    plain: str
    frozen: str
    trained: str
    waste: str


PALETTES = {
    "light": Palette("#1f2933", "#52606d", "#8795a1", "#eef2f5", "#d5e6f3", "#fbdcc4", "#f3c9c9"),
    "dark": Palette("#eef2f5", "#b4c0ca", "#7b8a97", "#2b3640", "#23455e", "#6b3d1b", "#6a2c2c"),
}


@dataclass
class Sheet:
    """One drawing; lengths are in pixels, y grows downwards."""

    colours: Palette
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, size: int = 14, anchor: str = "start", soft: bool = False) -> None:
        """A line of text whose baseline is at ``y``."""
        colour = self.colours.soft if soft else self.colours.ink
        style = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
        self.parts.append(f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, words: str, kind: str = "plain", height: float = 34) -> None:
        """A box with its words in the middle, a line of them for each line break."""
        fill = getattr(self.colours, kind)
        shape = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"'
        self.parts.append(f'<rect {shape} fill="{fill}" stroke="{self.colours.line}"/>')
        lines = words.split("\n")
        for number, line in enumerate(lines):
            self.text(x + width / 2, y + height / 2 + 5 + 17 * (number - (len(lines) - 1) / 2), line, anchor="middle")

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through the points, with a head at the last one."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        style = f'fill="none" stroke="{self.colours.soft}" stroke-width="1.6" marker-end="url(#head)"'
        self.parts.append(f'<polyline points="{path}" {style}/>')

    def svg(self, title: str, height: int) -> str:
        """The file."""
        head = f'<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{self.colours.soft}"/></marker>'
        size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        names = f'role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif"'
        body = "\n".join(self.parts)
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {names}>\n<defs>{head}</defs>\n{body}\n</svg>\n'


def run(sheet: Sheet) -> tuple[str, int]:
    """What a run does, from the data to the verdict."""
    sheet.box(10, 20, 150, "images and texts")
    sheet.box(10, 84, 150, "survey: lengths,\npixel budget, split", height=48)
    sheet.box(220, 20, 190, "held-out samples")
    sheet.box(220, 92, 190, "training samples")
    sheet.box(470, 20, 170, "base model reads", "frozen")
    sheet.box(470, 92, 170, "steps", "trained")
    sheet.box(470, 164, 170, "tuned model reads", "frozen")
    sheet.box(690, 92, 160, "base against tuned,\nwith an interval", height=48)
    sheet.arrow((85, 54), (85, 83))
    sheet.arrow((160, 100), (190, 100), (190, 37), (219, 37))
    sheet.arrow((160, 109), (219, 109))
    sheet.arrow((410, 37), (469, 37))
    sheet.arrow((410, 109), (469, 109))
    sheet.arrow((315, 54), (315, 72), (440, 72), (440, 181), (469, 181))
    sheet.arrow((540, 126), (540, 163))
    sheet.arrow((575, 164), (575, 127))
    sheet.arrow((640, 37), (770, 37), (770, 91))
    sheet.arrow((640, 181), (770, 181), (770, 141))
    sheet.text(10, 186, "Every evaluation reads; the best checkpoint", 13, soft=True)
    sheet.text(10, 204, "is the one with the lowest error rate.", 13, soft=True)
    return "A run: survey, split, the base reads, steps with evaluations that read, base against tuned", 215


def prompt(sheet: Sheet) -> tuple[str, int]:
    """The tokens of a training sample above those of a request."""
    tokens = [("[gMASK]<sop>", 112), ("<|user|>\\n", 88), ("image tokens", 120), ("Text Recognition:", 138),
              ("<|assistant|>", 110), ("\\n", 34)]  # fmt: skip
    for y, title in ((30, "trained"), (112, "served")):
        sheet.text(10, y - 8, title, 13, soft=True)
        x = 10.0
        for words, width in tokens:
            sheet.box(x, y, width, words)
            x += width + 4
        if title == "trained":
            sheet.box(x, y, 120, "9 March 1829", "trained")
            sheet.box(x + 124, y, 92, "<|user|>", "trained")
        else:
            sheet.text(x + 8, y + 22, "the model goes on from here", 13, soft=True)
    sheet.text(848, 84, "loss on these tokens only: answer and stop", 13, "end", soft=True)
    return (
        "The prompt of a training sample and of a request are the same tokens; the answer and the stop are trained",
        160,
    )


def cache(sheet: Sheet) -> tuple[str, int]:
    """Where an image's features come from in the first epoch and in later ones."""
    sheet.text(10, 22, "first time an image is needed", 13, soft=True)
    sheet.box(10, 32, 100, "image")
    sheet.box(160, 32, 180, "vision tower, projector", "frozen")
    sheet.box(390, 32, 170, "features")
    sheet.box(620, 32, 230, "language model", "trained", 114)
    sheet.box(390, 112, 170, "cache: memory or disk")
    sheet.text(10, 122, "every time after that: the image is not even decoded;", 13, soft=True)
    sheet.text(10, 140, "shared by ranks, by evaluate and by the next run", 13, soft=True)
    for x in (110, 340, 560):
        sheet.arrow((x, 49), (x + 49 + (10 if x == 560 else 0), 49))
    sheet.arrow((475, 66), (475, 111))
    sheet.arrow((560, 129), (619, 129))
    return "An image goes through the frozen vision tower once; after that its features come from the cache", 160


def packing(sheet: Sheet) -> tuple[str, int]:
    """A padded batch and the same samples in one row."""
    lengths = (200, 90, 150, 76)
    sheet.text(10, 20, "padded: computed, then thrown away", 13, soft=True)
    for row, length in enumerate(lengths):
        sheet.box(10, 30 + 30 * row, length, f"sample {row + 1}", "frozen", 26)
        if length < max(lengths):
            sheet.box(12 + length, 30 + 30 * row, max(lengths) - length - 2, "", "waste", 26)
    sheet.text(290, 80, "one row: each sample attends only to itself, and counts its positions from 0", 13, soft=True)
    x = 290.0
    for row, length in enumerate(lengths):
        sheet.box(x, 92, length, f"sample {row + 1}", "frozen", 26)
        x += length + 3
    return "A padded batch of four samples, and the same samples in one row without padding", 155


def mtp(sheet: Sheet) -> tuple[str, int]:
    """How the multi-token-prediction layer drafts and the model checks."""
    sheet.box(10, 30, 190, "language model", "trained", 44)
    sheet.box(270, 30, 150, 'next token: "Mar"')
    sheet.box(270, 100, 150, "state of the model")
    sheet.box(490, 66, 150, "MTP layer", "frozen", 44)
    sheet.box(700, 71, 150, 'draft: "ch"')
    sheet.arrow((200, 47), (269, 47))
    sheet.arrow((105, 74), (105, 117), (269, 117))
    sheet.arrow((420, 47), (455, 47), (455, 80), (489, 80))
    sheet.arrow((420, 117), (455, 117), (455, 96), (489, 96))
    sheet.arrow((640, 88), (699, 88))
    sheet.arrow((775, 71), (775, 14), (105, 14), (105, 29))
    sheet.text(470, 34, "kept if the model's next step chooses the same,", 13, soft=True)
    sheet.text(470, 52, "so the text does not change", 13, soft=True)
    return "The multi-token-prediction layer drafts a token from the model's state; the model checks it", 145


DIAGRAMS: dict[str, Callable[[Sheet], tuple[str, int]]] = {
    "run": run,
    "prompt": prompt,
    "cache": cache,
    "packing": packing,
    "mtp": mtp,
}


def files() -> dict[Path, str]:
    """Every file and what has to be in it."""
    drawn = {}
    for name, draw in DIAGRAMS.items():
        for scheme, palette in PALETTES.items():
            sheet = Sheet(palette)
            title, height = draw(sheet)
            drawn[FOLDER / f"{name}-{scheme}.svg"] = sheet.svg(title, height)
    return drawn


def main(check: bool) -> int:
    """Write the files, or tell whether they are what they would be."""
    stale = []
    for file, content in files().items():
        if check and (not file.is_file() or file.read_text(encoding="utf-8") != content):
            stale.append(file.name)
        if not check:
            file.write_text(content, encoding="utf-8")
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv))
