#!/usr/bin/env python3
"""Check annotations and images: `resnext check-data`, for a checkout.

python tools/check_data.py annotations/instances_train2017.json train2017
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("check-data")
