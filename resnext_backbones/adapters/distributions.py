"""Importing this module checks the distributions that `mmengine`, `mmcv` and `mmdet` come from.

OpenMMLab's own no longer run on current versions of PyTorch. The maintained line has other names
of distributions and the same names to import: pip installs both beside one another, where they
overwrite each other's files. What imports MMEngine or mmcv first imports this module before it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from resnext_backbones.errors import InputError

REPLACED = {
    "mmengine": "onedl-mmengine",
    "mmengine-lite": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmcv-full": "onedl-mmcv",
    "mmcv-lite": "onedl-mmcv",
    "mmdet": "onedl-mmdetection",
}
"""OpenMMLab's own distributions, and what has taken their place."""

IMPORTED_AS = {"onedl-mmengine": "mmengine", "onedl-mmcv": "mmcv", "onedl-mmdetection": "mmdet"}


def require_maintained_line() -> None:
    """Checks that MMEngine, mmcv and MMDetection are the maintained line, each with its files.

    Raises:
        InputError: OpenMMLab's own are installed, alone or beside the maintained ones; or the files
            of a maintained one went when OpenMMLab's own was removed. The message has the command
            that mends it.
    """
    originals, maintained = _installed(REPLACED), _installed(IMPORTED_AS)
    damaged = {n: v for n, v in maintained.items() if _first_file(IMPORTED_AS[n]) is None}
    if originals:
        beside = f" beside {_listed(maintained)}" if maintained else ""
        what = (
            f"{_listed(originals)}: installed{beside}, but this package needs the maintained line, "
            f"which has the same names to import: {', '.join(IMPORTED_AS)}"
        )
    elif damaged:
        what = f"{_listed(damaged)}: the files are gone"
    else:
        return
    wanted = {REPLACED[name] for name in originals} | set(maintained)
    pip = f"{shlex.quote(sys.executable)} -m pip"
    raise InputError(
        f"{what}; to mend it:\n"
        f"{pip} uninstall -y {' '.join([*originals, *maintained])} && "
        f"{pip} install {' '.join(name for name in IMPORTED_AS if name in wanted)}"
    )


def _installed(names: Iterable[str]) -> dict[str, str]:
    """Returns the versions of those that are installed."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _first_file(package: str) -> str | None:
    """Returns None where Python finds no such package, or a folder without its first file."""
    return getattr(find_spec(package), "origin", None)


def _listed(distributions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in distributions.items())


require_maintained_line()
