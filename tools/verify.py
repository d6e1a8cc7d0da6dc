#!/usr/bin/env python3
"""Measure published weights against their published number: `resnext verify`, for a checkout.

python tools/verify.py torchvision/resnext50_32x4d.v2 --data-root data/imagenet/val
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("verify")
