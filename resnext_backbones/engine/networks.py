"""The network as an argument of a recipe, and the name of a run, which has both in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resnext_backbones.engine.find import INSTALLED_CONFIGS
from resnext_backbones.errors import InputError, some
from resnext_backbones.models.parts.stems import STEMS
from resnext_backbones.variants import VARIANTS

RECIPES = ("imagenet", "cifar")
"""Folders of this package's configs whose files take their network as an argument."""


def use_variant(cfg: Any, name: str) -> None:
    """Puts another network into a recipe, whose `model.network` is one, or names torchvision's
    around a backbone.

    Args:
        cfg: a config of MMEngine's.
        name: a row of the recipe's own `networks`, where it has such a table, else of `VARIANTS`,
            in which one for small images does not take the place of one for large ones.

    Raises:
        InputError: the recipe takes no network of this name.
    """
    own, network = cfg.get("networks"), _network(cfg) or _backbone(cfg)
    if own and network:
        check_variant(name, own, cfg.filename)
        for key in {key for settings in own.values() for key in settings}:
            network.pop(key, None)  # the network before may have had more of them
        network.update(own[name])
    elif "variant" in network:
        stride = STEMS[VARIANTS[network.variant].stem].stride
        fitting = [key for key, row in VARIANTS.items() if STEMS[row.stem].stride == stride]
        check_variant(name, fitting, cfg.filename)
        network.variant = name
    else:
        raise InputError(
            f"variant {name}: config {cfg.filename} is no recipe that takes one; set what is to be "
            "another with --cfg-options"
        )


def check_variant(name: str, known: Iterable[str], config: str | Path) -> None:
    """Checks that a recipe takes a network.

    Raises:
        InputError: it does not; the message has the names that are close.
    """
    names = list(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
        raise InputError(f"variant {name}: config {config} has no such network; try {some(close)}")


def run_name(cfg: Any) -> str:
    """Returns the name of a run: the config's, behind the network in this package's recipes.

    A recipe of somebody's own has its own name, also in front of the folder of an earlier run. The
    network of a recipe that was changed beyond its `networks` has no name.
    """
    path = Path(cfg.filename or "config.py")
    if path.resolve().parent not in [(INSTALLED_CONFIGS / name).resolve() for name in RECIPES]:
        return path.stem
    network = _network(cfg)
    tables = cfg.get("networks", {}).items() if network else ()
    own = (name for name, settings in tables if _holds(network, settings))
    return joined(next(own, network.get("variant") or ""), path.stem)


def joined(variant: str, config: str) -> str:
    """Returns a name that tells networks of a recipe apart: `resnext50_32x4d_a1`."""
    return config if variant in config else f"{variant}_{config}"


def _network(cfg: Any) -> Any:
    """Returns the network of a recipe; an empty one where the config is no recipe."""
    network = cfg.get("model", {}).get("network")
    return network if isinstance(network, Mapping) else {}


def _backbone(cfg: Any) -> Any:
    """Returns the backbone of a network of torchvision, which has a name; else an empty one."""
    model = cfg.get("model", {})
    return model.backbone if isinstance(model.get("network"), str) else {}


def _holds(network: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(network.get(key) == value for key, value in settings.items())
