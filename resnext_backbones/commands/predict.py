"""Find objects in images without annotations.

resnext predict mask_rcnn_x101_32x4d_fpn_coco epoch_12.pth street.jpg holiday/ --out found
resnext predict mask_rcnn_x101_32x4d_fpn_coco epoch_12.pth 'data/**/*.png' --batch-size 8
resnext predict mask_rcnn_x101_32x4d_fpn_coco epoch_12.pth data/coco/test2017 --no-pictures \\
    --image-list data/coco/annotations/image_info_test-dev2017.json

OUT gets predictions.json in COCO's results format, images.json with the ids of images and of
categories, and pictures/. COCO("images.json").loadRes("predictions.json") reads both.
"""

import argparse
from pathlib import Path

from resnext_backbones.commands.arguments import add, not_negative, positive
from resnext_backbones.errors import InputError, some


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "config")
    parser.add_argument("checkpoint", help="of the same detector: a file or an address")
    parser.add_argument(
        "images", nargs="+", help="files, folders (searched at any depth), patterns in quotes"
    )
    parser.add_argument("--out", type=Path, help="a new folder; default work_dirs/NAME/predictions")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier call in OUT"
    )
    parser.add_argument("--batch-size", type=positive, default=1, help="default %(default)s")
    parser.add_argument(
        "--workers",
        type=not_negative,
        default=2,
        help="processes that read images; 0: none but this one; default %(default)s",
    )
    parser.add_argument(
        "--score-thr", type=float, default=0.3, help="what pictures show; default %(default)s"
    )
    parser.add_argument("--no-pictures", action="store_true", help="write JSON alone")
    parser.add_argument(
        "--image-list",
        type=Path,
        metavar="JSON",
        help="COCO's file with the images' ids and the categories; default: counted from 1, and "
        "COCO's own categories if the classes are COCO's",
    )
    add(parser, "--device", "--cfg-options")


def run(args: argparse.Namespace) -> None:
    if args.launcher != "none":
        raise InputError("predict: is one process; start it without a launcher")
    from resnext_backbones.data.find_images import find_images
    from resnext_backbones.tasks.engines import MMDETECTION, engine_of

    if (engine := engine_of(args.config)) != MMDETECTION:
        raise InputError(f"predict: takes MMDetection's detectors; {args.config} is for {engine}")
    from resnext_backbones.tasks.mmdetection.config import load_config
    from resnext_backbones.tasks.mmdetection.predict import PICTURES, predict

    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.work_dir) / "predictions"
    images = find_images(args.images, out / PICTURES)
    if images.skipped:
        names = some(file.name for file in images.skipped)
        print(f"skipped, as their names are not images': {names}")
    count = predict(
        cfg,
        args.checkpoint,
        images,
        out,
        batch_size=args.batch_size,
        workers=args.workers,
        score_thr=None if args.no_pictures else args.score_thr,
        image_list=args.image_list,
        overwrite=args.overwrite,
    )
    print(f"done: {count} detections in {len(images.names)} images: {out}")
