#!/usr/bin/env python3
"""Say whether a training fits a GPU: `resnext plan`, for a checkout.

python tools/plan.py configs/mask_rcnn_x101_32x4d_fpn_coco.py --gpu 24GB
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("plan")
