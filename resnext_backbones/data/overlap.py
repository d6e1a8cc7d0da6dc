"""The annotations of training and validation are compared: names of categories, and images."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from resnext_backbones.data.annotations import Annotations
from resnext_backbones.data.rules import Finding, Outcome
from resnext_backbones.errors import some


def compare(
    train: Annotations,
    val: Annotations,
    train_images: Path | None = None,
    val_images: Path | None = None,
) -> tuple[Finding, ...]:
    """Returns what is odd between two files.

    Args:
        train: what a network learns from.
        val: what it is measured on.
        train_images: the folder of its images; where both are given, files are compared.
        val_images: the other one.
    """
    return (*_categories(train, val), *_images(train, val, train_images, val_images))


def _categories(train: Annotations, val: Annotations) -> Iterable[Finding]:
    both = [[c.get("name") for c in each.categories] for each in (train, val)]
    if not all(type(name) is str for names in both for name in names):
        return  # which is refused in the file itself
    names, of_val = ([str(name) for name in names] for names in both)
    mine, others = set(names), set(of_val)
    if absent := [name for name in of_val if name not in mine]:
        message = (
            f"{val.path.name} has categories that {train.path.name} lacks: {some(absent)}; nothing "
            "learns them, and each counts with an AP of 0"
        )
        yield Finding("category not learned", Outcome.REFUSED, len(absent), absent[0], message)
    if unmeasured := [name for name in names if name not in others]:
        message = (
            f"{train.path.name} has categories that {val.path.name} lacks: {some(unmeasured)}; "
            "they are not measured"
        )
        yield Finding(
            "category not measured", Outcome.COUNTED, len(unmeasured), unmeasured[0], message
        )
    if names != of_val and sorted(names) == sorted(of_val):
        pairs = zip(names, of_val, strict=False)
        place = next(place for place, (mine, other) in enumerate(pairs) if mine != other)
        message = (
            f"category {place + 1} is {names[place]!r} in {train.path.name} and "
            f"{of_val[place]!r} in {val.path.name}; classes go by their names, but torchvision's "
            "and Detectron2's detectors refuse files whose ids give another order"
        )
        yield Finding("another order", Outcome.COUNTED, 1, names[place], message)


def _images(
    train: Annotations, val: Annotations, train_images: Path | None, val_images: Path | None
) -> Iterable[Finding]:
    if train_images is not None and val_images is not None:
        pairs = _same_files(_files(train, train_images), _files(val, val_images))
        if pairs:
            mine, other = pairs[0]
            message = (
                f"{mine} and {other} are the same picture{_more(pairs)}; what was learned is "
                "measured"
            )
            yield Finding("image in both", Outcome.COUNTED, len(pairs), str(other), message)
        return
    known = set(_identities(train))
    both = [name for name, *size in _identities(val) if (name, *size) in known]
    if both:
        message = (
            f"{both[0]} is listed in both, with the same size{_more(both)}; if it is the same "
            "picture, what was learned is measured (the folders of both say)"
        )
        yield Finding("image in both", Outcome.COUNTED, len(both), both[0], message)


def _more(found: list[Any]) -> str:
    return f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""


def _identities(annotations: Annotations) -> Iterator[tuple[str, Any, Any]]:
    """Yields names and sizes of the images that have a name."""
    for image in annotations.images:
        if isinstance(name := image.get("file_name"), str):
            yield name, str(image.get("width")), str(image.get("height"))


def _files(annotations: Annotations, folder: Path) -> list[Path]:
    found = (folder / name for name, *_ in _identities(annotations))
    return [path for path in found if os.path.isfile(path)]  # noqa: PTH113  # takes any name


def _same_files(first: list[Path], second: list[Path]) -> list[tuple[Path, Path]]:
    """Returns pairs of files with the same bytes; only those of one size are read."""
    of_size = defaultdict(list)
    for path in first:
        of_size[path.stat().st_size].append(path)
    hashes: dict[tuple[int, bytes], Path] = {}
    hashed: set[int] = set()
    pairs = []
    for other in second:
        size = other.stat().st_size
        if size not in of_size:
            continue
        if size not in hashed:
            hashed.add(size)
            hashes |= {(size, _hash(path)): path for path in of_size[size]}
        if (mine := hashes.get((size, _hash(other)))) is not None:
            pairs.append((mine, other))
    return pairs


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
