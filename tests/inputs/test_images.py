"""Images: sizes from headers, upright RGB, and each way in which a file can be bad."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import AppendingTiffWriter
from shared_data import DATA, needs_shared

from glm_ocr_finetune.inputs.images import (
    MAX_IMAGE_PIXELS,
    ImageError,
    content_key,
    image_suffixes,
    num_animation_frames,
    num_image_tokens,
    open_upright,
    page_sizes,
    read_size,
    smart_size,
)

BUDGET = (6_272, 4_816_896)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def source(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": None}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that promises this size and holds next to nothing."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 64)) + png_chunk(b"IEND", b"")


def halves(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Left half red (dark), right half white."""
    image = Image.new("RGB", size, "white")
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    return image.convert(mode)


def with_orientation(orientation: int, format: str, image: Image.Image | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image or halves(), format, exif=exif)


def near(image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    pixel = image.getpixel(place)
    assert isinstance(pixel, tuple)
    return all(abs(found - wanted) <= tolerance for found, wanted in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000"])
def test_formats(format: str, tmp_path: Path) -> None:
    data = encoded(halves(), format)
    path = tmp_path / "image"
    path.write_bytes(data)
    for image in (source(data), {"bytes": None, "path": str(path)}, path, str(path), data, halves()):
        assert read_size(image) == (40, 60)
        upright = open_upright(image)
        assert (upright.mode, upright.size) == ("RGB", (60, 40))
        assert near(upright, (5, 20), (255, 0, 0))
        assert near(upright, (55, 20), (255, 255, 255))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "red"),
    [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"), (7, "bottom"), (8, "bottom")],
)
def test_photos_are_read_upright(format: str, orientation: int, red: str) -> None:
    image = source(with_orientation(orientation, format))
    height, width = (60, 40) if orientation >= 5 else (40, 60)
    places = {"left": (5, height // 2), "right": (width - 5, height // 2), "top": (20, 5), "bottom": (20, height - 5)}
    upright = open_upright(image)
    assert read_size(image) == (height, width)
    assert upright.size == (width, height)
    assert near(upright, places[red], (255, 0, 0))


def test_damaged_exif_does_not_matter() -> None:
    data = encoded(halves(), "JPEG", exif=b"Exif\0\0garbage!")
    assert read_size(source(data)) == (40, 60)
    assert open_upright(source(data)).size == (60, 40)


def test_cmyk_jpeg() -> None:
    upright = open_upright(source(encoded(halves("CMYK"), "JPEG")))
    assert upright.mode == "RGB"
    assert near(upright, (5, 20), (255, 0, 0), 20)
    assert near(upright, (55, 20), (255, 255, 255))


def test_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((3, 1), 1)
    upright = open_upright(source(encoded(image, transparency=0)))
    assert near(upright, (0, 0), (255, 255, 255), 0)
    assert near(upright, (3, 1), (255, 0, 0), 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    upright = open_upright(source(encoded(image.convert(mode))))
    assert np.asarray(upright)[0, :, 0].tolist() == [0, 255, 127]


def test_transparent_colour_of_rgb_lies_on_white() -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (1, 2, 3))
    upright = open_upright(source(encoded(image, transparency=(10, 20, 30))))
    assert np.asarray(upright)[0].tolist() == [[255, 255, 255], [1, 2, 3]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    values = np.array([[0, 257, 128 * 257, 40_000, 65_535]], dtype=np.uint16)
    upright = open_upright(source(encoded(Image.fromarray(values), format)))
    assert np.asarray(upright)[0].tolist() == [[grey] * 3 for grey in (0, 1, 128, 156, 255)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[-10, 0, 10]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 0, 1]], np.float32), [0, 0, 255]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 50_000, 100_000]], np.int32), [0, 128, 255]),
    ],
)
def test_deep_grey(values: Any, expected: list[int]) -> None:
    upright = open_upright(source(encoded(Image.fromarray(values), "TIFF")))
    assert np.asarray(upright)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["1", "L", "YCbCr", "HSV"])
def test_other_modes(mode: str) -> None:
    upright = open_upright(halves(mode))
    assert upright.mode == "RGB"
    assert near(upright, (55, 20), (255, 255, 255), 2)


def test_reading_the_size_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [source(with_orientation(6, format)) for format in ("JPEG", "PNG", "WEBP", "TIFF")]
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert [read_size(image) for image in images] == [(60, 40)] * 4
    assert read_size(source(encoded(Image.new("RGB", (60, 40))))) == (40, 60)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
def test_truncated(format: str, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, format)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="half: ") as caught:
        open_upright(path)
    assert caught.value.reason == "unreadable_image"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty_file"), (b"not an image", "unreadable_image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unreadable_image")],
)
@pytest.mark.parametrize("function", [read_size, open_upright])
def test_not_an_image(data: bytes, reason: str, function: Any, tmp_path: Path) -> None:
    path = tmp_path / "some.png"
    path.write_bytes(data)
    for image in (source(data), {"bytes": None, "path": str(path)}):
        with pytest.raises(ImageError, match=r"embedded image: |some\.png: ") as caught:
            function(image)
        assert caught.value.reason == reason


@pytest.mark.parametrize("path", ["nowhere.png", "nowhere/at/all.png"])
def test_missing(path: str, tmp_path: Path) -> None:
    for function in (read_size, open_upright, content_key):
        with pytest.raises(ImageError, match="no such file") as caught:
            function({"bytes": None, "path": str(tmp_path / path)})
        assert caught.value.reason == "missing_image"
    with pytest.raises(ImageError, match="neither a file nor its bytes"):
        read_size({"bytes": None, "path": None})


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a file"):
        read_size(tmp_path)


