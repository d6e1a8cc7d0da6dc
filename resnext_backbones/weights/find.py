"""Finds the trunks in what a file holds, under whatever training programs put in front of them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.pickles import Inert

DEEPEST = 32
"""Values within values that are looked at."""

WRAPPERS = re.compile(
    r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
"""torch.compile, FSDP, activation checkpointing and Lightning Fabric put these into names, also in
the middle; a trunk's own names have none of them."""

MODULE_PARTS = ("_parameters", "_buffers", "_modules")
"""A module that was pickled whole keeps its tensors and its children here."""

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
"""Under these keys training programs put averaged weights, beside those of the last step. They are
what one wants."""

SWAPPED = ("ema_state_dict", "current_model_state")
"""MMEngine and Lightning put the averaged weights into `state_dict`, this package's runs of
Detectron2 into `model`, and those of the last step here."""

BEST = "state_dict", "model"

MOST_LISTED = 8


@dataclass(frozen=True)
class Entry:
    """Holds a value of a file.

    Attributes:
        name: its keys, with dots between them, but for the first where there are several: the one
            of a whole state dict among other things.
        container: this first key, and a dot; "" where the value lies outermost.
        value: a tensor, or an `Inert` in place of what could not be read.
    """

    name: str
    container: str
    value: Any


@dataclass(frozen=True)
class Found:
    """Says where a trunk lies: its family, a key of `FORMATS`, and what stands in front of its
    names in `entries_of`; `shown` is how the file itself writes it.
    """

    family: str
    prefix: str
    shown: str
    container: str

    @property
    def inner(self) -> str:
        """Returns the prefix within the state dict."""
        return self.shown.removeprefix(self.container)


def entries_of(content: Mapping[Any, Any]) -> dict[str, Entry]:
    """Returns the tensors of a file by all keys that lead to them, without what wrappers put into
    names, and what stands in the place of tensors that could not be read.
    """
    found: dict[str, Entry] = {}
    for name, container, value in _leaves(content, "", "", set(), 0):
        entry = Entry(name.removeprefix(container), container, value)
        plain = WRAPPERS.sub("", name)
        found[name if plain in found else plain] = entry
    return found


def _leaves(
    value: Any, name: str, container: str, seen: set[int], depth: int
) -> Iterator[tuple[str, str, Any]]:
    """Yields names, containers and values, those of each container once."""
    if isinstance(value, Tensor):
        yield name, container, value
        return
    if not isinstance(value, Mapping | list | tuple) or id(value) in seen or depth > DEEPEST:
        return
    seen.add(id(value))
    children = list(_children(value))
    if isinstance(value, Inert) and not children:
        yield name, container, value
    elif depth == 1 and name:
        container = f"{name}."
    for key, child in children:
        if key in MODULE_PARTS:
            yield from _leaves(child, name, container, seen, depth + 1)
            continue
        if isinstance(child, Tensor) and not isinstance(key, str):
            continue  # which no module's is, but many an optimiser's
        if isinstance(value, Inert) and isinstance(child, Inert) and not any(_children(child)):
            continue  # an attribute, which stands for no tensor
        front = f"{name}." if name else ""
        yield from _leaves(child, f"{front}{key}", container, seen, depth + 1)


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, list | tuple):
        yield from enumerate(value)
        return
    yield from value.items()
    if isinstance(value, Inert):
        for part in (*value.args, value.state):
            for attributes in part if isinstance(part, tuple) else (part,):
                if isinstance(attributes, Mapping):
                    parts = {k: attributes[k] for k in MODULE_PARTS if k in attributes}
                    yield from (parts or attributes).items()


def said_of(content: Mapping[Any, Any], shown: str) -> Mapping[str, Any]:
    """Returns what a file says of the module whose names begin so, beside PyTorch's version of it;
    nothing where it has no such versions.
    """
    versions = getattr(content, "_metadata", None)
    if isinstance(versions, Mapping):
        # A wrapper comes before what is in it, which then has the same name.
        plain = {WRAPPERS.sub("", f"{key}.").lstrip("."): said for key, said in versions.items()}
        said = plain.get(WRAPPERS.sub("", shown))
        return said if isinstance(said, Mapping) else {}
    for key, value in content.items():
        if isinstance(value, Mapping) and isinstance(key, str) and shown.startswith(f"{key}."):
            return said_of(value, shown.removeprefix(f"{key}."))
    return {}


def anchors(family: str) -> list[str]:
    """Returns names of which a trunk of a family has one at least."""
    own = (f"layer{stage}.0.conv{i}.weight" for stage in (1, 2, 3, 4) for i in (1, 2, 3))
    return [name for name in map(FORMATS[family].from_own, own) if name]


