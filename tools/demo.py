#!/usr/bin/env python3
"""Pretrain, train a Mask R-CNN, and draw what it finds: `resnext demo`, for a checkout.

python tools/demo.py                          # on shapes that are drawn for it
python tools/demo.py --coco-root data/coco    # on some images of COCO
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("demo")
