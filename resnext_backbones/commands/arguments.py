"""Commands share these arguments, and what a shell offers for them (extra `completion`).

Nothing here imports PyTorch, which takes seconds, until a command runs or a network is completed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from resnext_backbones.engine.catalogue import config_names
from resnext_backbones.engine.launchers import OPTIONS
from resnext_backbones.engine.loggers import LOGGERS
from resnext_backbones.weights.registry import REGISTRY

Completer = Callable[..., list[str]]

BYTES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def quantity(text: str, units: Mapping[str, float]) -> float:
    """Returns what a number with one of these units stands for."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text)
    given = {unit.lower(): factor for unit, factor in units.items()}
    if not found or found[2].lower() not in given or not float(found[1]):
        allowed = " or ".join(units)
        raise argparse.ArgumentTypeError(f"{text}: use a number above zero and {allowed}")
    return float(found[1]) * given[found[2].lower()]


def byte_count(text: str) -> int:
    """Returns the bytes of a text such as 24GB."""
    return round(quantity(text, BYTES))


def _beginning(prefix: str, names: Callable[[], Any], **_: Any) -> list[str]:
    """Returns the names and the files that begin with `prefix`."""
    from argcomplete.completers import FilesCompleter

    return [*(name for name in names() if name.startswith(prefix)), *FilesCompleter()(prefix)]


def _variants(
    prefix: str, parsed_args: argparse.Namespace, folder: str = "", **_: Any
) -> list[str]:
    """Returns the networks that begin with `prefix`, of those that the config takes."""
    from resnext_backbones.tasks.engines import networks_for
    from resnext_backbones.variants import list_variants

    names = list_variants()
    # A config that is missing, wrong, or of a framework that is not installed says nothing.
    with suppress(Exception):
        names = networks_for(parsed_args.config, folder)
    return [name for name in names if name.startswith(prefix)]


complete_configs: Completer = partial(_beginning, names=config_names)
complete_lazy_configs: Completer = partial(_beginning, names=partial(config_names, "detectron2"))
complete_lazy_variants: Completer = partial(_variants, folder="detectron2")
complete_weights: Completer = partial(_beginning, names=lambda: REGISTRY)

SHARED: dict[str, dict[str, Any]] = {
    "config": {
        "help": "a path, or the name of a config of this package",
        "completer": complete_configs,
    },
    "--work-dir": {"help": "for all output; default work_dirs/NAME"},
    "--device": {"help": "cpu, cuda or cuda:N; default: the GPU if there is one"},
    "--launcher": {
        "choices": OPTIONS,
        "help": "who started the processes; found without it; none: this one is alone",
    },
    "--cfg-options": {
        "nargs": "+",
        "metavar": "KEY=VALUE",
        "help": "settings of the config, such as train_dataloader.batch_size=4",
    },
    "--variant": {
        "help": "the network, such as resnext101_32x4d; default: the one in the config",
        "completer": _variants,
    },
    "--weights": {
        "help": "of the backbone, in place of the config's: a file, an address or an alias of "
        "`resnext list`; none: random values, and nothing frozen",
        "completer": complete_weights,
    },
    "--resume": {
        "nargs": "?",
        "const": "auto",
        "metavar": "CHECKPOINT",
        "help": "go on from the newest checkpoint of the work directory, or from this one",
    },
    "--amp": {
        "nargs": "?",
        "const": "fp16",
        "choices": ("bf16", "fp16"),
        "help": "mixed precision; fp16, which is the default, on GPUs only",
    },
    "--deterministic": {
        "action": "store_true",
        "help": "let a run repeat bit for bit, where PyTorch can; slower on GPUs; as "
        "--no-tune beside",
    },
    "--no-tune": {
        "action": "store_true",
        "help": "compute convolutions plainly, in place of measuring which way is fastest before "
        "the first step; a run that is resumed keeps its checkpoint's ways",
    },
    "--loggers": {
        "nargs": "+",
        "choices": tuple(LOGGERS),
        "metavar": "LOGGER",
        "help": f"log to these as well as to the work directory: {', '.join(LOGGERS)}; default "
        "tensorboard",
    },
    "--allow-mismatch": {
        "action": "store_true",
        "help": "warn, and go on, where pixels, norms or frozen stages do not fit the weights",
    },
    "--num-gpus": {"type": int, "help": "of each machine; default 1"},
    "--num-machines": {"type": int, "help": "default 1"},
    "--machine-rank": {"type": int, "help": "of this machine, from 0; default 0"},
    "--dist-url": {"help": "tcp://HOST:PORT of the first machine; default auto"},
}
"""Each row is as argparse takes it, with what completes it."""

ON_RUNNER = ("config", "--work-dir", "--device", "--launcher", "--cfg-options")
"""Every command on MMEngine's runner takes these."""

LAUNCH = ("--num-gpus", "--num-machines", "--machine-rank", "--dist-url")
"""These say how many processes Detectron2 starts, and how they find one another."""


def add(parser: argparse._ActionsContainer, *names: str, **settings: Any) -> None:
    """Adds arguments to a parser: rows of `SHARED`, or new ones, with these settings beside."""
    for name in names:
        row = {**SHARED.get(name, {}), **settings}
        completer = row.pop("completer", None)
        argument = parser.add_argument(name, **row)
        if completer is not None:
            argument.completer = completer  # type: ignore[attr-defined]  # which argcomplete reads


def launch_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns those of `LAUNCH` that the command line has, as `argparse` names them."""
    names = (name.removeprefix("--").replace("-", "_") for name in LAUNCH)
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def at_least(least: int, text: str) -> int:
    """Returns a whole number of at least 0 or 1, or raises ArgumentTypeError."""
    if not text.isdigit() or int(text) < least:
        wanted = ("a whole number, zero or more", "a whole number above zero")[least]
        raise argparse.ArgumentTypeError(f"{text}: use {wanted}")
    return int(text)


positive, not_negative = partial(at_least, 1), partial(at_least, 0)


def image_size(text: str) -> tuple[int, int]:
    """Returns (H, W), or raises ArgumentTypeError."""
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and min(int(height), int(width)) >= 32):
        raise argparse.ArgumentTypeError(f"{text}: use HEIGHTxWIDTH, from 32 pixels on")
    return int(height), int(width)


def training_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what the command line says of a training, as `for_training` takes it."""
    names = ("resume", "amp", "deterministic", "loggers")
    given = {name: getattr(args, name) for name in names}
    return {**given, "tune": not args.no_tune}
