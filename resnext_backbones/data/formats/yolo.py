"""YOLO's labels: a text file for each image, whose numbers are fractions of the image's sides.

A line is a class and a box (centre, width, height), or a class and a polygon; names of classes and
folders of images stand in data.yaml, as Ultralytics has it, or in classes.txt beside the labels, as
LabelImg writes them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from supervision.dataset.formats.yolo import yolo_annotations_to_detections

from resnext_backbones.data.find_images import find_images, known_by
from resnext_backbones.data.formats.labels import (
    Account,
    LabelledImage,
    LabelledObject,
    Make,
    Source,
    box_of,
    read_classes,
    read_labels,
    read_text,
    rounded,
)
from resnext_backbones.errors import InputError, some

FRACTIONS = (-1.0, 2.0)
"""What lies outside of these is not a fraction of an image, but pixels."""

VISIBLE = 2
"""Keypoints have this for being seen; no polygon has a corner two images away."""

CLASSES = "classes.txt"
"""A file of this name beside the labels has the names."""

Classes = dict[int, str]


def read(source: Source, account: Account) -> tuple[tuple[str, ...], Iterator[LabelledImage]]:
    """Returns the names of the classes, and the images one by one."""
    config = _find_config(source)
    if config is None:
        folder = known_by(_folder(source.path))
        beside = folder / CLASSES
        listed = read_classes(beside) if beside.is_file() else source.classes or ()
        classes, keypoints = dict(enumerate(listed)), 0
        roots, labels = [source.images or folder], folder
    else:
        content = _read_config(config)
        classes = _classes(config, content, source.classes or ())
        keypoints = _keypoints(config, content)
        roots = [source.images] if source.images else _image_roots(config, content, source.split)
        labels = None
    make = partial(_object, classes=classes, keypoints=keypoints, account=account)
    names = source.classes or tuple(classes.values())
    return names, _images(_pairs(roots, labels), make, source, account)


def _find_config(source: Source) -> Path | None:
    """Returns the data.yaml, or None where there are names in place of it."""
    path = source.path
    if path.is_file():
        return path
    found = [p for p in sorted(_folder(path).glob("*.y*ml")) if "names:" in read_text(p)]
    if len(found) > 1:
        raise InputError(f"{path}: has several files with names of classes; give one: {found}")
    if not found and not source.classes and not (path / CLASSES).is_file():
        raise InputError(
            f"{path}: has neither data.yaml nor classes.txt; name the file, or say with --classes "
            "which file lists the names"
        )
    return found[0] if found else None


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(f"{path}: there is no such file or folder")
    return path


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a table with `names`, `train` and `val`")
    return content


def _classes(path: Path, content: dict[str, Any], given: tuple[str, ...]) -> Classes:
    """Returns the names by number: the file's own, or those that are given where it has none."""
    names = content.get("names") or list(given)
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    listed = numbered.items() if isinstance(numbered, dict) else ()
    # YAML takes no, yes, on and off for truths.
    fit = [
        str(number).isdecimal() and isinstance(name, str | int) and not isinstance(name, bool)
        for number, name in listed
    ]
    if not (fit and all(fit)):
        raise InputError(
            f"{path}: `names` is {names!r}; use a list, or numbers with names, and quote words "
            "such as no"
        )
    classes = {int(number): str(name) for number, name in listed}
    if "nc" in content and content["nc"] != len(classes):
        raise InputError(f"{path}: says nc: {content['nc']}, and has {len(classes)} names")
    if doubles := [name for name, count in Counter(classes.values()).items() if count > 1]:
        raise InputError(f"{path}: `names` has {doubles[0]!r} more than once")
    return dict(sorted(classes.items()))


def _keypoints(path: Path, content: dict[str, Any]) -> int:
    """Returns how many numbers of keypoints stand behind a box."""
    shape = content.get("kpt_shape", [0, 0])
    try:
        count, each = (int(n) for n in shape)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: `kpt_shape` is {shape!r}; use two numbers") from error
    return count * each


def _image_roots(path: Path, content: dict[str, Any], split: str | None) -> list[Path]:
    """Returns the folders, or lists of images, of a split."""
    name = split or "train"
    if not (entry := content.get(name)):
        known = [key for key in ("train", "val", "valid", "test") if content.get(key)]
        raise InputError(f"{path}: has no split {name!r}; --split takes {' or '.join(known)}")
    root = path.parent / str(content.get("path") or "")
    found = []
    for part in map(str, entry if isinstance(entry, list) else [entry]):
        # Roboflow's exports begin with a `..` too many.
        places = (root / part, path.parent / part, path.parent / part.removeprefix("../"))
        place = next((place for place in places if place.exists()), None)
        if place is None:
            raise InputError(
                f"{path}: {name} is {part}, and there is no {places[0]}; IMAGES names the folder"
            )
        found.append(place)
    return found


