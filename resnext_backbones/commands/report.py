"""Write the page of a run: one HTML file, without a network.

resnext report work_dirs/mask_rcnn_x101_32x4d_fpn_coco
resnext report work_dirs/resnext50_32x4d_paper --out for_the_group.html
resnext report work_dirs/mask_rcnn_x101_32x4d_fpn_coco --no-pictures  # of images not to be shown

A run writes it as report.html at its end; this is for one that was stopped, or is running.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from resnext_backbones.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="WORK_DIR", type=Path, help="where a run writes")
    parser.add_argument("--out", type=Path, help="default: report.html in WORK_DIR")
    parser.add_argument("--no-pictures", action="store_true", help="leave the images out")
    parser.add_argument(
        "--plotly-beside",
        action="store_true",
        help="keep plotly's 5 MB in a file beside the page, for all pages of its folder",
    )


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.engine.checks.outputs import check_folder
    from resnext_backbones.reports.page import FILE_NAME
    from resnext_backbones.reports.page.write import write_report

    out = args.out or args.folder / FILE_NAME
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file: {out / FILE_NAME}")
    if args.out is not None:
        check_folder(f"--out {out}: its folder", out.parent)
    try:
        written = write_report(
            args.folder,
            out,
            say=partial(print, file=sys.stderr, flush=True),
            with_pictures=not args.no_pictures,
            plotly_beside=args.plotly_beside,
        )
        print(written)
    except OSError as error:
        raise InputError(f"report {out}: cannot be written: {error.strerror or error}") from error
