"""Images that are missing or broken are named; all others are read as MMCV reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmcv", reason="mmcv is not installed")

from mmcv.transforms import LoadImageFromFile as Peer
from torch.utils.data import DataLoader, Dataset

from resnext_backbones.cli import plain_message
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.images import LoadImageFromFile


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.jpg")
    return tmp_path / "image.jpg"


def load(path: Path) -> dict:
    return LoadImageFromFile().transform({"img_path": str(path)})


@pytest.mark.parametrize("suffix", [b"", bytes(10), b"trailing bytes"])
def test_same_as_mmcv(image: Path, suffix: bytes) -> None:
    image.write_bytes(image.read_bytes() + suffix)
    own, peer = load(image), Peer().transform({"img_path": str(image)})
    assert own.keys() == peer.keys()
    assert np.array_equal(own["img"], peer["img"])
    assert (own["img_shape"], own["ori_shape"]) == (peer["img_shape"], peer["ori_shape"])


def test_every_real_image_passes(coco_tiny: Path) -> None:
    paths = sorted(coco_tiny.glob("*2017/*.jpg"))
    assert len(paths) == 160
    for path in paths:
        assert load(path)["img"].ndim == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", lambda c: c[: len(c) // 2], lambda c: c[:-2], lambda c: c[:100]],
)
def test_broken_images_are_named(image: Path, content) -> None:
    image.write_bytes(content(image.read_bytes()) if callable(content) else content)
    with pytest.raises(InputError, match=str(image)):
        load(image)


def test_missing_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.jpg: cannot be read: No such file"):
        load(tmp_path / "absent.jpg")


class Images(Dataset):
    """One image, read in a worker."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        load(self.path)
        return index


def test_a_message_from_a_worker_is_the_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Original Traceback") as error:
        next(iter(DataLoader(Images(tmp_path / "absent.jpg"), num_workers=1)))
    message = plain_message(error.value)
    assert message == f"image {tmp_path / 'absent.jpg'}: cannot be read: No such file or directory"
