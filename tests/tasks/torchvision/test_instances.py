"""Objects with boxes and masks, as torchvision's detectors take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from resnext_backbones.tasks.torchvision import Settings
from resnext_backbones.tasks.torchvision.data import load_data
from resnext_backbones.tasks.torchvision.instances import TRAIN, VAL, coco_split
from resnext_backbones.tasks.torchvision.network import Network
from resnext_backbones.tasks.torchvision.scores import coco_scores


def test_instances_are_those_of_the_annotations(
    settings: Callable[..., Settings], coco_tiny: Path
) -> None:
    """Crowds are no targets; images without instances are left out in training alone."""
    run = settings("mask_rcnn", limit_images=None)
    data = load_data(run, train=True)
    network = Network.of(run, data.classes)
    content = json.loads((coco_tiny / "annotations/instances_train2017.json").read_text())
    ids = sorted(category["id"] for category in content["categories"])
    plain = [a for a in content["annotations"] if not a["iscrowd"] and min(a["bbox"][2:]) > 1]
    samples = data.split(network, train=True)
    assert len(samples) == len({a["image_id"] for a in plain})
    crowded = {a["image_id"] for a in content["annotations"] if a["iscrowd"]}
    assert crowded, "the data show nothing of crowds"
    shown = next(i for i, image in enumerate(samples.image_ids) if image in crowded)
    for index in (0, 1, shown):
        image, target = samples[index]
        own = [a for a in plain if a["image_id"] == target["image_id"]]
        assert type(image) is torch.Tensor
        assert [ids[label - 1] for label in target["labels"]] == [a["category_id"] for a in own]
        sizes = target["boxes"][:, 2:] - target["boxes"][:, :2]
        expected = torch.tensor([a["bbox"][2:] for a in own])
        torch.testing.assert_close(sizes, expected, rtol=0, atol=1e-3)
        areas = target["masks"].flatten(1).sum(1)
        assert areas.tolist() == pytest.approx([a["area"] for a in own], rel=0.2, abs=30)
    images = json.loads((coco_tiny / "annotations/instances_val2017.json").read_text())["images"]
    assert len(data.split(network, train=False)) == len(images)


def test_an_image_without_instances_is_evaluated(
    settings: Callable[..., Settings], coco_tiny: Path, tmp_path: Path
) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in (TRAIN, VAL):
        (root / split).symlink_to(coco_tiny / split)
        path = f"annotations/instances_{split}.json"
        content = json.loads((coco_tiny / path).read_text())
        first = min(image["id"] for image in content["images"])
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != first]
        (root / path).write_text(json.dumps(content))
    run = settings(coco_root=root)
    data = load_data(run, train=True)
    network = Network.of(run, data.classes)
    assert len(data.split(network, train=True)) == 5
    samples = data.split(network, train=False)
    assert len(samples) == 6
    assert samples[0][1] == {"image_id": samples.image_ids[0]}


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
    split = coco_split(root, VAL, limit=2, check=True)
    metrics = coco_scores(split.coco, [], split.ids, ("bbox",))
    assert metrics["coco/bbox_mAP"] == 0
