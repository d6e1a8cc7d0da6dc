#!/usr/bin/env python3
"""Train a network of torchvision: `resnext train-torchvision`, for a checkout.

python tools/train_torchvision.py --model mask_rcnn --backbone resnext50_32x4d \
    --weights torchvision/resnext50_32x4d.v2 --coco-root data/coco --work-dir work_dirs/mask_rcnn
torchrun --nproc_per_node 8 tools/train_torchvision.py ... --amp bf16
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("train-torchvision")
