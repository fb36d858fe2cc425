"""What is made of the fuzzer's bytes: choices, JSON values, words, and changes to a tree of XML."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

DEEPEST = 5
WORDS = (
    *("", " ", "amber", "Zürich ſtraße", "עברית", "नमस्ते", "\u0000", "\ud800", "a\nb", "a\tb", "<image>", "###", "~~~"),
    *("images/0.png", "images/1.png", "../0.png", "images", "https://example.org/a.png", "data:image/png;base64,AAAA"),
    *("user", "assistant", "system", "human", "gpt", "train", "line", "page", "x" * 5000),
)
NUMBERS = (0, 1, -1, 2, 0.5, 1e308, -1e308, 2**63, float("nan"), float("inf"), True, False)


class Drawer:
    """Draws from bytes, one after another; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def is_used_up(self) -> bool:
        return self.at >= len(self.data)

    def byte(self) -> int:
        self.at += 1
        return 0 if self.at > len(self.data) else self.data[self.at - 1]

    def one_of(self, choices: Sequence[T]) -> T:
        number = self.byte() if len(choices) <= 256 else 256 * self.byte() + self.byte()
        return choices[number % len(choices)]

    def rest(self) -> bytes:
        rest, self.at = self.data[self.at :], len(self.data)
        return rest

    def text(self, words: Sequence[str] = WORDS) -> str:
        """A known word, or some characters of any kind."""
        if self.byte() % 4:
            return self.one_of(words)
        length = self.byte() % 12
        return "".join(chr(self.byte() + 256 * (self.byte() % 32)) for _ in range(length))

    def value(self, keys: Sequence[str], depth: int = 0) -> Any:
        """A JSON value whose mappings have some of these keys."""
        kind = self.byte() % (8 if depth < DEEPEST and not self.is_used_up else 4)
        if kind in (0, 1):
            return self.text()
        if kind == 2:
            return self.one_of(NUMBERS)
        if kind == 3:
            return None
        if kind in (4, 5):
            return {self.text(keys): self.value(keys, depth + 1) for _ in range(self.byte() % 6)}
        return [self.value(keys, depth + 1) for _ in range(self.byte() % 5)]


def changed(root: Any, draw: Drawer) -> None:
    """Delete, double, move, rename or rewrite some elements and attributes of an lxml tree in place."""
    while not draw.is_used_up:
        elements = [one for one in root.iter() if isinstance(one.tag, str)]
        one, other = draw.one_of(elements), draw.one_of(elements)
        how = draw.byte() % 7
        parent = one.getparent()
        if how == 0 and parent is not None:
            parent.remove(one)
        elif how == 1 and parent is not None and len(elements) < 300:
            parent.append(copy.deepcopy(one))
        elif how == 2 and one not in other.iterancestors() and one is not other and parent is not None:
            other.append(one)
        elif how == 3:
            one.tag = other.tag
        elif how == 4 and one.attrib:
            one.set(draw.one_of(sorted(one.attrib)), allowed(draw.text(NOTATIONS)))
        elif how == 5 and one.attrib:
            del one.attrib[draw.one_of(sorted(one.attrib))]
        elif how == 6:
            one.text = allowed(draw.text((*WORDS, *NOTATIONS)))


NOTATIONS = (
    *(
        "",
        "0",
        "-1",
        "nan",
        "inf",
        "1e999",
        "99999999999",
        "1,2 3,4",
        "1,2",
        "1 2 3 4",
        "0,0 0,0 0,0",
        "a,b c,d",
        "1.5",
    ),
    *("bbox 1 2 3 4", "bbox 4 3 2 1; image 'x.png'", "image x.png; ppageno 0", "inch1200", "mm10", "pixel", "90", "r1"),
)


def allowed(text: str) -> str:
    """The text without what XML cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or ("\x20" <= c <= "\ufffd" and not "\ud800" <= c <= "\udfff"))
