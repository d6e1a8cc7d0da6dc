"""Annotation files that belong together are compared: a loader's and its metric's, training and
validation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnext_backbones.data.annotations import Annotations, read_annotations
from resnext_backbones.errors import InputError, some


def difference(shown: Annotations, truth: Annotations) -> str:
    """Returns in what the ground truth of a metric is not that of the images that are shown to a
    network, or "" where it is: images, categories and annotations must be the same, by their ids.

    A file of images that have no annotations at all has the truth beside it.
    """
    if shown.digest == truth.digest:
        return ""
    first, second = ({i["id"]: i["file_name"] for i in each.images} for each in (shown, truth))
    if found := _not_in(first, second, "its images"):
        return f"lacks {found}"
    if found := _not_in(second, first, "images"):
        return f"has {found} that are not shown"
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


def _not_in(first: Mapping[Any, Any], second: Mapping[Any, Any], what: str) -> str:
    lost = [key for key, name in first.items() if second.get(key) != name]
    return f"{len(lost)} {what} (id {lost[0]}, {first[lost[0]]})" if lost else ""


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
