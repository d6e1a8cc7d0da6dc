"""Configs by their names."""

from __future__ import annotations

import difflib
from pathlib import Path

from resnext_backbones.errors import InputError, some

INSTALLED_CONFIGS = Path(__file__).parents[1] / ".mim" / "configs"


def find_config(name: str, *, folder: str = "") -> Path:
    """A path as it is, or a name among the configs that come with this package.

    Args:
        folder: in which names are looked for, with it before them or without.

    Raises:
        InputError: there is no such config.
    """
    installed = INSTALLED_CONFIGS / folder
    inner = name.removeprefix(f"{folder}/") if folder else name
    for path in (Path(name), installed / inner, installed / f"{inner}.py"):
        if path.is_file():
            return path
    wanted = inner.removesuffix(".py").rpartition("configs/")[2]
    names = config_names(folder)
    names = [each for each in names if Path(each).parent == Path(wanted).parent] or names
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5) or names
    raise InputError(f"config {name}: no such file, and no config of this name; try {some(close)}")


def config_names(folder: str = "") -> list[str]:
    """Returns the names that `find_config` knows, sorted."""
    installed = INSTALLED_CONFIGS / folder
    paths = (path.relative_to(installed) for path in installed.rglob("*.py"))
    return sorted(str(path.with_suffix("")) for path in paths if "_base_" not in path.parts)
