"""Mask R-CNN, SE-ResNeXt-101 32x8d with deep stem and average pooling, pretrained on ImageNet-12k,
FPN, COCO, 100 epochs of large-scale jitter with SyncBN, AdamW and EMA.

Nothing is published for it; mask_rcnn_x50_32x4d_fpn_lsj_100e_coco has what its parts reach with
other networks. `model.backbone.with_cp=True` computes blocks twice and takes less memory.
"""

_base_ = [
    "./_base_/mask_rcnn_lsj.py",
    "./_base_/coco_instance_lsj.py",
    "./_base_/schedule_100e.py",
    "./_base_/networks.py",
    "./_base_/runtime.py",
]
model = _base_.pop("networks").seresnextaa101d_32x8d
model.backbone.update(_base_.pop("trained"))
custom_hooks = [*_base_.custom_hooks, _base_.pop("ema")]
