"""Detectors are exported whole by `resnext export --detector`."""

import argparse
from pathlib import Path

from resnext_backbones.commands.convert import PIXELS
from resnext_backbones.errors import InputError

NOT_OF_DETECTORS = (
    "weights", "trunk", "out_indices", "size", "prefix", "int8", "int8_images", "val", "crop",
)  # fmt: skip
"""Options of trunks and classifiers alone."""


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of whole detectors."""
    parser.add_argument(
        "--detector",
        action="store_true",
        help="write a detector whole, as onnx, for one image of any size: torchvision's Faster and "
        "Mask R-CNN and RetinaNet; MMDetection's and Detectron2's Faster and Mask R-CNN with FPN",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="of a detector: compare what is found in three of these, of three sizes; default: "
        "drawn ones",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="of a detector: settings in torchvision's words, such as min_size=640, where the file "
        "does not say them or others are wanted",
    )
    parser.add_argument(
        "--norm-eps", type=float, metavar="EPS", help="of a detector, as of `resnext convert`"
    )


def run_detector(args: argparse.Namespace) -> None:
    """Writes a whole detector, or raises InputError where an option is for others."""
    from resnext_backbones.export.extra import need

    need("cv2", "mmengine", "PIL", "pycocotools", extra="export,torchvision")
    from resnext_backbones.export.detector_settings import given_settings
    from resnext_backbones.export.detector_source import detector_source
    from resnext_backbones.export.detectors import lines_of, write_detector
    from resnext_backbones.export.source import file_of
    from resnext_backbones.export.write import default_out, paths_for

    if args.format != ["onnx"]:
        raise InputError(f"--format {' '.join(args.format)}: a whole detector is written as onnx")
    for option in NOT_OF_DETECTORS:
        if getattr(args, option, None):
            raise InputError(f"--{option.replace('_', '-')}: is not for whole detectors")
    out = args.out or default_out(args.source)
    path = paths_for(out, args.format, overwrite=args.overwrite)["onnx"]
    source = detector_source(
        args.source,
        file_of(args.source),
        pixels=PIXELS.get(args.pixels),
        norm_eps=args.norm_eps,
        settings=given_settings(args.set),
    )
    print("\n".join(lines_of(write_detector(source, path, args.images))))