def _pairs(roots: list[Path], labels: Path | None) -> list[tuple[Path, Path]]:
    """Returns the images, each with the file of its labels, which need not be there."""
    images = [image for root in roots for image in _listed(root)]
    if labels is None:
        return [(image, _label_file(image)) for image in images]
    (root,) = roots
    return [(image, labels / image.relative_to(root).with_suffix(".txt")) for image in images]


def _listed(root: Path) -> list[Path]:
    if root.suffix == ".txt":
        lines = (line.strip() for line in read_text(root).splitlines())
        return [root.parent / line for line in lines if line]
    root = known_by(root)
    found = find_images([str(root)])
    inner = found.root.relative_to(root.absolute()) if found.root != root.absolute() else Path()
    return sorted(root / inner / name for name in found.names)


def _label_file(image: Path) -> Path:
    """Returns where Ultralytics looks for labels: below `labels` in place of the last `images`."""
    parts = list(image.parts[:-1])
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, image.name).with_suffix(".txt")


def _images(
    pairs: list[tuple[Path, Path]], make: Make, source: Source, account: Account
) -> Iterator[LabelledImage]:
    owners: dict[Path, Path] = {}
    for image, labels in pairs:
        if labels in owners:
            account.problem(str(labels), f"is of two images, {owners[labels]} and {image}")
        owners[labels] = image
        if not image.is_file():
            account.problem(str(image), "there is no such image")
        elif (size := account.size_of(image)) is not None:
            objects = read_labels(_lines(labels, account), make, size, source, account)
            yield LabelledImage(image, size, objects)
    for folder in dict.fromkeys(labels.parent for labels in owners):
        for path in sorted(folder.glob("*.txt")):
            if path not in owners and _are_labels(path):
                account.problem(str(path), "there is no image of these labels")


def _are_labels(path: Path) -> bool:
    """Says whether a text file holds labels, not names of classes, notes or lists of images."""
    first = read_text(path).lstrip().partition("\n")[0].split()
    return len(first) > 4 and first[0].replace(".", "").isdigit()


def _lines(path: Path, account: Account) -> list[tuple[str, list[str]]]:
    """Returns the words of each line of a file, which need not be there, and where it is."""
    if not path.is_file():
        account.notice("image without a label file: taken as one without objects", str(path))
        return []
    try:
        lines = enumerate(read_text(path).splitlines(), 1)
    except InputError as error:
        account.problems.append(str(error))
        return []
    found = [(f"{path} line {number}", line.split()) for number, line in lines if line.strip()]
    account.labels += len(found)
    return found


def _object(
    words: list[str],
    where: str,
    size: tuple[int, int],
    classes: Classes,
    keypoints: int,
    account: Account,
) -> LabelledObject:
    if keypoints and len(words) == 5 + keypoints:
        account.notice("keypoints behind a box: left out, the box is kept", where)
        words = words[:5]
    elif len(words) == 6:
        float(words.pop())
        account.notice("a number behind a box, as of predictions: left out", where)
    elif len(words) > 6 and len(words) % 2 == 0:
        raise ValueError(f"its {len(words) - 1} coordinates are no pairs of x and y")
    elif len(words) > 6 and any(float(word) == VISIBLE for word in words[5:]):
        raise ValueError(
            f"has {VISIBLE} among its numbers, as keypoints have that are seen; say how many there "
            "are of them, as data.yaml's `kpt_shape`"
        )
    # The library says what is wrong, and reads classes and boxes in all ways that people write.
    read = yolo_annotations_to_detections([" ".join(words)], size, with_masks=False)
    numbers, number = [float(word) for word in words[1:]], int(read.class_id[0])
    low, high = FRACTIONS
    if wrong := [v for v in numbers if not (math.isfinite(v) and low <= v <= high)]:
        raise ValueError(f"{wrong[0]:g} is no fraction of the image; use numbers from 0 to 1")
    if number not in classes:
        raise ValueError(
            f"class {number} has no name; those with names are {some(map(str, classes))}"
        )
    outline = rounded(v * size[i % 2] for i, v in enumerate(numbers))
    polygons = [outline] if len(numbers) > 4 else []
    return LabelledObject(classes[number], box_of(*read.xyxy[0]), polygons)
