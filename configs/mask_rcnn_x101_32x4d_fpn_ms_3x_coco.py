"""Mask R-CNN, ResNeXt-101 32x4d, FPN, COCO, 36 epochs at 640 to 800 pixels."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "./_base_/coco_instance_ms.py",
    "./_base_/schedule_3x.py",
    "./_base_/networks.py",
    "./_base_/runtime.py",
]
model = _base_.pop("networks").x101_32x4d
