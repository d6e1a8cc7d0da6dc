"""An override that nothing of a LazyConfig reads is told of; Detectron2 would add it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from detectron2.utils.registry import locate

from resnext_backbones.engine.catalogue import NEARLY, closest
from resnext_backbones.engine.checks.arguments import arguments
from resnext_backbones.errors import InputError

TARGET = "_target_"


def check_overrides(cfg: Any, overrides: Iterable[str]) -> None:
    """Checks what Detectron2 is about to merge into a LazyConfig.

    Args:
        overrides: `key.key=value`; those of Hydra's that add or take away say so by a sign.

    Raises:
        InputError: an entry at the top that is not there, an argument that what it is for does not
            take, or a name that is misspelt.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key[:1] in ("+", "~"):
            continue
        node: Any = cfg
        place: list[str] = []
        for part in key.split("."):
            if not isinstance(node, Mapping):
                break
            if part not in node:
                _refuse(override, ".".join(place), part, node)
                break
            node, place = node[part], [*place, part]


def _refuse(override: str, place: str, part: str, node: Mapping[str, Any]) -> None:
    names = sorted(str(name) for name in node if name != TARGET)
    if target := node.get(TARGET):
        built = locate(target) if isinstance(target, str) else target
        known, _, is_open = arguments(getattr(built, "__wrapped__", built))
        names = sorted(known)
        if part in known:
            return
    else:
        is_open = bool(place)
    if is_open and not difflib.get_close_matches(part, names, 1, NEARLY):
        return
    where = f"{place} has" if place else "the config has"
    raise InputError(
        f"override {override}: {where} no {part}, and nothing would read it; try "
        f"{closest(part, names)}"
    )
