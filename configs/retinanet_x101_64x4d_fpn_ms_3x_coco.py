"""RetinaNet, ResNeXt-101 64x4d, FPN, COCO, 36 epochs at 640 to 800 pixels."""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "./_base_/coco_detection_ms.py",
    "./_base_/schedule_3x.py",
    "./_base_/networks.py",
    "./_base_/runtime.py",
]
model = _base_.pop("networks").x101_64x4d
optim_wrapper = dict(optimizer=dict(lr=0.01))  # for 16 images a step
