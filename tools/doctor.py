#!/usr/bin/env python3
"""Say what of this set-up does not fit together: `resnext doctor`, for a checkout.

python tools/doctor.py
"""

from resnext_backbones.cli import run_script

if __name__ == "__main__":
    run_script("doctor")
