"""Sizes of annotation files and of images are compared before the first step."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
from pictures import COLOURED, HEIGHT, WIDTH, saved, turned

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.data import image_check
from resnext_backbones.data.image_check import check_images
from resnext_backbones.data.image_files import Stored
from resnext_backbones.data.pixels import image_header
from resnext_backbones.errors import InputError

LYING, SHOWN = (WIDTH, HEIGHT), (HEIGHT, WIDTH)


def listed(folder: Path, content: bytes, size: tuple, name: str = "a.jpg") -> dict:
    (folder / name).write_bytes(content)
    return {"id": 1, "file_name": name, "width": size[0], "height": size[1]}


@pytest.mark.parametrize(
    ("content", "size", "message"),
    [
        (turned("JPEG", 1), LYING, None),
        (turned("PNG", 6), SHOWN, None),
        (turned("PNG", 6), LYING, "1 of its 1 images are annotated as they lie .*: a.jpg"),
        (turned("TIFF", 8), LYING, "1 of its 1 images are annotated as they lie .*: a.jpg"),
        (turned("JPEG", 3), LYING, "1 of its 1 images are turned by EXIF to the same size: a.jpg"),
    ],
)
def test_what_exif_turns(content: bytes, size: tuple, message: str | None, tmp_path: Path) -> None:
    said: list[str] = []
    images = [listed(tmp_path, content, size)]
    check_images(Path("val.json"), images, tmp_path, warn=said.append)
    assert bool(message) == bool(said)
    for line in said:
        with pytest.raises(InputError, match=f"annotation file val.json: {message}"):
            raise InputError(line)


@pytest.mark.parametrize(
    ("content", "size", "message"),
    [
        (saved(COLOURED, "JPEG"), (32, 24), "other sizes .*a.jpg is 64 x 48 .* are for 32 x 24"),
        (saved(COLOURED, "PNG"), SHOWN, "other sizes .*a.jpg is 64 x 48 .* are for 48 x 64"),
        (turned("JPEG", 6), (64, 64), "other sizes .*a.jpg is 48 x 64 .* are for 64 x 64"),
        (b"no image", LYING, "cannot be read: image .*a.jpg: .* none of"),
    ],
)
def test_other_sizes_are_refused(content: bytes, size: tuple, message: str, tmp_path: Path) -> None:
    images = [listed(tmp_path, content, size), listed(tmp_path, saved(COLOURED, "BMP"), LYING, "b")]
    with pytest.raises(
        InputError, match=f"annotation file val.json: 1 of its 2 images .*{message}"
    ):
        check_images(Path("val.json"), images, tmp_path)


def test_it_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes a tenth of a second for each file is waited for no longer than it may."""

    def slow(path: Path) -> Stored:
        time.sleep(0.1)
        return image_header(path)

    monkeypatch.setattr(image_check, "image_header", slow)
    monkeypatch.setattr(image_check, "THREADS", 2)
    images = [listed(tmp_path, saved(COLOURED, "JPEG"), LYING)] * 1000
    said: list[str] = []
    begun = time.monotonic()
    check_images(Path("val.json"), images, tmp_path, seconds=0.3, warn=said.append)
    assert time.monotonic() - begun < 10
    (line,) = said
    assert "of its 1000 images have the sizes" in line
    assert not line.startswith("annotation file val.json: 0 of")
    assert pickle.loads(pickle.dumps(image_header))(tmp_path / "a.jpg").turned == LYING  # for pools
