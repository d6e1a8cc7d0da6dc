"""Labelled images are listed here as people have them on their disks; or an InputError says why
they cannot be.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
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


def read_class_list(path: str | Path, folders: Collection[str] = ()) -> list[str]:
    """Returns the classes that a file names, none twice: each by a line that is one of these
    folders' names, or else by its first word.
    """
    if not Path(path).is_file():
        raise InputError(f"class list {path}: there is no such file")
    lines = map(str.strip, Path(path).read_text(encoding="utf-8").splitlines())
    classes = [line if line in folders else line.split()[0] for line in lines if line]
    if twice := sorted(name for name, count in Counter(classes).items() if count > 1):
        raise InputError(f"class list {path}: names {', '.join(twice[:5])} twice")
    return classes


def folder_a_class(root: str | Path, class_list: str | Path | None = None) -> Images:
    """Returns the images of a folder with a folder for each class, at any depth within it: of the
    classes of `read_class_list` by their numbers, or of all, sorted. None may be empty, or
    InputError is raised.
    """
    if not Path(root).is_dir():
        raise InputError(f"images {root}: there is no such folder")
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    present = [name for name in folders if not is_left_over(name)]
    left = [name for name in folders if is_left_over(name)]
    wanted = read_class_list(class_list, present) if class_list else present
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
    by_name = {name: number for number, name in enumerate(classes)}
    by_count = {str(count): by_name[name] for count, name in enumerate(order, 1)}
    numbers = by_name | by_count
    if any(by_count.get(name, number) != number for name, number in by_name.items()):
        # Names are numbers as well, and only one that the others lack tells what the lines are.
        fitting = [each for each in (by_name, by_count) if set(lines) <= each.keys()]
        if len(fitting) > 1:
            raise InputError(
                f"ground truth {path}: its lines may be names of classes, which are numbers, or "
                "count them from 1; put the images into a folder for each class"
            )
        numbers = fitting[0] if fitting else by_name
    if unknown := sorted(set(lines) - numbers.keys()):
        raise InputError(f"ground truth {path}: classes that are not known: {some(unknown)}")
    labels = [numbers[line] for line in lines]
    return Images(classes, labels, list(map(str, files)), lambda index: open_image(files[index]))


CIFAR: dict[str, Any] = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def cifar(
    root: str | Path, kind: str, *, train: bool, class_list: str | Path | None = None
) -> Images:
    """Returns a data set of `CIFAR` as torchvision stores it, with all of its classes, or as train/
    and test/ by class, as `folder_a_class`.
    """
    part = "train" if train else "test"
    if (Path(root) / part).is_dir():
        return folder_a_class(Path(root) / part, class_list)
    if class_list:
        raise InputError(
            f"class list {class_list}: chooses among folders, and {root} has no {part}/ with a "
            "folder a class; leave it out"
        )
    try:
        stored = CIFAR[kind](root, train=train)
    except RuntimeError as error:
        raise InputError(
            f"images {root}: neither torchvision's {kind.replace('cifar', 'CIFAR-')} ({error}) nor "
            f"{part}/ with a folder a class"
        ) from error
    names = [f"{root}, {part} image {number}" for number in range(len(stored))]
    return Images(stored.classes, stored.targets, names, lambda n: Image.fromarray(stored.data[n]))
