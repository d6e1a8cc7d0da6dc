"""One list of files goes through the readers of all tools: the same pixels, or the same words."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import (
    COLOURED,
    DAMAGES,
    HEIGHT,
    KINDS,
    MODES,
    READ,
    REFUSED,
    SCENE,
    WIDTH,
    alpha,
    drawn,
    saved,
    tiff,
    turned,
)
from PIL import Image, ImageOps

pytest.importorskip("mmcv", reason="mmcv is not installed")

from pycocotools.coco import COCO

from resnext_backbones.data import jpeg, pixels
from resnext_backbones.data.pixels import image_header, open_image, read_classes, read_image
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.data import LabelledImages
from resnext_backbones.tasks.mmdetection.images import LoadImageFromFile
from resnext_backbones.tasks.torchvision.instances import CocoImages


def mmdetection(path: Path) -> np.ndarray:
    return LoadImageFromFile().transform({"img_path": str(path)})["img"][..., ::-1]


def torchvision(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    images = CocoImages(path.parent, None)
    images.coco = COCO()
    width, height = size or image_header(path).turned
    images.coco.imgs = {1: {"file_name": path.name, "width": width, "height": height}}
    return images._load_image(1).permute(1, 2, 0).numpy()


def pretraining(path: Path) -> np.ndarray:
    from resnext_backbones.tasks.classification import transforms  # noqa: F401  # they register

    step = {"type": "resnext_backbones.PILToTensor"}
    sample = LabelledImages(str(path.parents[1]), [step], train=False)[0]
    if sample["broken"]:
        raise InputError(sample["broken"])
    return sample["inputs"].permute(1, 2, 0).numpy()


def shards(path: Path) -> np.ndarray:
    return np.asarray(open_image(path.read_bytes(), path))


def detectron2(path: Path) -> np.ndarray:
    from resnext_backbones.tasks.detectron2.images import read

    return read(str(path), "BGR")[..., ::-1]


TOOLS = [mmdetection, torchvision, pretraining, shards]
if find_spec("detectron2"):
    TOOLS.append(detectron2)


def read_by_all(path: Path) -> np.ndarray | str:
    """The pixels that all tools see, or the words that all refuse them with."""
    seen = []
    for tool in TOOLS:
        try:
            seen.append(tool(path))
        except InputError as error:
            seen.append(str(error))
    for tool, other in zip(TOOLS, seen, strict=True):
        assert np.array_equal(other, seen[0]), (tool.__name__, other, seen[0])
        assert not isinstance(other, str) or other.startswith(f"image {path}: "), other
    return seen[0]


def place(folder: Path, content: bytes) -> Path:
    """Every name is a JPEG's: what a file holds counts."""
    path = folder / "set" / "class" / "image.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("what", READ)
def test_all_tools_see_the_same_pixels(what: str, tmp_path: Path) -> None:
    content, expected = READ[what][0](), READ[what][1]
    if expected is None:
        expected = np.asarray(
            ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
        )
    path = place(tmp_path, content)
    seen = read_by_all(path)
    assert isinstance(seen, np.ndarray), seen
    assert seen.dtype == np.uint8
    assert np.array_equal(seen, expected)
    assert image_header(path).turned == (seen.shape[1], seen.shape[0])
    assert np.array_equal(
        read_image(path, order="L"), np.asarray(Image.fromarray(seen).convert("L"))
    )
    grey = LoadImageFromFile(color_type="grayscale").transform({"img_path": str(path)})["img"]
    assert np.array_equal(grey, read_image(content, order="L"))


@pytest.mark.parametrize("what", REFUSED)
def test_all_tools_refuse_in_the_same_words(what: str, tmp_path: Path) -> None:
    make, message = REFUSED[what]
    path = place(tmp_path, make())
    seen = read_by_all(path)
    assert isinstance(seen, str)
    with pytest.raises(InputError, match=message):
        raise InputError(seen)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # whose reader would wait
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (("pipe", "no file"), ("folder", "directory"), ("absent", "No such file")):
        for read in (read_image, open_image, image_header):
            with pytest.raises(InputError, match=f"{name}.jpg: cannot be read: .*{reason}"):
                read(tmp_path / f"{name}.jpg")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.write(saved(COLOURED, "JPEG"))
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="more than 256 MiB"):
        read_image(tmp_path / "sparse.jpg")


def test_a_limit_of_somebodys_own_holds(tmp_path: Path, monkeypatch) -> None:
    path = place(tmp_path, tiff(8, 1, bytes(8), 1 << 17))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv("RESNEXT_BACKBONES_MAX_PIXELS", str(1 << 40))
    assert image_header(path).turned == (1 << 17, 98304)


