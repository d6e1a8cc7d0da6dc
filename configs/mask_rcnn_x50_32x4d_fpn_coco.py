r"""Mask R-CNN, ResNeXt-50 32x4d, FPN, COCO, 12 epochs.

One node with 8 GPUs:
    torchrun --nproc_per_node 8 tools/train.py \
        configs/mask_rcnn_x50_32x4d_fpn_coco.py
Two such nodes, on each, with NODE 0 and 1 and HOST the first one's name:
    torchrun --nnodes 2 --node_rank NODE --nproc_per_node 8 \
        --master_addr HOST --master_port 29500 tools/train.py \
        configs/mask_rcnn_x50_32x4d_fpn_coco.py

Assumes 2 images a GPU: 16 a step at learning rate 0.02 on one node, 32 at 0.04 on two; other
batches scale it in proportion.
No published result for this pair of network and schedule is known to us.
"""

_base_ = [
    "./_base_/mask_rcnn.py",
    "./_base_/coco_instance.py",
    "./_base_/schedule_1x.py",
    "./_base_/runtime.py",
]

from resnext_backbones.tasks.mmdetection.weights import set_pixels

model = dict(
    backbone=dict(
        variant="resnext50_32x4d",
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab/resnext50_32x4d"),
    )
)
set_pixels(model)
