r"""Faster R-CNN, ResNeXt-101 32x4d, FPN, COCO, 36 epochs at 640 to 800 pixels.

One node with 8 GPUs:
    torchrun --nproc_per_node 8 tools/train.py \
        configs/faster_rcnn_x101_32x4d_fpn_ms_3x_coco.py
Two such nodes, on each, with NODE 0 and 1 and HOST the first one's name:
    torchrun --nnodes 2 --node_rank NODE --nproc_per_node 8 \
        --master_addr HOST --master_port 29500 tools/train.py \
        configs/faster_rcnn_x101_32x4d_fpn_ms_3x_coco.py

Assumes 2 images a GPU: 16 a step at learning rate 0.02 on one node, 32 at 0.04 on two; other
batches scale it in proportion.
Should reach: 42.5 box AP; 7.0 GB a GPU
(MMDetection's zoo, faster-rcnn_x101-32x4d_fpn_ms-3x_coco).
"""

_base_ = [
    "./_base_/faster_rcnn.py",
    "./_base_/coco_detection_ms.py",
    "./_base_/schedule_3x.py",
    "./_base_/runtime.py",
]

from resnext_backbones.tasks.mmdetection.weights import set_pixels

model = dict(
    backbone=dict(
        variant="resnext101_32x4d",
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab/resnext101_32x4d"),
    )
)
set_pixels(model)
