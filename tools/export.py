#!/usr/bin/env python3
"""Write a network for another runtime: `resnext export`, for a checkout.

python tools/export.py torchvision/resnext50_32x4d.v2 --format onnx --out x50.onnx
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("export")