def trunks_in(names: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the families and prefixes of the trunks among names: of whatever has the name of a
    first convolution and one of a block behind the same prefix.
    """
    present, stems, found = set(names), set(), []
    for family, format_ in reversed(FORMATS.items()):  # the peculiar ones before the plain one
        blocks = anchors(family)
        for stem in format_.stems:
            for name in sorted(n for n in present if n.endswith(stem)):
                prefix = name.removesuffix(stem)
                if name in stems or (prefix and not prefix.endswith(".")):
                    continue
                marks = format_.marks
                if marks and present.isdisjoint(prefix + mark for mark in marks):
                    continue
                if not present.isdisjoint(prefix + block for block in blocks):
                    stems.add(name)
                    found.append((family, prefix))
    return found


def find(content: Mapping[Any, Any], entries: Mapping[str, Entry], prefix: str) -> list[Found]:
    """Returns the trunks of a file, which has these entries, under a prefix or anywhere; averaged
    weights alone where a program keeps them beside others. Raises KeyError where no name has the
    prefix.
    """
    found = []
    for family, before in trunks_in(entries):
        ending = next(stem for stem in FORMATS[family].stems if before + stem in entries)
        stem = entries[before + ending]
        whole = stem.container + stem.name
        shown = whole.removesuffix(ending) if whole.endswith(ending) else before
        found.append(Found(family, before, shown, stem.container))
    if prefix:
        return _under(prefix, found, entries)
    keys = {f.container.removesuffix(".") for f in found}
    if keys & set(BEST) and (beside := keys & set(_swapped(content))):
        return [f for f in found if f.container.removesuffix(".") not in beside]
    if averaged := keys & set(AVERAGED):
        return [f for f in found if f.container.removesuffix(".") in averaged]
    return found


def _swapped(content: Mapping[Any, Any]) -> tuple[str, ...]:
    """Returns which of `SWAPPED` a file has: `ema_state_dict` is MMEngine's where it says so."""
    meta = content.get("meta")
    ours = isinstance(meta, Mapping) and "mmengine_version" in meta
    return tuple(k for k in SWAPPED if k in content and (ours or k != "ema_state_dict"))


def is_averaged(content: Mapping[Any, Any], found: Found) -> bool:
    """Returns whether a trunk's weights are averaged ones, as far as keys say it."""
    key = found.container.removesuffix(".")
    swapped = _swapped(content)
    return bool(swapped) if key in BEST else key in AVERAGED and key not in swapped


def _under(prefix: str, found: list[Found], entries: Mapping[str, Entry]) -> list[Found]:
    """Returns the trunks under a prefix, whose last dot may be missing: those right behind it, or
    else those of names that begin with it, or else of names with it in their midst.
    """
    wanted = prefix if prefix.endswith(".") else f"{prefix}."
    if right := [f for f in found if wanted in (f.shown, f.inner, f.prefix)]:
        return right
    if first := [f for f in found if f.shown.startswith(wanted) or f.inner.startswith(wanted)]:
        return first
    if midst := [f for f in found if f".{wanted}" in f".{f.shown}"]:
        return midst
    names = (e.container + e.name for e in entries.values())
    if not any(f".{wanted}" in f".{name}" for name in names):
        raise KeyError(prefix)
    return []


def beginnings(entries: Mapping[str, Entry]) -> str:
    """Returns what the names in a file begin with, for a message; "" where it has none."""
    first = dict.fromkeys(
        e.container + (e.name.split(".", 1)[0] + "." if "." in e.name else e.name)
        for e in entries.values()
        if isinstance(e.value, Tensor)
    )
    shown = ", ".join(repr(name) for name in list(first)[:MOST_LISTED])
    return shown + (f" and {len(first) - MOST_LISTED} more" if len(first) > MOST_LISTED else "")


def behind(prefix: str, names: list[str]) -> list[str]:
    """Returns those of sorted names that begin with a prefix."""
    if not prefix:
        return names
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return names[bisect_left(names, prefix) : bisect_left(names, end)]


def same_tensors(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Returns whether two state dicts hold the same values by the same names."""
    return first.keys() == second.keys() and all(
        isinstance(value, Tensor)
        and isinstance(second[key], Tensor)
        and value.shape == second[key].shape
        and value.dtype == second[key].dtype
        and (value.data_ptr() == second[key].data_ptr() or torch.equal(value, second[key]))
        for key, value in first.items()
    )
