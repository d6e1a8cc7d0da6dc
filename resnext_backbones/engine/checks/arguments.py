"""A class or function says which arguments it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def arguments(built: Callable[..., Any]) -> tuple[set[str], set[str], bool]:
    """Returns the names that a class or function takes, those that it needs, and whether it may
    take others: a class that hands on what it does not know takes what its bases do.
    """
    bases = built.__mro__[:-1] if inspect.isclass(built) else ()
    inits: list[Any] = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    chain: list[Any] = inits if inspect.isclass(built) else [built]
    names: set[str] = set()
    needed: set[str] | None = None
    for function in chain:
        try:
            found = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # of what is written in C
            return names, needed or set(), True
        own = [p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names |= {p.name for p in own}
        if needed is None:
            needed = {p.name for p in own if p.default is p.empty} - {"self"}
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            return names - {"self"}, needed, False
    return names - {"self"}, needed or set(), bool(chain)
