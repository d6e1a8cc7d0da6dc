#!/usr/bin/env python3
"""Train a detector on Detectron2's engine: `resnext train-detectron2`, for a checkout.

python tools/train_detectron2.py mask_rcnn_fpn_3x --num-gpus 8
python tools/train_detectron2.py mask_rcnn_fpn_1x --variant resnext50_32x4d --num-gpus 8
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("train-detectron2")
