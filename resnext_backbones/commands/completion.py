"""What a shell offers where an argument is a config or weights (extra `completion`)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from resnext_backbones.engine.find import config_names
from resnext_backbones.weights.registry import REGISTRY

Completer = Callable[..., list[str]]


def completed(argument: argparse.Action, completer: Completer) -> None:
    """Has argcomplete offer what `completer` returns; without argcomplete nothing is changed."""
    argument.completer = completer  # type: ignore[attr-defined]


def configs(folder: str = "") -> Completer:
    """Returns a completer for a config: the names in a folder of this package's, and files."""

    def complete(prefix: str, **_: Any) -> list[str]:
        return _beginning(prefix, config_names(folder))

    return complete


def variants(prefix: str, **_: Any) -> list[str]:
    """Returns the names of networks that begin with `prefix`."""
    from resnext_backbones.variants import list_variants  # PyTorch, which takes seconds

    return [name for name in list_variants() if name.startswith(prefix)]


def weights(prefix: str, **_: Any) -> list[str]:
    """Returns the aliases of published weights that begin with `prefix`, and files."""
    return _beginning(prefix, REGISTRY)


def published(prefix: str, **_: Any) -> list[str]:
    """Returns the aliases, and the names in MMDetection's zoo, that begin with `prefix`."""
    from resnext_backbones.tasks.mmdetection.zoo import installed_zoo, zoo_rows

    root = installed_zoo()
    names = [*REGISTRY, *(zoo_rows(root) if root else ())]
    return [name for name in names if name.startswith(prefix)]


def _beginning(prefix: str, names: Any) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return [*(name for name in names if name.startswith(prefix)), *FilesCompleter()(prefix)]
