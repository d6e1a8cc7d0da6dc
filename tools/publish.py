#!/usr/bin/env python3
"""Write the weights of a pretraining checkpoint as one safetensors file with a model card.

python tools/publish.py work_dirs/resnext29_8x64d_cifar10/epoch_300.pth
"""

import argparse

from resnext_backbones.runs.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish the weights of a checkpoint.")
    parser.add_argument("checkpoint")
    parser.add_argument("--out", metavar="FOLDER", help="default: the checkpoint's folder")
    args = parser.parse_args()
    from resnext_backbones.pretraining.publish import publish

    print(publish(args.checkpoint, args.out))


if __name__ == "__main__":
    run_tool(main)
