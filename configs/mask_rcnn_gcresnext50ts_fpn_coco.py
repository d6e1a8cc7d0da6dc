"""Mask R-CNN, GC-ResNeXt-50 ts, FPN, COCO, 12 epochs."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "./_base_/coco_instance.py",
    "./_base_/schedule_1x.py",
    "./_base_/networks.py",
    "./_base_/runtime.py",
]
model = _base_.pop("networks").gcresnext50ts
