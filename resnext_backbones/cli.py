"""The command `resnext`."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import resnext_backbones
from resnext_backbones.commands.arguments import run_tool
from resnext_backbones.errors import InputError
from resnext_backbones.extras import check_module

COMMANDS = (
    "train",
    "test",
    "predict",
    "verify",
    "train-detectron2",
    "pretrain",
    "publish",
    "convert",
    "list",
    "demo",
)
"""In the order of the help; each is a module of `resnext_backbones.commands`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command.

    Args:
        arguments: its name and its own; None takes those of the process.
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could stand where its cursor is
        _complete()
    run_tool(lambda: _main(sys.argv[1:] if arguments is None else arguments))


def run_script(name: str) -> None:
    """Runs one command with all arguments of the process, as the scripts in tools/ do."""
    run_tool(lambda: _run(name, sys.argv[1:], command_parser(name)))


def command_parser(name: str, prog: str | None = None) -> argparse.ArgumentParser:
    """Returns the parser of one command.

    Args:
        prog: how the command is called in its help; None is the script's name.
    """
    module = _module(name)
    parser = argparse.ArgumentParser(
        prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return parser


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `resnext`, with all commands below it."""
    summaries = {name: (_module(name).__doc__ or "").splitlines()[0] for name in COMMANDS}
    top = argparse.ArgumentParser(
        "resnext",
        usage="resnext [-h] [--version] COMMAND ...",
        description=resnext_backbones.__doc__,
        # argparse's own list would need two lines for the longer names.
        epilog="\n".join(
            [
                "commands:",
                *(f"  {name:18} {summary}" for name, summary in summaries.items()),
                "",
                "resnext COMMAND --help shows examples, and every argument of a command.",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=resnext_backbones.__version__)
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
        return
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS) or COMMANDS
        raise InputError(f"{name}: no such command; try {', '.join(close)}")
    _run(name, arguments[1:], command_parser(name, f"resnext {name}"))


def _run(name: str, arguments: Sequence[str], own: argparse.ArgumentParser) -> None:
    # Options may stand between positional arguments of any number.
    args = own.parse_intermixed_args(arguments)
    try:
        _module(name).run(args)
    except ModuleNotFoundError as error:
        check_module(name, error)
        raise
    if "torch.distributed" in sys.modules:  # `list` needs no PyTorch
        from resnext_backbones.engine.processes import leave_processes

        leave_processes()


def _module(name: str) -> ModuleType:
    return import_module(f"resnext_backbones.commands.{name.replace('-', '_')}")


def _complete() -> None:
    from argcomplete import autocomplete

    autocomplete(parser())
