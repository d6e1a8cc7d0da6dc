"""The commands of the measurements have some words in common, and end alike."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.provenance import save
from benchmarks.tables import table

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def parser_of(module: str, about: str | None) -> argparse.ArgumentParser:
    """Returns a parser of `python -m benchmarks.MODULE`, which has `--out`.

    Args:
        about: the module's docstring, of which the first line is shown.
    """
    first = (about or "").partition("\n")[0]
    parser = argparse.ArgumentParser(f"python -m benchmarks.{module}", description=first)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    return parser


def console() -> Console:
    """Returns one on which a table has room, also where nobody watches."""
    found = Console()
    return found if found.is_terminal else Console(width=220)


def finish(module: str, result: dict[str, Any], folder: Path, name: str, hidden: str = "") -> None:
    """Shows a result, and writes it with the command that gave it, as `provenance.save`.

    Args:
        hidden: a word of the command that is a folder of this machine, COCO's.
    """
    words = ["COCO" if word == hidden else word for word in sys.argv[1:]]
    result["command"] = shlex.join(["python", "-m", f"benchmarks.{module}", *words])
    shown = console()
    shown.print(table(result))
    shown.print(save(result, folder, name), soft_wrap=True)
