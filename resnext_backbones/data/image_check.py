"""The images of an annotation file are looked for, and looked at, in their folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnext_backbones.data.pixels import image_header, read_image
from resnext_backbones.data.rules import Finding, Outcome
from resnext_backbones.errors import InputError

Image = dict[str, Any]
Progress = Callable[[Sequence[Image]], Iterable[Image]]

KINDS: dict[str, tuple[Outcome, str]] = {
    "image missing": (Outcome.REFUSED, "add it, or take it out of the annotations"),
    "image unreadable": (Outcome.REFUSED, "mend the file, or take it out of the annotations"),
    "image of another size": (
        Outcome.REFUSED,
        "its boxes would lie elsewhere; take the images that were annotated",
    ),
    "image as stored": (
        Outcome.COUNTED,
        "its EXIF data turns it, and its annotations are for what is stored, which is taken",
    ),
    "file not listed": (Outcome.COUNTED, "it lies beside the images and is not used"),
}
"""What can be wrong with a file: what becomes of it, and what to do."""


@dataclass
class _Found:
    count: int = 0
    first: str = ""
    said: str = ""


@dataclass
class _Account:
    kinds: dict[str, _Found] = field(default_factory=dict)

    def add(self, kind: str, path: Path, said: str) -> None:
        found = self.kinds.setdefault(kind, _Found(first=str(path), said=said))
        found.count += 1

    def findings(self) -> tuple[Finding, ...]:
        return tuple(_finding(kind, self.kinds[kind]) for kind in KINDS if kind in self.kinds)


def _finding(kind: str, found: _Found) -> Finding:
    outcome, so = KINDS[kind]
    others = f" (and {found.count - 1:,} more)" if found.count > 1 else ""
    return Finding(kind, outcome, found.count, found.first, f"{found.said}{others}; {so}")


def check_images_of(
    images: Sequence[Image],
    folder: Path,
    *,
    decode: bool = False,
    progress: Progress = lambda images: images,
) -> tuple[Finding, ...]:
    """Returns what is wrong with the files of images, by their headers.

    Args:
        images: with `file_name`, `width` and `height`, as the annotations list them.
        folder: that names begin at.
        decode: reads all of every file, which finds what is cut off or has holes.
        progress: wraps the images as they are looked at.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"images {folder}: there is no such folder")
    account = _Account()
    named = [image for image in images if isinstance(image.get("file_name"), str)]
    present = _files_beside(folder / image["file_name"] for image in named)
    listed = set()
    for image in progress(named):
        path = folder / image["file_name"]
        listed.add(path)
        if path in present:
            _look_at(path, image, decode, account)
        else:
            account.add("image missing", path, f"{path} is not there")
    for path in sorted(path for path in present - listed if path.is_relative_to(folder)):
        account.add("file not listed", path, f"{path} is in no list")
    return account.findings()


def _files_beside(paths: Iterable[Path]) -> set[Path]:
    """Returns all files in the folders of these; one listing a folder, as there can be 100,000."""
    return {file for parent in {path.parent for path in paths} for file in _files_in(parent)}


def _files_in(folder: Path) -> list[Path]:
    try:
        found = [p for p in folder.iterdir() if not p.name.startswith(".")]
    except (OSError, ValueError):  # as a name in a damaged file leads to
        return []
    return [path for path in found if not path.is_dir()]


def _look_at(path: Path, image: Image, decode: bool, account: _Account) -> None:
    size = (image.get("width"), image.get("height"))
    try:
        header = image_header(path)
    except InputError as error:
        account.add("image unreadable", path, str(error))
        return
    if size not in (header.turned, header.size):
        width, height = header.turned
        said = (
            f"{path} has {width} x {height} pixels, and its annotations say {size[0]} x {size[1]}"
        )
        account.add("image of another size", path, said)
        return
    if size != header.turned:
        account.add("image as stored", path, f"{path} is {size[0]} x {size[1]} as stored")
    if decode:
        try:
            read_image(path, size=size)
        except InputError as error:
            account.add("image unreadable", path, str(error))
