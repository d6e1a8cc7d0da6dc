"""Labelled images are listed here as people have them on their disks; or an InputError says why
they cannot be.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension, make_dataset

from resnext_backbones.data.find_images import is_left_over, said_of_left_over
from resnext_backbones.data.pixels import open_image
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.errors import InputError, some


@dataclass(frozen=True)
class Images:
    """Images have the number of a class each.

    Attributes:
        classes: names, by number.
        labels, names: of each image; the names are for messages.
        open: returns the image of an index, in RGB; InputError: it cannot be read.
    """

    classes: Sequence[str]
    labels: Sequence[int]
    names: Sequence[str]
    open: Callable[[int], Image.Image]

    def __len__(self) -> int:
        return len(self.labels)


def read_class_list(path: str | Path) -> list[str]:
    """Returns the classes that a file names, each by the first word of a line, none twice."""
    if not Path(path).is_file():
        raise InputError(f"class list {path}: there is no such file")
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    classes = [line.split()[0] for line in lines if line.strip()]
    if twice := sorted(name for name, count in Counter(classes).items() if count > 1):
        raise InputError(f"class list {path}: names {', '.join(twice[:5])} twice")
    return classes


def folder_a_class(root: str | Path, classes: Sequence[str] | None = None) -> Images:
    """Returns the images of a folder with a folder for each class, at any depth within it: of the
    classes by their numbers, or of all, sorted. None may be empty, or InputError is raised.
    """
    if not Path(root).is_dir():
        raise InputError(f"images {root}: there is no such folder")
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    present = [name for name in folders if not is_left_over(name)]
    left = [name for name in folders if is_left_over(name)]
    wanted = present if classes is None else list(classes)
    if not wanted:
        raise InputError(f"images {root}: has no folder for a class")
    if missing := sorted(set(wanted) - set(present)):
        raise InputError(f"images {root}: has no folder for {some(missing)}")
    numbers = {name: number for number, name in enumerate(wanted)}

    def is_image(file: str) -> bool:
        if not has_file_allowed_extension(file, IMG_EXTENSIONS):
            return False
        name = os.path.relpath(file, root)
        if is_left_over(name):
            left.append(name)
        return not is_left_over(name)

    samples = make_dataset(str(root), numbers, is_valid_file=is_image, allow_empty=True)
    if left:
        log_warning(f"images {root}: {said_of_left_over(left)}")
    files, labels = [file for file, _ in samples], [label for _, label in samples]
    if empty := set(numbers.values()) - set(labels):
        raise InputError(f"images {root}: no image of {some(wanted[n] for n in sorted(empty))}")
    return Images(wanted, labels, files, lambda index: open_image(files[index]))


def flat_folder(
    root: str | Path,
    ground_truth: str | Path,
    class_list: str | Path | None = None,
    counted: str | Path | None = None,
) -> Images:
    """Returns the images of one folder whose classes a list says: ImageNet's validation images.

    Args:
        ground_truth: a class for each image in the order of their names, one a line: its name, or
            its number counted from 1 as in ILSVRC2012_validation_ground_truth.txt.
        class_list: of `read_class_list`, in the order of the classes' numbers; None sorts those of
            `counted`, as folders are.
        counted: of `read_class_list`, in the order that the ground truth counts in, which
            ImageNet's development kit says and is not the sorted one; None is that of `class_list`.
    """
    root, path, first = Path(root), Path(ground_truth), counted or class_list
    if not root.is_dir():
        raise InputError(f"images {root}: there is no such folder")
    if not path.is_file():
        raise InputError(f"ground truth {path}: there is no such file")
    if first is None:
        raise InputError(
            f"ground truth {path}: needs ground_truth_classes, which names the classes in the "
            "order that it counts them in"
        )
    order = read_class_list(first)
    classes = read_class_list(class_list) if class_list else sorted(order)
    if lost := sorted(set(order) ^ set(classes)):
        raise InputError(f"class list {class_list} and {counted} differ: {some(lost)}")
    names = [path.name for path in root.iterdir() if path.suffix.lower() in IMG_EXTENSIONS]
    files = sorted(root / name for name in names if not is_left_over(name))
    if left := [name for name in names if is_left_over(name)]:
        log_warning(f"images {root}: {said_of_left_over(left)}")
    lines = path.read_text(encoding="utf-8").split()
    if len(lines) != len(files):
        raise InputError(f"ground truth {path}: has {len(lines)} lines for {len(files)} images")
    numbers = {name: number for number, name in enumerate(classes)}
    numbers |= {str(count): numbers[name] for count, name in enumerate(order, 1)}
    if unknown := sorted(set(lines) - numbers.keys()):
        raise InputError(f"ground truth {path}: classes that are not known: {some(unknown)}")
    labels = [numbers[line] for line in lines]
    return Images(classes, labels, list(map(str, files)), lambda index: open_image(files[index]))


CIFAR: dict[str, Any] = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def cifar(root: str | Path, kind: str, *, train: bool) -> Images:
    """Returns a data set of `CIFAR` as torchvision stores it, or as train/ and test/ by class."""
    part = "train" if train else "test"
    if (Path(root) / part).is_dir():
        return folder_a_class(Path(root) / part)
    try:
        stored = CIFAR[kind](root, train=train)
    except RuntimeError as error:
        raise InputError(
            f"images {root}: neither torchvision's {kind.replace('cifar', 'CIFAR-')} ({error}) nor "
            f"{part}/ with a folder a class"
        ) from error
    names = [f"{root}, {part} image {number}" for number in range(len(stored))]
    return Images(stored.classes, stored.targets, names, lambda n: Image.fromarray(stored.data[n]))
