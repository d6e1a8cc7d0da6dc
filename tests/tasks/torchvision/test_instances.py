"""Objects with boxes and masks, as torchvision's detectors take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from resnext_backbones.data.rules import Use
from resnext_backbones.tasks.torchvision import instances
from resnext_backbones.tasks.torchvision.instances import coco_split
from resnext_backbones.tasks.torchvision.metrics import coco_scores

TRAIN, VAL = "train2017", "val2017"


def test_instances_are_those_of_the_annotations(
    config: Callable[..., Config], coco_tiny: Path
) -> None:
    """Crowds are no targets; images without instances are left out in training alone."""
    cfg = config("mask_rcnn_x50_32x4d_fpn_coco", images=None)
    content = json.loads((coco_tiny / "annotations/instances_train2017.json").read_text())
    ids = sorted(category["id"] for category in content["categories"])
    plain = [a for a in content["annotations"] if not a["iscrowd"] and min(a["bbox"][2:]) > 1]
    samples = DATASETS.build(cfg.train_dataloader.dataset)
    assert samples.metainfo["category_ids"] == tuple(ids)
    assert samples.metainfo["classes"][0] == "person"
    assert len(samples) == len({a["image_id"] for a in plain})
    crowded = {a["image_id"] for a in content["annotations"] if a["iscrowd"]}
    assert crowded, "the data show nothing of crowds"
    shown = next(i for i, image in enumerate(samples.image_ids) if image in crowded)
    for index in (0, 1, shown):
        sample = samples[index]
        image, target = sample["inputs"], sample["targets"]
        own = [a for a in plain if a["image_id"] == target["image_id"]]
        assert (type(image), image.dtype) == (torch.Tensor, torch.uint8)
        assert [ids[label - 1] for label in target["labels"]] == [a["category_id"] for a in own]
        sizes = target["boxes"][:, 2:] - target["boxes"][:, :2]
        expected = torch.tensor([a["bbox"][2:] for a in own])
        torch.testing.assert_close(sizes, expected, rtol=0, atol=1e-3)
        areas = target["masks"].flatten(1).sum(1)
        assert areas.tolist() == pytest.approx([a["area"] for a in own], rel=0.2, abs=30)
    images = json.loads((coco_tiny / "annotations/instances_val2017.json").read_text())["images"]
    assert len(DATASETS.build(cfg.val_dataloader.dataset)) == len(images)


def test_an_image_without_instances_is_evaluated(
    config: Callable[..., Config],
    coco_tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(instances, "log_info", said.append)
    cfg = config()
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in (TRAIN, VAL):
        (root / split).symlink_to(coco_tiny / split)
        path = f"annotations/instances_{split}.json"
        content = json.loads((coco_tiny / path).read_text())
        first = min(image["id"] for image in content["images"])
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != first]
        (root / path).write_text(json.dumps(content))
    cfg.train_dataloader.dataset.data_root = cfg.val_dataloader.dataset.data_root = str(root)
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 5
    assert sum("1 of 6 images are left out of training" in line for line in said) == 1
    samples = DATASETS.build(cfg.val_dataloader.dataset)
    assert len(samples) == 6
    assert samples[0]["targets"] == {"image_id": samples.image_ids[0]}


def test_annotations_without_area_and_iscrowd_are_evaluated(
    coco_tiny: Path, tmp_path: Path
) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / VAL).symlink_to(coco_tiny / VAL)
    content = json.loads((coco_tiny / "annotations" / f"instances_{VAL}.json").read_text())
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    (root / "annotations" / f"instances_{VAL}.json").write_text(json.dumps(content))
    file = f"annotations/instances_{VAL}.json"
    split = coco_split(str(root), file, VAL, indices=2, use=Use(evaluate=True))
    nothing = {"image_id": split.ids[0], "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}
    metrics = coco_scores(split.coco, [nothing], split.ids, ("bbox",))
    assert metrics["bbox_mAP"] == 0