def test_bombs_are_refused() -> None:
    for function in (read_size, open_upright):
        with pytest.raises(ImageError, match="900000000 pixels|30000 x 30000") as caught:
            function(source(png_of_size(30_000, 30_000)))
        assert caught.value.reason == "image_too_large"


def test_the_bound_is_ours_when_pillow_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="30000 x 30000 pixels, at most 178,956,970"):
        read_size(source(png_of_size(30_000, 30_000)))


@pytest.mark.filterwarnings("error")
def test_a0_at_300_dpi_passes() -> None:
    assert read_size(source(png_of_size(9_933, 14_043))) == (14_043, 9_933)
    assert MAX_IMAGE_PIXELS > 9_933 * 14_043


SIZES = [(1, 1), (27, 29), (40, 8000), (100, 100), (768, 1024), (3508, 2480), (9933, 14043), (28, 5600), (13, 7)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_smart_size_is_the_processors(height: int, width: int) -> None:
    from transformers.models.glm46v.image_processing_glm46v import smart_resize

    expected = smart_resize(2, height, width, min_pixels=2 * BUDGET[0], max_pixels=2 * BUDGET[1])
    assert smart_size(height, width, *BUDGET) == expected
    assert num_image_tokens(height, width, *BUDGET) == expected[0] * expected[1] // 784


def test_too_thin() -> None:
    assert read_size(Image.new("L", (2000, 1))) == (1, 2000)
    with pytest.raises(ImageError, match="2000 x 1 pixels: .*aspect ratio") as caught:
        smart_size(1, 2000, *BUDGET)
    assert caught.value.reason == "image_too_thin"


def test_content_key(tmp_path: Path) -> None:
    data = encoded(halves())
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert content_key(source(data)) == content_key(path) == content_key({"bytes": None, "path": str(path)})
    assert len(content_key(path)) == 16
    assert content_key(source(encoded(halves("L")))) != content_key(path)
    assert content_key(halves()) == content_key(halves())
    assert content_key(halves()) != content_key(halves().rotate(180))


@needs_shared
def test_real_images_have_the_size_that_their_header_tells() -> None:
    for folder in sorted(path for path in DATA.iterdir() if (path / "manifest.jsonl").is_file()):
        images = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))[:3]
        assert [open_upright(path).size[::-1] for path in images] == [read_size(path) for path in images]


def pages_tiff(*sizes: tuple[int, int], subfile_types: tuple[int, ...] = ()) -> bytes:
    """A TIFF with a frame of each size (width, height), of the given subfile types where there are some."""
    stream = BytesIO()
    with AppendingTiffWriter(stream) as writer:
        for index, size in enumerate(sizes):
            tags = {0x00FE: subfile_types[index]} if subfile_types else {}
            Image.new("L", size, 255 - index).save(writer, format="TIFF", tiffinfo=tags)
            writer.newFrame()
    return stream.getvalue()


def test_pages_of_a_tiff_have_sizes_of_their_own() -> None:
    image = source(pages_tiff((60, 40), (10, 90)))
    assert page_sizes(image) == {0: (40, 60), 1: (90, 10)}
    assert [open_upright(image, page).size for page in (0, 1)] == [(60, 40), (10, 90)]
    assert open_upright(image, 1).getpixel((0, 0)) == (254, 254, 254)
    assert num_animation_frames(image) == 1


def test_thumbnails_and_masks_of_a_tiff_are_no_pages() -> None:
    image = source(pages_tiff((60, 40), (6, 4), (60, 40), (50, 40), subfile_types=(2, 1, 4, 2)))
    assert page_sizes(image) == {0: (40, 60), 3: (40, 50)}


def test_a_turned_page_has_its_upright_size() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encoded(halves(), "TIFF", save_all=True, append_images=[halves()], exif=turned)
    assert page_sizes(source(data)) == {0: (60, 40), 1: (60, 40)}
    assert open_upright(source(data), 1).size == (40, 60)


def test_pages_in_a_circle_end() -> None:
    data = bytearray(pages_tiff((60, 40), (60, 40)))
    first = struct.unpack_from("<I", data, 4)[0]
    link = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, link)[0]
    struct.pack_into("<I", data, second + 2 + 12 * struct.unpack_from("<H", data, second)[0], first)
    assert len(page_sizes(source(bytes(data)))) == 2


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_one_picture(format: str) -> None:
    image = source(encoded(halves(), format, save_all=True, append_images=[halves().rotate(180)]))
    assert page_sizes(image) == {0: (40, 60)}
    assert num_animation_frames(image) == 2
    assert near(open_upright(image), (5, 20), (255, 0, 0))


def test_a_page_that_is_a_bomb_is_refused() -> None:
    data = bytearray(pages_tiff((60, 40), (61, 41)))
    width, height = (data.rindex(struct.pack("<HHI", tag, kind, 1)) + 8 for tag, kind in ((256, 4), (257, 4)))
    struct.pack_into("<I", data, width, 60_000)
    struct.pack_into("<I", data, height, 60_000)
    assert read_size(source(bytes(data))) == (40, 60)
    with pytest.raises(ImageError, match="60000 x 60000 pixels|exceeds limit"):
        page_sizes(source(bytes(data)))


def test_suffixes_are_those_that_are_decoded_here() -> None:
    assert {".png", ".jpg", ".jfif", ".tif", ".jp2", ".webp"} <= image_suffixes()
    assert not {".eps", ".pdf", ".mpeg", ".txt"} & image_suffixes()
