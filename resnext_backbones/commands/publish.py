"""Write the weights of a pretraining as one safetensors file.

resnext publish work_dirs/resnext29_8x64d_cifar10/epoch_300.pth

A model card is written beside the file.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint")
    parser.add_argument("--out", metavar="FOLDER", help="default: the checkpoint's folder")


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.tasks.classification.publish import publish

    print(publish(args.checkpoint, args.out))
