#!/usr/bin/env python3
"""Write weights for another framework: `resnext convert`, for a checkout.

python tools/convert_weights.py torchvision/resnext50_32x4d.v2 x50.pkl --to detectron2
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("convert")
