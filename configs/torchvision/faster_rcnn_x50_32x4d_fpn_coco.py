"""torchvision's Faster R-CNN, ResNeXt-50 32x4d, FPN, COCO, 12 epochs.

torchrun --nproc_per_node 8 tools/train.py configs/torchvision/faster_rcnn_x50_32x4d_fpn_coco.py

Another network is `--variant resnext101_64x4d` with its `--weights`.
"""

_base_ = "../_base_/torchvision_detection.py"

model = dict(
    network="faster_rcnn",
    backbone=dict(variant="resnext50_32x4d", weights="torchvision/resnext50_32x4d.v2"),
)
