#!/usr/bin/env python3
"""Measure which way of each convolution is fastest here: `resnext tune`, for a checkout.

python tools/tune.py resnext101_32x4d --batch 2 --size 800x1344
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("tune")
