"""Lines of text that tests draw themselves."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

WORDS = ("amber", "birch", "cedar", "delta", "ember", "flint", "grove", "haven", "inlet", "jetty", "knoll", "larch")


def draw_line(text: str, size: tuple[int, int] = (140, 56)) -> Image.Image:
    """A line of text, black on white; size is (width, height) in pixels."""
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).text((6, 10), text, fill=0, font=ImageFont.load_default(28))
    return image
