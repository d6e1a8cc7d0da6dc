"""Scores of detections and of classes by pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS

from resnext_backbones.tasks.torchvision.metrics import coco_scores, pixel_scores
from resnext_backbones.tasks.torchvision.pixels import IGNORED


def test_perfect_detections_are_worth_100(config: Callable[..., Config], tmp_path: Path) -> None:
    """On the images that were looked at, with the categories' own ids."""
    cfg = config("mask_rcnn_x50_32x4d_fpn_coco", images=20)
    data = DATASETS.build(cfg.val_dataloader.dataset)
    coco, image_ids, ids = data.coco, data.image_ids, data.metainfo["category_ids"]
    cfg.val_evaluator.out = str(tmp_path / "found.json")
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = data.metainfo
    results = []
    for image_id in image_ids:
        own = [a for a in coco.imgToAnns[image_id] if not a["iscrowd"]]
        boxes = torch.tensor([a["bbox"] for a in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([ids.index(a["category_id"]) + 1 for a in own])
        masks = np.array([coco.annToMask(a) for a in own])
        output = {"boxes": boxes, "labels": labels, "scores": torch.ones(len(own))}
        if own:
            output["masks"] = torch.from_numpy(masks)[:, None].float()
        metric.process({}, [{"image_id": image_id, **output}])
        results += metric.results[-1][1]
    assert {r["category_id"] for r in results} <= set(coco.cats)
    assert max(r["category_id"] for r in results) > 80, "ids are not labels"
    found = metric.evaluate(len(image_ids))
    assert found["coco/bbox_mAP"] == pytest.approx(1)
    assert found["coco/segm_mAP"] == pytest.approx(1)
    assert json.loads((tmp_path / "found.json").read_text()) == json.loads(json.dumps(results))
    fewer = [r for r in results if r["image_id"] != image_ids[0]]
    assert coco_scores(coco, fewer, image_ids, ("bbox",))["bbox_mAP"] < 1
    assert coco_scores(coco, fewer, image_ids[1:], ("bbox",))["bbox_mAP"] == pytest.approx(1)
    assert coco_scores(coco, [], image_ids, ("bbox",))["bbox_mAP"] == 0


def test_scores_of_pixels() -> None:
    """Of two images, with a pixel that has no class; `c` is neither there nor found."""
    metric = METRICS.build({"type": "resnext_backbones.PixelOverlap"})
    metric.dataset_meta = {"classes": ("a", "b", "c")}
    mask, found = torch.zeros(3, 3).long(), torch.zeros(3, 3).long()
    mask[2], found[2] = 1, 1
    mask[0, 0], found[0, 1:] = IGNORED, 1
    metric.process(
        {}, [{"mask": mask, "found": found}, {"mask": mask[1:2, :2], "found": mask[2:, :2]}]
    )
    counts = torch.tensor([[3, 4, 0], [0, 3, 0], [0, 0, 0]])
    scores = metric.evaluate(2)
    assert scores == {f"segmentation/{k}": v for k, v in pixel_scores(counts, "abc").items()}
    expected = {
        "mIoU": (3 / 7 + 3 / 7) / 2,
        "pixel_accuracy": 6 / 10,
        "mean_accuracy": (3 / 7 + 1) / 2,
        "pixels": 10,
        "IoU/a": 3 / 7,
        "IoU/b": 3 / 7,
    }
    assert pixel_scores(counts, "abc") == pytest.approx(expected)
    again = metric.evaluate(0)["segmentation/pixels"]
    assert again == 0, "the next evaluation counts anew"
