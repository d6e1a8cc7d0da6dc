"""A detector of MMDetection's zoo is measured on this package's backbone."""

from __future__ import annotations

import math
from pathlib import Path

from resnext_backbones.data.coco_file import read_content
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import OWN_BACKBONES, backbone_of, load_config
from resnext_backbones.tasks.mmdetection.run import TASK
from resnext_backbones.tasks.mmdetection.zoo import METRICS, ZooDetector
from resnext_backbones.verdict import AP, Number
from resnext_backbones.weights.download import download
from resnext_backbones.weights.registry import hash_in_name

ANNOTATIONS = "annotations/instances_val2017.json"


def verify_detector(
    detector: ZooDetector,
    coco_root: Path,
    work_dir: Path,
    *,
    own_backbone: bool = True,
    options: list[str] | None = None,
    batch_size: int | None = None,
    tolerance: float | None = None,
    launcher: str = "none",
) -> tuple[str, list[Number]]:
    """Measures the AP of a published detector on COCO's validation images.

    Args:
        coco_root: the folder with annotations/ and val2017/.
        work_dir: for the log and the whole table of metrics.
        own_backbone: put this package's ResNeXt in the place of MMDetection's.
        batch_size: None is the config's, 1, which the published numbers are measured with.
        tolerance: None is that of `AP`.

    Returns:
        The backbone that was measured, by its package and type, and the numbers.

    Raises:
        InputError: the images are not there, or are others than those of the published number and
            no `tolerance` was given; or MMDetection's operators are missing.
        WeightsError: the checkpoint cannot be had or read.
    """
    path = coco_root / ANNOTATIONS
    if not path.is_file():
        raise InputError(f"--coco-root {coco_root}: has no {ANNOTATIONS}")
    allowed = AP.chosen_tolerance(len(read_content(path, ["images"])["images"]), tolerance)
    cfg = load_config(str(detector.config), options, work_dir=str(work_dir), launcher=launcher)
    for dataset in dicts_with(cfg.test_dataloader, lambda d: "ann_file" in d):
        dataset.update(data_root=str(coco_root), ann_file=ANNOTATIONS)
        dataset["data_prefix"] = {**dataset.get("data_prefix", {}), "img": "val2017/"}
    for metric in dicts_with(cfg.test_evaluator, lambda d: "ann_file" in d):
        metric["ann_file"] = str(path)
    if batch_size is not None:
        cfg.test_dataloader.batch_size = batch_size
    backbone = backbone_of(cfg.model)
    if own_backbone and (own := f"resnext_backbones.{backbone['type']}") in OWN_BACKBONES:
        backbone["type"] = own
    metrics = TASK.evaluate(cfg, str(download(detector.urls, hash_in_name(detector.urls[0]))))
    kind = backbone["type"]
    return kind if "." in kind else f"mmdet.{kind}", [
        # Where nothing was found at all, COCO's evaluation has no numbers.
        Number(name, published, 100 * metrics.get(METRICS[name], math.nan), allowed)
        for name, published in detector.published.items()
    ]
