"""What docs/upgrading.md promises of names: read from the package, and recorded beside this file.

python tests/public_names.py

writes the record, or another file that is named. A change of it is a change of what users may
write.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import resnext_backbones
from resnext_backbones import cli
from resnext_backbones.engine.catalogue import config_names
from resnext_backbones.variants import list_variants
from resnext_backbones.weights.registry import REGISTRY

RECORD = Path(__file__).with_suffix(".json")

OTHERS = "detectron2", "__main__"
"""Modules with these in their names need what is on no registry, or run the command."""


def names() -> dict[str, Any]:
    """Returns all public names, of one kind an entry."""
    return {
        "python": dict(sorted(_python(resnext_backbones, ""))),
        "commands": {name: _options(name) for name in cli.COMMANDS},
        "mmengine": _registered(),
        "variants": list_variants(),
        "weights": sorted(REGISTRY),
        "configs": config_names(),
    }


def _python(module: ModuleType, prefix: str) -> Iterator[tuple[str, str]]:
    """Yields names of `__all__` and what they take, without annotations, in modules as well."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield from _python(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _signature(value) if callable(value) else ""


def _signature(value: Any) -> str:
    try:
        found = inspect.signature(value)
    except ValueError:  # of an exception that takes what exceptions take
        return ""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _options(command: str) -> str:
    """Returns the arguments of a command, with the values that they may have."""
    words = []
    for action in cli.command_parser(command, command)._actions:
        if not isinstance(action, argparse._HelpAction):
            name = "/".join(action.option_strings) or action.dest
            choices = sorted(map(str, action.choices or ()))
            words.append(name + (f"={'|'.join(choices)}" if choices else ""))
    return " ".join(sorted(words))


def _registered() -> str:
    """Returns what any module of the package registers with MMEngine."""
    for module in walk_packages(resnext_backbones.__path__, "resnext_backbones."):
        if not any(word in module.name for word in OTHERS):
            import_module(module.name)
    registry = import_module("resnext_backbones.adapters.registry")
    kinds = [each for each in vars(registry).values() if type(each).__name__ == "Registry"]
    found = {n: v for kind in kinds for n, v in kind.module_dict.items()}
    # Packages that are imported on the way register some of their own.
    ours = (n for n, v in found.items() if str(v.__module__).startswith("resnext_backbones."))
    return " ".join(sorted(ours))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else RECORD
    target.write_text(json.dumps(names(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
