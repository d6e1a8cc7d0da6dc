#!/usr/bin/env python3
"""Write the weights of a pretraining as one file: `resnext publish`, for a checkout.

python tools/publish.py work_dirs/resnext29_8x64d_cifar10/epoch_300.pth
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("publish")
