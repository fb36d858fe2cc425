"""Images within a tar: found by offset and size, whatever they and the tar are called."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from drawing import draw_line

from glm_ocr_finetune.inputs.images import ImageError, content_key, inspect_image, open_upright
from glm_ocr_finetune.inputs.tar_members import member_path, read_member, split_member_path


def tar_of(path: Path, name: str, data: bytes) -> str:
    """The path of the one member of a tar that is written."""
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    with tarfile.open(path) as archive:
        (found,) = archive.getmembers()
    return member_path(str(path), found.name, found.offset_data, found.size)


@pytest.mark.parametrize("name", ["1.png", "dir/a b#1+2:3.png", "ünïcode @ 7+8.png"])
def test_a_member_is_the_image(name: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    draw_line("amber").save(stream, "PNG")
    image = {"bytes": None, "path": tar_of(tmp_path / "a #1.tar", name, stream.getvalue())}
    assert read_member(*(split_member_path(image["path"]) or ("", 0, 0))) == stream.getvalue()
    assert inspect_image(image) == ((56, 140), content_key(stream.getvalue()))
    assert open_upright(image).tobytes() == open_upright(stream.getvalue()).tobytes()


def test_other_paths_are_no_members() -> None:
    assert split_member_path("a.tar") is None
    assert split_member_path("a#1.png") is None
    assert split_member_path(None) is None


def test_a_tar_that_went_or_became_shorter(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", "1.png", b"x" * 600)
    (tmp_path / "a.tar").write_bytes(b"x" * 700)
    with pytest.raises(ImageError, match="ends within the file at 512"):
        open_upright({"bytes": None, "path": path})
    (tmp_path / "a.tar").unlink()
    with pytest.raises(ImageError, match="a.tar: no such file"):
        open_upright({"bytes": None, "path": path})
