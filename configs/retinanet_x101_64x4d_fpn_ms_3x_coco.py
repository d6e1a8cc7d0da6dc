r"""RetinaNet, ResNeXt-101 64x4d, FPN, COCO, 36 epochs at 640 to 800 pixels.

One node with 8 GPUs:
    torchrun --nproc_per_node 8 tools/train.py \
        configs/retinanet_x101_64x4d_fpn_ms_3x_coco.py
Two such nodes, on each, with NODE 0 and 1 and HOST the first one's name:
    torchrun --nnodes 2 --node_rank NODE --nproc_per_node 8 \
        --master_addr HOST --master_port 29500 tools/train.py \
        configs/retinanet_x101_64x4d_fpn_ms_3x_coco.py

Assumes 2 images a GPU: 16 a step at learning rate 0.01 on one node, 32 at 0.02 on two; other
batches scale it in proportion.
Should reach: 41.6 box AP
(MMDetection's zoo, retinanet_x101-64x4d_fpn_ms-640-800-3x_coco).
"""

_base_ = [
    "./_base_/retinanet.py",
    "./_base_/coco_detection_ms.py",
    "./_base_/schedule_3x.py",
    "./_base_/runtime.py",
]

from resnext_backbones.tasks.mmdetection.weights import set_pixels

model = dict(
    backbone=dict(
        variant="resnext101_64x4d",
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab/resnext101_64x4d"),
    )
)
set_pixels(model)
optim_wrapper = dict(optimizer=dict(lr=0.01))
