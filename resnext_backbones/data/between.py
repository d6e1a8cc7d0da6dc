"""Annotation files that belong together are compared: those of a loader, a loader's and its
metric's, training and validation.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnext_backbones.data.annotations import Annotations, read_annotations
from resnext_backbones.data.rules import Finding, Outcome
from resnext_backbones.data.rules.files import BACKGROUND, NOTHING, ONE
from resnext_backbones.errors import InputError, some


def check_learned(files: Iterable[Annotations]) -> None:
    """Raises InputError where none of the files that a network learns from has an object; of
    several some may show background alone.
    """
    learned = [each for each in files if each.use.train]
    if learned and all(BACKGROUND in {f.rule for f in each.findings} for each in learned):
        where = some(f"annotation file {each.path}" for each in learned)
        raise InputError(f"{where}: {'it' if len(learned) == 1 else 'each'} {NOTHING}; {ONE}")


def difference(shown: Annotations, truth: Annotations) -> str:
    """Returns in what the ground truth of a metric is not that of the images that are shown to a
    network, or "" where it is: images, categories and annotations must be the same, by their ids.

    A file of images that have no annotations at all has the truth beside it.
    """
    if shown.digest == truth.digest:
        return ""
    first, second = ({i["id"]: i["file_name"] for i in each.images} for each in (shown, truth))
    if lost := _not_in(first, second):
        return f"lacks {len(lost)} of its images ({lost[0]})"
    if lost := _not_in(second, first):
        return f"has {len(lost)} images ({lost[0]}) that are not shown"
    names, others = ({c["id"]: c["name"] for c in each.categories} for each in (shown, truth))
    if names != others:
        return f"has other categories: {_listed(others, names)} for {_listed(names, others)}"
    if not shown.count:
        return ""
    objects, wanted = (_objects(each) for each in (shown, truth))
    if objects != wanted:
        image_id = next(iter((objects - wanted) + (wanted - objects)))[0]
        return f"has other annotations: {truth.count} for {shown.count}, of image {image_id} first"
    return ""


def _not_in(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> list[str]:
    """Returns the ids and names of images that are in the first file alone."""
    return [f"id {key}, {name}" for key, name in first.items() if second.get(key) != name]


def _listed(names: Mapping[int, str], others: Mapping[int, str]) -> str:
    return some(f"{id_} {name!r}" for id_, name in names.items() if others.get(id_) != name)


def _objects(annotations: Annotations) -> Counter[tuple[Any, ...]]:
    return Counter(
        (a["image_id"], a["category_id"], a["iscrowd"], *a["bbox"])
        for a in annotations.content["annotations"]
    )


def check_truth(setting: str, path: Path, shown: Annotations) -> None:
    """Checks that a metric's ground truth is that of the images that its loader shows.

    Args:
        setting: names the metric's file in messages.
        path: the file.

    Raises:
        InputError: there is no such file, it cannot be used, or is of others.
    """
    if not path.is_file():
        raise InputError(f"{setting} {path}: there is no such file; name the ground truth")
    if path.samefile(shown.path):
        return
    if found := difference(shown, read_annotations(path, shown.use)):
        raise InputError(
            f"{setting} {path}: is not of the images that the loader shows, those of {shown.path}: "
            f"{found}; name one file in both"
        )


def check_same_names(places: Mapping[str, Sequence[str]], so: str) -> None:
    """Raises InputError where two places name other classes, or the same in another order: a
    network numbers them in the order of one, and is scored by that of the other.

    Args:
        places: what names them, and the names; those without any are left out.
        so: what to do.
    """
    named = {place: tuple(names) for place, names in places.items() if names}
    first, *others = named or [""]
    for other in others:
        if named[other] != named[first]:
            lost = sorted(set(named[first]) ^ set(named[other]))
            what = f"differ in {some(lost)}" if lost else "are in another order"
            raise InputError(
                f"classes of {first} ({some(named[first])}) and of {other} "
                f"({some(named[other])}) {what}; {so}"
            )


def warn_of_both(train: Iterable[Path], val: Iterable[Path], warn: Callable[[str], None]) -> None:
    """Warns of image files that are trained on and evaluated with, by their paths."""
    known = {path.absolute() for path in train}
    if twice := [str(path) for path in val if path.absolute() in known]:
        warn(
            f"{len(twice)} images are trained on and evaluated with ({some(twice)}): the metrics "
            "do not say then how it is on others"
        )


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


def _categories(train: Annotations, val: Annotations) -> Iterator[Finding]:
    both: list[list[Any]] = [[c.get("name") for c in each.categories] for each in (train, val)]
    names, of_val = both
    if not all(type(name) is str for name in (*names, *of_val)):
        return  # which is refused in the file itself
    here, there = train.path.name, val.path.name
    if absent := [name for name in of_val if name not in names]:
        message = (
            f"{there} has categories that {here} lacks: {some(absent)}; nothing learns them, and "
            "each counts with an AP of 0"
        )
        yield Finding("category not learned", Outcome.REFUSED, len(absent), absent[0], message)
    if absent := [name for name in names if name not in of_val]:
        message = f"{here} has categories that {there} lacks: {some(absent)}; they are not measured"
        yield Finding("category not measured", Outcome.COUNTED, len(absent), absent[0], message)
    if names != of_val and sorted(names) == sorted(of_val):
        place = next(p for p, name in enumerate(names) if name != of_val[p])
        message = (
            f"category {place + 1} is {names[place]!r} in {here} and {of_val[place]!r} in {there}; "
            "classes go by their names, but torchvision's and Detectron2's detectors refuse files "
            "whose ids give another order"
        )
        yield Finding("another order", Outcome.COUNTED, 1, names[place], message)


def _images(
    train: Annotations, val: Annotations, train_images: Path | None, val_images: Path | None
) -> Iterator[Finding]:
    if train_images is not None and val_images is not None:
        pairs = _same_files(_files(train, train_images), _files(val, val_images))
        found = [(f"{mine} and {other} are the same picture", str(other)) for mine, other in pairs]
        so = "what was learned is measured"
    else:
        known = set(_identities(train))
        both = [name for name, *size in _identities(val) if (name, *size) in known]
        found = [(f"{name} is listed in both, with the same size", name) for name in both]
        so = "if it is the same picture, what was learned is measured (the folders of both say)"
    if found:
        says, first = found[0]
        more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
        yield Finding("image in both", Outcome.COUNTED, len(found), first, f"{says}{more}; {so}")


def _identities(annotations: Annotations) -> Iterator[tuple[str, str, str]]:
    """Yields names and sizes of the images that have a name."""
    for image in annotations.images:
        if isinstance(name := image.get("file_name"), str):
            yield name, str(image.get("width")), str(image.get("height"))


def _files(annotations: Annotations, folder: Path) -> dict[Path, int]:
    """Returns the files of images, and their sizes in bytes."""
    paths = (folder / name for name, *_ in _identities(annotations))
    return {p: p.stat().st_size for p in paths if os.path.isfile(p)}  # noqa: PTH113  # any name


def _same_files(first: Mapping[Path, int], second: Mapping[Path, int]) -> list[tuple[Path, Path]]:
    """Returns pairs of files with the same bytes; only those whose size both have are read."""
    shared = set(first.values()) & set(second.values())
    hashes = {_hash(path): path for path, size in first.items() if size in shared}
    found = ((hashes.get(_hash(path)), path) for path, size in second.items() if size in shared)
    return [(mine, other) for mine, other in found if mine is not None]


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
