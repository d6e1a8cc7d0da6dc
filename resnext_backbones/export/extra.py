"""The runtimes are an extra of the package."""

from __future__ import annotations

from importlib.util import find_spec

from resnext_backbones.errors import InputError
from resnext_backbones.extras import installation


def need(*modules: str, extra: str = "export") -> None:
    """Raises InputError, which says how to install it, where one of the modules is missing."""
    for name in modules:
        if find_spec(name) is None:
            raise InputError(f"export: needs {name}, which is not installed: {installation(extra)}")