def test_opencv_and_pillow_decode_the_same(coco_tiny: Path, monkeypatch) -> None:
    """The decoder for plain JPEGs is chosen for its speed alone."""
    paths = sorted(coco_tiny.glob("*2017/*.jpg"))[::16]
    fast = [read_image(path, order="BGR") for path in paths]
    monkeypatch.setattr(pixels, "cv2", None)
    for path, seen in zip(paths, fast, strict=True):
        assert np.array_equal(read_image(path, order="BGR"), seen), path
        assert np.array_equal(np.asarray(Image.open(path).convert("RGB"))[..., ::-1], seen), path
        jpeg.check_whole(path.read_bytes(), jpeg.read_header(path.open("rb")).data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_annotations_say_whether_an_image_is_turned(kind: str, tmp_path: Path) -> None:
    path = place(tmp_path, turned(kind, 6))
    sizes = {(WIDTH, HEIGHT): (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH): (WIDTH, HEIGHT, 3)}
    for (width, height), shape in sizes.items():
        results = {"img_path": str(path), "width": width, "height": height}
        theirs = LoadImageFromFile().transform(results)["img"][..., ::-1]
        assert theirs.shape == shape
        assert np.array_equal(theirs, torchvision(path, (width, height)))
    lying = read_image(path, turn=False)
    assert np.array_equal(lying, read_image(path, size=(WIDTH, HEIGHT)))
    assert np.array_equal(np.rot90(lying, -1), read_image(path))
    with pytest.raises(InputError, match="is 48 x 64 pixels, and its annotations are for 64 x 64"):
        torchvision(path, (64, 64))


def test_classes_are_kept(tmp_path: Path) -> None:
    classes = np.arange(WIDTH * HEIGHT, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 21
    indexed = Image.fromarray(classes)
    indexed.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    for image in (Image.fromarray(classes), indexed, Image.fromarray(classes.astype(np.uint16))):
        assert np.array_equal(read_classes(place(tmp_path, saved(image, "PNG"))), classes)
    for content, message in (
        (saved(COLOURED, "PNG"), "has colours"),
        (saved(alpha("LA"), "PNG"), "has colours"),
        (saved(SCENE, "JPEG"), "is a JPEG, which does not keep classes"),
        (REFUSED["bomb, png"][0](), "14000 x 14000"),
        (b"", "it is empty"),
    ):
        with pytest.raises(InputError, match=f"^mask .*image.jpg: cannot be read: .*{message}"):
            read_classes(place(tmp_path, content))


def check_damaged(folder: Path, case: tuple) -> None:
    kind, mode, size, orientation, damage, at, count = case
    content = drawn(kind, mode, size, orientation)
    content = DAMAGES[damage](content, int(at * (len(content) - 1)), count)
    begun = time.monotonic()
    seen = read_by_all(place(folder, content))
    assert isinstance(seen, str) or (seen.dtype == np.uint8 and seen.ndim == 3)
    assert time.monotonic() - begun < 20


CASES = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(MODES),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(0, 9),
    st.sampled_from(list(DAMAGES)),
    st.floats(0, 1),
    st.integers(1, 600),
)
SHARED = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=60, **SHARED)
@given(case=CASES)
def test_damaged_images(tmp_path_factory: pytest.TempPathFactory, case: tuple) -> None:
    check_damaged(tmp_path_factory.getbasetemp(), case)


@pytest.mark.whole
@settings(max_examples=3000, **SHARED)
@given(case=CASES)
def test_many_damaged_images(tmp_path_factory: pytest.TempPathFactory, case: tuple) -> None:
    check_damaged(tmp_path_factory.getbasetemp(), case)


MEASURE = """
import sys
from resnext_backbones.data.pixels import read_image
from resnext_backbones.errors import InputError
for path in sys.argv[1:]:
    try:
        print(read_image(path).shape)
    except InputError as error:
        print(error)
# Of this program; what `resource` says counts the process that it was forked from.
print(*(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM")))
"""


def measured(*paths: Path) -> tuple[list[str], int]:
    """What a process of its own says of images, and the most KiB that it took."""
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "Warning" not in done.stderr
    *lines, peak = done.stdout.splitlines()
    return lines, int(peak)


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    paths = []
    for number, what in enumerate(name for name in REFUSED if "bomb" in name):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(REFUSED[what][0]())
    lines, peak = measured(*paths)
    assert all("cannot be read" in line for line in lines)
    assert peak < 1 << 20


@pytest.mark.whole
@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "I;16"])
def test_the_largest_images_take_less_than_a_gibibyte(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    Image.new(mode, (9400, 9400)).save(path)
    lines, peak = measured(path)
    assert lines == ["(9400, 9400, 3)"]
    assert peak < 1 << 20
