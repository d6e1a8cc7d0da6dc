"""The images of an annotation file are looked for, and looked at, before they are used."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from resnext_backbones.data.pixels import image_header, read_image
from resnext_backbones.data.rules.rule import COUNTED, REFUSED, Finding, Outcome
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.errors import InputError, some

Image = Mapping[str, Any]
Listed = list[tuple[Image, Path]]
Progress = Callable[[Sequence[Listed]], Iterable[Listed]]

SECONDS = 60.0
"""What is not compared by then is compared as it is read."""

THREADS, PART = 16, 256
"""Files on a network are waited for side by side."""

DECODERS = 4
"""So many images are held at once; each may have a quarter of a gigabyte."""


class Kind(NamedTuple):
    """Says what can be wrong with images, of how many of how many, and what to do."""

    rule: str
    outcome: Outcome
    says: str
    so: str = ""


KINDS = MISSING, UNREAD, UNLIKE, UNTURNED, UNSURE, UNLISTED = (
    Kind("image missing", REFUSED, "{} of its {} images are missing",
         "; add them, or take them out of the annotations"),
    Kind("image unreadable", REFUSED, "{} of its {} images cannot be read",
         "; mend the files, or take them out of the annotations"),
    Kind("image of another size", REFUSED, "{} of its {} images are of other sizes than it says",
         "; take the images that were annotated, or scale boxes, masks and sizes with them"),
    Kind("image as it lies in its file", COUNTED,
         "{} of its {} images are annotated as they lie in their files, and are not turned by "
         "EXIF"),
    Kind("image turned to the same size", COUNTED,
         "{} of its {} images are turned by EXIF to the same size",
         "; if they were annotated without that, take the tag out of the files"),
    Kind("file not listed", COUNTED, "{} files lie beside its {} images, and are not used"),
)  # fmt: skip
"""In the order in which they are said."""

Faults = Mapping[Kind, list[str]]


def check_images(
    path: Path,
    images: Sequence[Image],
    folder: Path,
    *,
    seconds: float = SECONDS,
    warn: Callable[[str], None] = log_warning,
) -> None:
    """Checks that every image is there, and has the size that its annotation file says; warns where
    that says less than is needed of those that EXIF turns.

    Args:
        path: of the annotation file, for messages.
        images: as it lists them; those without a `file_name` are left out.
        folder: that the names are in.
        seconds: that the comparison may take.

    Raises:
        InputError: an image is missing, of another size, or has no header.
    """
    listed, missing, _ = _find(images, folder)
    faults, done = _look([] if missing else listed, end=time.monotonic() + seconds)
    for finding in _findings({MISSING: missing, **faults}, len(images)):
        message = f"annotation file {path}: {finding.message}"
        if finding.outcome is Outcome.REFUSED:
            raise InputError(message)
        warn(message)
    if done < len(listed):
        warn(
            f"annotation file {path}: {done} of its {len(images)} images have the sizes that it "
            f"says; {seconds:.0f} s were not enough for the others, which are compared as they are "
            "read"
        )


def check_images_of(
    images: Sequence[Image],
    folder: Path,
    *,
    decode: bool = False,
    progress: Progress = lambda parts: parts,
) -> tuple[Finding, ...]:
    """Returns all that is wrong with the files of images, by their headers.

    Args:
        images: as an annotation file lists them.
        folder: that names begin at.
        decode: reads all of every file, which finds what is cut off or has holes.
        progress: wraps parts of the images as they are looked at.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"images {folder}: there is no such folder")
    listed, missing, others = _find(images, folder)
    faults, _ = _look(listed, decode=decode, progress=progress)
    return tuple(_findings({MISSING: missing, **faults, UNLISTED: others}, len(images)))


def _findings(faults: Faults, count: int) -> Iterator[Finding]:
    for kind in KINDS:
        if texts := faults.get(kind):
            message = f"{kind.says.format(len(texts), count)}: {some(texts, 3)}{kind.so}"
            yield Finding(kind.rule, kind.outcome, len(texts), texts[0], message)


def _find(images: Iterable[Image], folder: Path) -> tuple[Listed, list[str], list[str]]:
    """Returns the images that are there, with their paths, those that are not, and other files."""
    # LVIS names its images by their address.
    named = [(i, folder / i["file_name"]) for i in images if isinstance(i.get("file_name"), str)]
    paths = {path for _, path in named}
    # One listing a folder, as there can be 100,000 images.
    present = {file for parent in {path.parent for path in paths} for file in _files_in(parent)}
    others = [p for p in present - paths if p.is_relative_to(folder) and p.name[0] != "."]
    return (
        [(image, path) for image, path in named if path in present],
        sorted(map(str, paths - present)),
        sorted(map(str, others)),
    )


def _files_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if not entry.is_dir()]
    except (OSError, ValueError):  # as a name in a damaged file leads to
        return []


def _look(
    listed: Listed,
    *,
    decode: bool = False,
    end: float = float("inf"),
    progress: Progress = lambda parts: parts,
) -> tuple[Faults, int]:
    """Returns what is wrong with images, and how many were looked at until the time `end`."""

    def look(part: Listed) -> list[list[tuple[Kind, str]]]:
        return [list(_faults(*each, decode)) for each in part if time.monotonic() < end]

    parts = [listed[start : start + PART] for start in range(0, len(listed), PART)]
    found: dict[Kind, list[str]] = defaultdict(list)
    done = 0
    with ThreadPoolExecutor(DECODERS if decode else THREADS) as pool:
        for _, looked_at in zip(progress(parts), pool.map(look, parts), strict=True):
            done += len(looked_at)
            for kind, text in (fault for faults in looked_at for fault in faults):
                found[kind].append(text)
    return found, done


def _faults(image: Image, path: Path, decode: bool) -> Iterator[tuple[Kind, str]]:
    name: str = image["file_name"]
    size: tuple[Any, Any] = image.get("width"), image.get("height")
    try:
        stored = image_header(path)
        if not all(isinstance(side, int | float) for side in size):
            return  # which is refused in the file itself
        if size not in (stored.size, stored.turned):
            yield UNLIKE, f"{name} {stored.unlike(size)}"
            return
        if decode:
            read_image(path, size=size)
    except InputError as error:
        yield UNREAD, str(error)
        return
    if stored.orientation != 1 and stored.size == stored.turned:
        yield UNSURE, name
    elif size != stored.turned:
        yield UNTURNED, name
