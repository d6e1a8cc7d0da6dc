"""Masks of classes: drawn from instances, or read from files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision import Settings
from resnext_backbones.tasks.torchvision.data import load_data
from resnext_backbones.tasks.torchvision.instances import TRAIN, VAL
from resnext_backbones.tasks.torchvision.network import Network
from resnext_backbones.tasks.torchvision.pixels import VOC_OF_COCO
from resnext_backbones.tasks.torchvision.settings import IGNORED


def test_instances_drawn_as_classes(settings: Callable[..., Settings], coco_tiny: Path) -> None:
    run = settings("fcn", limit_images=None)
    data = load_data(run, train=True)
    network = Network.of(run, data.classes)
    coco = COCO(coco_tiny / "annotations/instances_val2017.json")
    assert len(data.split(network, train=False)) == len(coco.imgs)
    assert 0 < len(data.split(network, train=True)) < 80
    names = ["background", *VOC_OF_COCO.values()]
    image_id = max(coco.imgs, key=lambda i: len(coco.imgToAnns[i]))
    index = sorted(coco.imgs).index(image_id)
    image, mask = data.split(network, train=False)[index]
    assert min(image.shape[1:]) == 64
    assert mask.shape == (coco.imgs[image_id]["height"], coco.imgs[image_id]["width"])
    drawn = [
        (names.index(coco.cats[a["category_id"]]["name"]), coco.annToMask(a) > 0)
        for a in coco.imgToAnns[image_id]
        if coco.cats[a["category_id"]]["name"] in names
    ]
    covered = sum(pixels.astype(int) for _, pixels in drawn)
    assert len(drawn) > 1
    assert (mask.numpy()[covered == 0] == 0).all()
    assert (mask.numpy()[covered > 1] == IGNORED).all()
    for label, pixels in drawn:
        assert (mask.numpy()[pixels & (covered == 1)] == label).all()
    cropped, target = data.split(network, train=True)[0]
    assert cropped.shape == (3, 59, 59)
    assert target.shape == (59, 59)


def masks_of(folder: Path, images: list[Path], highest: int) -> None:
    folder.mkdir(parents=True)
    for path in images:
        width, height = Image.open(path).size
        mask = np.arange(width * height).reshape(height, width) * 11 % (highest + 1)
        mask[:5] = IGNORED
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"{path.stem}.png")


def voc_tree(coco_tiny: Path, root: Path) -> Path:
    """VOC's layout, with images of COCO and masks of stripes."""
    voc = root / "VOCdevkit/VOC2012"
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    for split, name in ((TRAIN, "train"), (VAL, "val")):
        images = sorted((coco_tiny / split).iterdir())[:4]
        (voc / f"ImageSets/Segmentation/{name}.txt").write_text(
            "".join(f"{path.stem}\n" for path in images)
        )
        for path in images:
            (voc / "JPEGImages").mkdir(exist_ok=True)
            shutil.copy(path, voc / "JPEGImages")
        masks_of(root / name, images, 20)
    shutil.copytree(root / "train", voc / "SegmentationClass")
    shutil.copytree(root / "val", voc / "SegmentationClass", dirs_exist_ok=True)
    return root


def test_masks_in_files(settings: Callable[..., Settings], coco_tiny: Path, tmp_path: Path) -> None:
    """VOC's layout, and a folder of PNGs beside COCO's images; a class that is too high."""
    voc = settings("fcn", coco_root=None, voc_root=voc_tree(coco_tiny, tmp_path / "voc"))
    data = load_data(voc, train=True)
    network = Network.of(voc, data.classes)
    _, mask = data.split(network, train=False)[0]
    assert len(data.split(network, train=True)) == 4
    assert (mask[:5] == IGNORED).all()
    assert mask[5:].max() == 20

    stuff = tmp_path / "stuff"
    for split in (TRAIN, VAL):
        masks_of(stuff / split, sorted((coco_tiny / split).iterdir())[:6], 181)
    run = settings("fcn", mask_root=stuff, num_classes=182)
    data = load_data(run, train=True)
    assert len(data.classes) == 182
    assert data.split(network, train=False)[0][1][5:].max() == 181
    few = load_data(settings("fcn", mask_root=stuff, num_classes=90), train=True)
    with pytest.raises(InputError, match=r"mask .*png: has class 181, but there are 90"):
        few.split(network, train=True)[0]
    with pytest.raises(InputError, match="74 files are missing"):
        load_data(settings("fcn", mask_root=stuff, num_classes=182, limit_images=None), train=True)
