#!/usr/bin/env python3
"""Count parameters and multiply-adds of every variant, and write them down.

python tools/model_complexity.py      docs/model_complexity.json and the README's table
"""

import argparse

from resnext_backbones.complexity import update_record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    for path in update_record():
        print(path)


if __name__ == "__main__":
    main()
