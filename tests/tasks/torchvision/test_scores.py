"""Scores of detections and of classes by pixel."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from resnext_backbones.tasks.torchvision import Settings
from resnext_backbones.tasks.torchvision.data import load_data
from resnext_backbones.tasks.torchvision.instances import VAL
from resnext_backbones.tasks.torchvision.scores import as_results, coco_scores, pixel_scores


def test_perfect_detections_are_worth_100(settings: Callable[..., Settings]) -> None:
    """On the images that were looked at, with the categories' own ids."""
    data = load_data(settings("mask_rcnn", limit_images=20), train=False)
    coco, image_ids = data.splits[VAL].coco, data.splits[VAL].ids
    results = []
    for image_id in image_ids:
        own = [a for a in coco.imgToAnns[image_id] if not a["iscrowd"]]
        boxes = torch.tensor([a["bbox"] for a in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([data.ids.index(a["category_id"]) + 1 for a in own])
        masks = np.array([coco.annToMask(a) for a in own])
        output = {"boxes": boxes, "labels": labels, "scores": torch.ones(len(own))}
        if own:
            output["masks"] = torch.from_numpy(masks)[:, None].float()
        results += as_results(image_id, output, data.ids)
    assert {r["category_id"] for r in results} <= set(coco.cats)
    assert max(r["category_id"] for r in results) > 80, "ids are not labels"
    json.dumps(results)
    scores = coco_scores(coco, results, image_ids, ("bbox", "segm"))
    assert scores["coco/bbox_mAP"] == pytest.approx(1)
    assert scores["coco/segm_mAP"] == pytest.approx(1)
    fewer = [r for r in results if r["image_id"] != image_ids[0]]
    assert coco_scores(coco, fewer, image_ids, ("bbox",))["coco/bbox_mAP"] < 1
    assert coco_scores(coco, fewer, image_ids[1:], ("bbox",))["coco/bbox_mAP"] == pytest.approx(1)
    assert coco_scores(coco, [], image_ids, ("bbox",))["coco/bbox_mAP"] == 0


def test_scores_of_pixels() -> None:
    counts = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    scores = pixel_scores(counts, ("a", "b", "c"))
    assert scores["IoU"] == pytest.approx({"a": 6 / 9, "b": 3 / 6})
    assert scores["mIoU"] == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(9 / 12)
    assert scores["mean_accuracy"] == pytest.approx((6 / 8 + 3 / 4) / 2)
