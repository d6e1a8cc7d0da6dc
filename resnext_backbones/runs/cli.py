"""What the command lines of the tools share."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable

from resnext_backbones.runs.errors import InputError
from resnext_backbones.weights import WeightsError

TRACEBACK = "RESNEXT_BACKBONES_TRACEBACK"
"""Environment variable: set it to see where an error was raised."""

REPORTED = (InputError, WeightsError)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that every tool on MMEngine's runner takes."""
    parser.add_argument("config", help="a path, or the name of a config of this package")
    parser.add_argument("--work-dir", help="for all output; default work_dirs/NAME")
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: the GPU if there is one")
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        help="who started the processes; torchrun is found without it",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        help="settings of the config, such as train_dataloader.batch_size=4",
    )


def add_resume_argument(parser: argparse._ActionsContainer) -> None:
    """Going on with a run, which every tool that trains can."""
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the newest checkpoint of the work directory, or from this one",
    )


def add_amp_argument(parser: argparse._ActionsContainer) -> None:
    """Mixed precision, which every tool on a loop of this package's can."""
    parser.add_argument(
        "--amp",
        nargs="?",
        const="fp16",
        choices=("bf16", "fp16"),
        help="mixed precision; fp16, which is the default, on GPUs only",
    )


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; bad input ends it with one message on stderr and exit status 2."""
    try:
        main()
    except REPORTED as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        rank = os.environ.get("RANK")
        where = f"[rank {rank}] " if rank else ""
        print(f"{where}error: {plain_message(error)}", file=sys.stderr)
        sys.exit(2)


def plain_message(error: Exception) -> str:
    """The message as it was raised, also where a data loading worker raised it.

    PyTorch hands on a worker's exception with the worker's whole traceback as its message.
    """
    message = str(error)
    inner = re.search(r"^(?:[\w.]+\.)?" + type(error).__name__ + r": (.*)", message, re.M | re.S)
    return (inner[1] if inner and "Original Traceback" in message else message).strip()
