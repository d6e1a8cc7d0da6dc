"""What a format says of an image: its objects, and an account of all that its files hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnext_backbones.data.pixels import image_header
from resnext_backbones.errors import InputError

DECIMALS = 4  # of a pixel: formats have at most six decimals of an image's side


@dataclass
class LabelledObject:
    """Holds an object of an image, in its pixels."""

    category: str
    box: list[float]  # left, top, width, height
    polygons: list[list[float]] = field(default_factory=list)  # each x, y, x, y, ...
    mask: np.ndarray | None = None  # bool (H, W), where it is not polygons
    crowd: bool = False  # not to be trained on, nor scored
    others: dict[str, Any] = field(default_factory=dict)  # goes into the annotation as it is
    group: Any = None  # parts of one object have its category and its group

    def add(self, other: LabelledObject) -> None:
        """Takes another part of the same object."""
        (x, y, w, h), (x2, y2, w2, h2) = self.box, other.box
        left, top = min(x, x2), min(y, y2)
        self.box = [left, top, max(x + w, x2 + w2) - left, max(y + h, y2 + h2) - top]
        self.polygons += other.polygons
        if other.mask is not None:
            self.mask = other.mask if self.mask is None else self.mask | other.mask


@dataclass
class LabelledImage:
    file: Path
    size: tuple[int, int]  # width and height in pixels, that the objects are in
    objects: list[LabelledObject]


@dataclass
class Account:
    """Says what was read, and what became of it: labels are objects, parts of one, or left out."""

    labels: int = 0
    objects: int = 0
    joined: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # labels, by the reason
    noticed: Counter[str] = field(default_factory=Counter)  # what is odd and was kept
    first: dict[str, str] = field(default_factory=dict)  # where each reason was met first
    problems: list[str] = field(default_factory=list)  # nothing is written where there are any

    def leave_out(self, reason: str, where: str) -> None:
        self.left_out[reason] += 1
        self.first.setdefault(reason, where)

    def notice(self, what: str, where: str) -> None:
        self.noticed[what] += 1
        self.first.setdefault(what, where)

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")

    def size_of(
        self, path: Path, said: tuple[Any, Any] = (None, None), by: Path | None = None
    ) -> tuple[int, int] | None:
        """Returns the width and height of an image that its labels are for: as it is shown, or as
        it lies in its file, where the size that is `said` by a file tells so.

        None, and a problem: it has none, or another one.
        """
        try:
            stored = image_header(path)
        except InputError as error:
            self.problems.append(str(error))
            return None
        if by is None:
            return stored.turned
        if not all(said):
            self.notice(f"no size in the {by.suffix[1:].upper()}: the image's own", str(by))
            return stored.turned
        if said not in (stored.turned, stored.size):
            says, has = (f"{width} x {height}" for width, height in (said, stored.turned))
            self.problem(str(by), f"says {says} pixels, and the image has {has}")
            return None
        if said != stored.turned:
            self.notice("image labelled as it lies in its file, not as EXIF turns it", str(by))
        return said

    def check(self, limit: int = 5) -> None:
        """Raises InputError where there are problems, which names the first of them."""
        if self.problems:
            count, shown = len(self.problems), self.problems[:limit]
            more = f"\n... and {count - limit} more" if count > limit else ""
            raise InputError("\n".join(shown) + more)
        accounted = self.objects + self.joined + self.left_out.total()
        if accounted != self.labels:
            raise AssertionError(f"{self.labels} labels were read, {accounted} are accounted for")


@dataclass(frozen=True)
class Source:
    """Says where the labels of a data set are, in the words of the command line."""

    path: Path
    images: Path | None = None  # the folder; None: where the format has it
    split: str | None = None
    classes: tuple[str, ...] | None = None  # None: the format's, or all that occur


class Labels(NamedTuple):
    """Holds what a file says of one image."""

    labels: list[tuple[str, Any]]  # where each is, for messages, and what is there
    image: Path | None  # None: there is none, and a problem
    size: tuple[Any, Any]  # width and height; 0 or None where they are not said


Make = Callable[[Any, str, tuple[int, int]], LabelledObject | None]
"""Returns the object of a label that is there, in an image of a width and a height; None: it was
left out. ValueError says what is wrong with it.
"""


def read_files(
    files: Iterable[Path],
    read: Callable[[Path], Labels | None],
    make: Make,
    source: Source,
    account: Account,
) -> Iterator[LabelledImage]:
    """Yields the images of files that have the labels of one image each; `read` returns what a file
    says, or None: it is not of this format, or a problem.
    """
    owners: dict[Path, Path] = {}
    for path in files:
        found = read(path)
        if found is None:
            continue
        account.labels += len(found.labels)
        if found.image is None:
            continue
        if found.image in owners:
            owner = owners[found.image]
            account.problem(str(path), f"is of {found.image}, as {owner} is; keep one of them")
        elif size := account.size_of(found.image, found.size, path):
            owners[found.image] = path
            objects = read_labels(found.labels, make, size, source, account)
            yield LabelledImage(found.image, size, objects)


def read_labels(
    labels: Iterable[tuple[str, Any]],
    make: Make,
    size: tuple[int, int],
    source: Source,
    account: Account,
) -> list[LabelledObject]:
    """Returns the objects of an image; what is wrong with a label is a problem."""
    objects: dict[Any, LabelledObject] = {}
    for where, label in labels:
        try:
            if (found := make(label, where, size)) is None:
                continue
            if source.classes and found.category not in source.classes:
                raise ValueError(f"its class {found.category!r} is not listed")
        except (ValueError, OverflowError) as error:
            account.problem(where, str(error))
            continue
        key = where if found.group is None else (found.category, str(found.group))
        if key in objects:
            objects[key].add(found)
            account.joined += 1
        else:
            objects[key] = found
    return list(objects.values())


def rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), DECIMALS) for value in values]


def box_of(left: float, top: float, right: float, bottom: float) -> list[float]:
    return rounded((left, top, right - left, bottom - top))


def corners_of(cx: float, cy: float, width: float, height: float, angle: float) -> list[float]:
    """Returns the corners of a box that is turned by an angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    halves = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    turned = [(dx * width / 2, dy * height / 2) for dx, dy in halves]
    return rounded(v for x, y in turned for v in (cx + x * cos - y * sin, cy + x * sin + y * cos))


def around(polygon: Sequence[float]) -> list[float]:
    """Returns the box around a polygon."""
    xs, ys = polygon[::2], polygon[1::2]
    return box_of(min(xs), min(ys), max(xs), max(ys))


def check_place(box: Sequence[float], size: tuple[int, int]) -> None:
    """Raises ValueError where a box ends more than an image's side away from the image."""
    for start, length, side in zip(box[:2], box[2:], size, strict=True):
        if not (-side <= start and start + length <= 2 * side):
            where = f"{start:g} to {start + length:g}"
            raise ValueError(f"is from {where}, far outside the image of {size[0]} x {size[1]}")


def read_classes(path: Path) -> tuple[str, ...]:
    """Returns the names in a file that has one on each line."""
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise InputError(f"classes {path}: is empty; write one name on each line")
    if doubles := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"classes {path}: has {doubles[0]!r} more than once")
    return names


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from error
