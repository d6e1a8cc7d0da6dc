"""Mask R-CNN, ResNeXt-50 32x4d of torchvision's second recipe, FPN, COCO, 100 epochs of large-scale
jitter with SyncBN, AdamW and EMA.

For other weights:
    tools/train.py CONFIG --weights timm/resnext50_32x4d.a1_in1k

Nothing is published for all of it together. With R-50, random weights and SGD at 64 images a step
MMDetection's strong_baselines reach 44.7 box and 40.4 mask AP; Detectron2's new_baselines 44.6 and
40.3, 46.3 and 41.7 in 200 epochs, 47.4 and 42.5 in 400. Torchvision's maskrcnn_resnet50_fpn_v2
reaches 47.4 and 41.8.
"""

_base_ = [
    "./_base_/mask_rcnn_lsj.py",
    "./_base_/coco_instance_lsj.py",
    "./_base_/schedule_100e.py",
    "./_base_/networks.py",
    "./_base_/runtime.py",
]
model = _base_.pop("networks").x50_32x4d_v2
model.backbone.update(_base_.pop("trained"))
custom_hooks = [*_base_.custom_hooks, _base_.pop("ema")]
