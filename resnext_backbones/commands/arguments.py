"""What the commands share: arguments, and how an error ends them.

Nothing here imports PyTorch, which takes seconds, until a command runs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from resnext_backbones.commands import completion
from resnext_backbones.commands.completion import completed
from resnext_backbones.errors import InputError
from resnext_backbones.weights.errors import WeightsError

TRACEBACK = "RESNEXT_BACKBONES_TRACEBACK"
"""Environment variable: set it to see where an error was raised."""

REPORTED = (InputError, WeightsError)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that every command on MMEngine's runner takes."""
    add_config_argument(parser)
    parser.add_argument("--work-dir", help="for all output; default work_dirs/NAME")
    add_device_argument(parser)
    add_launcher_argument(parser)
    add_options_argument(parser)


def add_launcher_argument(parser: argparse.ArgumentParser) -> None:
    """Adds who started the processes."""
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        help="who started the processes; torchrun is found without it",
    )


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the config, by name or path."""
    argument = parser.add_argument("config", help="a path, or the name of a config of this package")
    completed(argument, completion.configs())


def add_variant_argument(parser: argparse._ActionsContainer) -> None:
    """Adds the network of a recipe."""
    argument = parser.add_argument(
        "--variant", help="the network, such as resnext101_32x4d; default: the one in the recipe"
    )
    completed(argument, completion.variants)


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Adds settings of the config."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        help="settings of the config, such as train_dataloader.batch_size=4",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the device."""
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: the GPU if there is one")


def add_weights_argument(parser: argparse._ActionsContainer) -> None:
    """Adds the backbone's weights, which every command that trains a detector takes."""
    argument = parser.add_argument(
        "--weights",
        help="of the backbone, in place of the config's: a file, an address or an alias of "
        "`resnext list`; none: random values, and nothing frozen",
    )
    completed(argument, completion.weights)


def add_resume_argument(parser: argparse._ActionsContainer) -> None:
    """Adds going on with a run, which every command that trains can."""
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the newest checkpoint of the work directory, or from this one",
    )


def add_amp_argument(parser: argparse._ActionsContainer) -> None:
    """Adds mixed precision, which every command on a loop of this package's can."""
    parser.add_argument(
        "--amp",
        nargs="?",
        const="fp16",
        choices=("bf16", "fp16"),
        help="mixed precision; fp16, which is the default, on GPUs only",
    )


LAUNCH: dict[str, Any] = {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
"""How Detectron2's processes are started where the command line does not say."""


def add_launch_arguments(parser: argparse._ActionsContainer) -> None:
    """Adds how many processes Detectron2 starts, and how they find one another."""
    parser.add_argument("--num-gpus", type=int, help="of each machine; default 1")
    parser.add_argument("--num-machines", type=int, help="default 1")
    parser.add_argument("--machine-rank", type=int, help="of this machine, from 0; default 0")
    parser.add_argument("--dist-url", help="tcp://HOST:PORT of the first machine; default auto")


def launch_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns those of `add_launch_arguments` that the command line has."""
    return {name: value for name in LAUNCH if (value := getattr(args, name)) is not None}


def positive(text: str) -> int:
    """Returns a whole number above zero, which an option is given as."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: use a whole number above zero")
    return int(text)


def not_negative(text: str) -> int:
    """Returns a whole number, zero or more, which an option is given as."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: use a whole number, zero or more")
    return int(text)


def start_process(args: argparse.Namespace) -> str:
    """Makes the device of `args` this process's, before MMEngine is imported.

    Returns:
        The launcher: none, pytorch, slurm or mpi.

    Raises:
        InputError: there is no such device.
    """
    from resnext_backbones.engine.processes import find_launcher, select_device

    launcher = args.launcher or find_launcher()
    select_device(args.device, launcher)
    return launcher


def run_tool(main: Callable[[], None]) -> None:
    """Runs a command; bad input ends it with one message on stderr and exit status 2."""
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
