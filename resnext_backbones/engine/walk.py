"""A config is walked in one way, whatever is looked for in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def walk(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yields an entry of a config and what is in it, at any depth, with places such as
    `custom_hooks.0.type`.
    """
    yield place, node
    for key, child in _children(node):
        yield from walk(child, f"{place}.{key}")


def dicts_with(node: Any, wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """Yields every mapping in a config, at any depth, that `wanted` says yes to."""
    for _, found in walk(node):
        if isinstance(found, Mapping) and wanted(found):
            yield found  # type: ignore[misc]


def plain_values(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yields what is set below an entry of a config, with places: values, and lists of values."""
    if isinstance(node, Mapping) or any(isinstance(each, Mapping) for _, each in _children(node)):
        for key, child in _children(node):
            if not str(key).startswith("_"):
                yield from plain_values(child, f"{place}.{key}")
    else:
        yield place, list(node) if isinstance(node, tuple) else node


def value_at(cfg: Any, place: str) -> Any:
    """Returns what a config has at a place, such as `train_dataloader.batch_size`, or None."""
    for key in place.split("."):
        cfg = cfg.get(key) if hasattr(cfg, "get") else None
    return cfg


def _children(node: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(node, Mapping):
        return node.items()
    return enumerate(node) if isinstance(node, list | tuple) else ()
