"""Masks of classes: drawn from instances, or read from files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image
from pycocotools.coco import COCO

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision.pixels import IGNORED, VOC_OF_COCO

TRAIN, VAL = "train2017", "val2017"


def splits(cfg: Config) -> list:
    """The data sets to train with and to evaluate on."""
    loaders = cfg.train_dataloader, cfg.val_dataloader
    return [DATASETS.build(loader.dataset) for loader in loaders]


def test_instances_drawn_as_classes(
    config: Callable[..., Config], coco_tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("resnext_backbones.tasks.torchvision.pixels.log_info", said.append)
    train, val = splits(config("fcn_x50_32x4d_coco", images=None))
    coco = COCO(coco_tiny / "annotations/instances_val2017.json")
    assert len(val) == len(coco.imgs)
    assert 0 < len(train) < 80
    assert f"{80 - len(train)} of 80 are left out of training" in said[0]
    names = ["background", *VOC_OF_COCO.values()]
    image_id = max(coco.imgs, key=lambda i: len(coco.imgToAnns[i]))
    index = sorted(coco.imgs).index(image_id)
    image, mask = val[index]["inputs"], val[index]["targets"]["mask"]
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
    cropped = train[0]
    assert cropped["inputs"].shape == (3, 59, 59)
    assert cropped["targets"]["mask"].shape == (59, 59)


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


def test_masks_in_files(
    config: Callable[..., Config], coco_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VOC's layout, and a folder of PNGs beside COCO's images; a class that is too high."""
    monkeypatch.setenv("VOC_ROOT", str(voc_tree(coco_tiny, tmp_path / "voc")))
    train, val = splits(config("deeplabv3_x50_32x4d_voc"))
    mask = val[0]["targets"]["mask"]
    assert len(train) == 4
    assert (mask[:5] == IGNORED).all()
    assert mask[5:].max() == 20

    stuff = tmp_path / "stuff"
    for split in (TRAIN, VAL):
        masks_of(stuff / split, sorted((coco_tiny / split).iterdir())[:6], 181)
    monkeypatch.setenv("MASK_ROOT", str(stuff))
    cfg = config("fcn_x50_32x4d_cocostuff")
    train, val = splits(cfg)
    assert len(train.metainfo["classes"]) == 182
    assert val[0]["targets"]["mask"][5:].max() == 181
    cfg.train_dataloader.dataset.num_classes = 90
    with pytest.raises(InputError, match=r"mask .*png: has class 181, but there are 90"):
        splits(cfg)[0][0]
    with pytest.raises(InputError, match="74 files are missing"):
        splits(config("fcn_x50_32x4d_cocostuff", images=None))
