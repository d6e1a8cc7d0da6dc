#!/usr/bin/env python3
r"""Pretrain a classifier on ImageNet, or on CIFAR: `resnext pretrain`, for a checkout.

python tools/pretrain_imagenet.py configs/imagenet/paper.py --data-root imagenet
torchrun --nproc_per_node 8 tools/pretrain_imagenet.py configs/imagenet/a2.py \
    --variant resnext101_32x4d --data-root imagenet --amp bf16 --compile
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("pretrain")
