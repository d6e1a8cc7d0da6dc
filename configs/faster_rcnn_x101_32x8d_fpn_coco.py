r"""Faster R-CNN, ResNeXt-101 32x8d, FPN, COCO, 12 epochs.

One node with 8 GPUs:
    torchrun --nproc_per_node 8 tools/train.py \
        configs/faster_rcnn_x101_32x8d_fpn_coco.py
Two such nodes, on each, with NODE 0 and 1 and HOST the first one's name:
    torchrun --nnodes 2 --node_rank NODE --nproc_per_node 8 \
        --master_addr HOST --master_port 29500 tools/train.py \
        configs/faster_rcnn_x101_32x8d_fpn_coco.py

Assumes 2 images a GPU: 16 a step at learning rate 0.02 on one node, 32 at 0.04 on two; other
batches scale it in proportion.
No published result for this pair of network and schedule is known to us.
"""

_base_ = [
    "./_base_/faster_rcnn.py",
    "./_base_/coco_detection.py",
    "./_base_/schedule_1x.py",
    "./_base_/runtime.py",
]

from resnext_backbones.tasks.mmdetection.weights import set_pixels

# The norms' scale and shift are not trained, as in MMDetection's own config.
model = dict(
    backbone=dict(
        variant="resnext101_32x8d",
        norm_cfg=dict(type="BN", requires_grad=False),
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab/detectron2/resnext101_32x8d"),
    )
)
set_pixels(model)
