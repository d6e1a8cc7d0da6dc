"""The command `resnext` finds its commands, runs one, and ends it where input is bad."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from types import ModuleType

import resnext_backbones
from resnext_backbones.engine.signals import requests
from resnext_backbones.engine.started import without_local_rank
from resnext_backbones.errors import InputError, RunError
from resnext_backbones.extras import check_module
from resnext_backbones.weights.errors import WeightsError

COMMANDS = (
    "train",
    "test",
    "predict",
    "verify",
    "train-detectron2",
    "pretrain",
    "tune",
    "publish",
    "convert",
    "export",
    "list",
    "plan",
    "doctor",
    "check-data",
    "report",
    "demo",
)
"""The help has this order; each is a module of `resnext_backbones.commands`."""

TRACEBACK = "RESNEXT_BACKBONES_TRACEBACK"
"""An environment variable of this name shows where an error was raised."""

STATUS = {InputError: 2, WeightsError: 2, RunError: 1}
"""These errors end a command with one message, and with this exit status."""

REPORTED = tuple(STATUS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command, by its name and its arguments; None takes those of the process."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could stand where its cursor is
        from argcomplete import autocomplete

        autocomplete(parser())
    given = sys.argv[1:] if arguments is None else arguments
    run_tool(lambda: _main(without_local_rank(given)))


def run_script(name: str) -> None:
    """Runs one command with all arguments of the process, as the scripts in tools/ do."""
    run_tool(lambda: _run(name, without_local_rank(sys.argv[1:]), command_parser(name)))


def run_tool(main: Callable[[], None]) -> None:
    """Runs a program; bad input ends it with one message on stderr and exit status 2, and what came
    over a run from outside with 1.
    """
    try:
        main()
    except REPORTED as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f"{_where()}error: {plain_message(error)}", file=sys.stderr)
        _tell(plain_message(error))
        sys.exit(next(status for kind, status in STATUS.items() if isinstance(error, kind)))
    except Exception as error:
        _tell(f"{type(error).__name__}: {error}")
        raise


def _where() -> str:
    """Returns which process this is, in front of its message; "" where it is alone."""
    if not (rank := os.environ.get("RANK")):
        return ""
    from resnext_backbones.engine.addresses import this_host

    return f"[rank {rank} on {this_host()}] "


def _tell(message: str) -> None:
    """Leaves to the other processes of a run, if there are some, why this one ends."""
    if "RANK" in os.environ:
        from resnext_backbones.engine.hosts import tell

        tell(message)


def plain_message(error: Exception) -> str:
    """Returns the message as it was raised, also where it was in a worker that loads data, of which
    PyTorch makes the whole traceback the message.
    """
    message = str(error)
    inner = re.search(r"^(?:[\w.]+\.)?" + type(error).__name__ + r": (.*)", message, re.M | re.S)
    return (inner[1] if inner and "Original Traceback" in message else message).strip()


def command_parser(name: str, prog: str | None = None) -> argparse.ArgumentParser:
    """Returns the parser of one command, which its help calls `prog`; None is the script's name."""
    module = _module(name)
    parser = argparse.ArgumentParser(
        prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return parser


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `resnext`, with all commands below it."""
    summaries = {name: (_module(name).__doc__ or "").splitlines()[0] for name in COMMANDS}
    listed = "\n".join(f"  {name:18} {summary}" for name, summary in summaries.items())
    top = argparse.ArgumentParser(
        "resnext",
        usage="resnext [-h] [--version] COMMAND ...",
        description=resnext_backbones.__doc__,
        # argparse's own list would need two lines for the longer names.
        epilog=f"commands:\n{listed}\n\n"
        "resnext COMMAND --help shows examples, and every argument of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    # The usage has both; with a line each the commands would not fit on one screen.
    quiet = argparse.SUPPRESS
    top.add_argument("-h", "--help", action="help", help=quiet)
    version = resnext_backbones.__version__
    top.add_argument("--version", action="version", version=version, help=quiet)
    commands = top.add_subparsers(metavar="COMMAND", help=argparse.SUPPRESS)
    for name in COMMANDS:
        _module(name).add_arguments(commands.add_parser(name))
    return top


def _main(arguments: Sequence[str]) -> None:
    if not arguments:
        parser().print_help(sys.stderr)
        sys.exit(2)
    name = arguments[0]
    if name.startswith("-"):
        parser().parse_args(arguments)
    elif name in COMMANDS:
        _run(name, arguments[1:], command_parser(name, f"resnext {name}"))
    else:
        close = difflib.get_close_matches(name, COMMANDS) or COMMANDS
        raise InputError(f"{name}: no such command; try {', '.join(close)}")


def _run(name: str, arguments: Sequence[str], own: argparse.ArgumentParser) -> None:
    # Options may stand between positional arguments of any number.
    args = own.parse_intermixed_args(arguments)
    try:
        with requests.listening(ends=True) if hasattr(args, "work_dir") else nullcontext():
            if hasattr(args, "device"):  # before MMEngine is imported, which looks for them once
                from resnext_backbones.engine.processes import start_process

                args.launcher = start_process(args.device, getattr(args, "launcher", None))
            _module(name).run(args)
    except ModuleNotFoundError as error:
        check_module(name, error)
        raise
    if "torch.distributed" in sys.modules:  # `list` needs no PyTorch
        from resnext_backbones.engine.processes import leave_processes

        leave_processes()


def _module(name: str) -> ModuleType:
    return import_module(f"resnext_backbones.commands.{name.replace('-', '_')}")
