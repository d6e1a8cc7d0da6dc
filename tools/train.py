#!/usr/bin/env python3
"""Train a detector or segmentation network: `resnext train`, for a checkout.

python tools/train.py configs/mask_rcnn_x101_32x4d_fpn_coco.py
python tools/train.py configs/torchvision/mask_rcnn_x50_32x4d_fpn_coco.py
torchrun --nproc_per_node 8 tools/train.py configs/... --amp bf16
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("train")
