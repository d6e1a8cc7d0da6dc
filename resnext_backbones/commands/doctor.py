"""Say what does not fit together here, and what mends it.

resnext doctor
resnext doctor --seconds 60 --runs /data/work_dirs

It works where torch is missing or broken. The exit status is 1 where something does not fit. All
that it prints can be pasted into a bug report.
"""

import argparse
import sys
from pathlib import Path

from resnext_backbones.commands.arguments import add, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(
        parser,
        "--seconds",
        type=positive,
        help="an import hangs that takes longer; default 8, so that all of it takes 10",
    )
    add(
        parser,
        "--runs",
        type=Path,
        default=Path("work_dirs"),
        help="where checkpoints are written, whose disk may be full; default %(default)s",
    )


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.reports.doctor import SECONDS, diagnose

    diagnosis = diagnose(args.runs, seconds=args.seconds or SECONDS)
    print(diagnosis.text)
    if diagnosis.findings:
        sys.exit(1)
