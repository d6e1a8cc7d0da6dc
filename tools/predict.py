#!/usr/bin/env python3
"""Find objects in images without annotations: `resnext predict`, for a checkout.

python tools/predict.py configs/mask_rcnn_x101_32x4d_fpn_coco.py epoch_12.pth images/ --out found
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("predict")
