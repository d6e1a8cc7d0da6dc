"""Mask R-CNN, RegNetX-3.2GF, FPN, COCO, 12 epochs."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "./_base_/coco_instance.py",
    "./_base_/schedule_1x.py",
    "./_base_/networks.py",
    "./_base_/runtime.py",
]
model = _base_.pop("networks").regnetx_032
optim_wrapper = dict(optimizer=dict(weight_decay=0.00005))
