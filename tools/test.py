#!/usr/bin/env python3
"""Evaluate a checkpoint: `resnext test`, for a checkout.

python tools/test.py configs/mask_rcnn_x101_32x4d_fpn_coco.py work_dirs/.../epoch_12.pth
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("test")
