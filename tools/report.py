#!/usr/bin/env python3
"""Write the page of a run: `resnext report`, for a checkout.

python tools/report.py work_dirs/mask_rcnn_x101_32x4d_fpn_coco
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("report")
