"""Cascade Mask R-CNN, ResNeXt-101 64x4d, FPN, COCO, 12 epochs."""

_base_ = [
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py",
    "./_base_/coco_instance.py",
    "./_base_/schedule_1x.py",
    "./_base_/networks.py",
    "./_base_/runtime.py",
]
model = _base_.pop("networks").x101_64x4d
