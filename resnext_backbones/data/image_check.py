"""The images of an annotation file are looked for, and looked at, in their folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from resnext_backbones.data.image_sizes import THREADS, UNLIKE, UNREAD, UNSURE, UNTURNED, compare
from resnext_backbones.data.pixels import read_image
from resnext_backbones.data.rules import Finding, Outcome
from resnext_backbones.errors import InputError

Image = dict[str, Any]
Progress = Callable[[Sequence[Image]], Iterable[Image]]

DECODERS = 4
"""So many images are held at once; each may have a quarter of a gigabyte."""

MISSING, UNLISTED = "missing", "unlisted"

KINDS: dict[str, tuple[str, Outcome, str]] = {
    MISSING: (
        "image missing",
        Outcome.REFUSED,
        "is not there; add it, or take it out of the annotations",
    ),
    UNREAD: (
        "image unreadable",
        Outcome.REFUSED,
        "; mend the file, or take it out of the annotations",
    ),
    UNLIKE: (
        "image of another size",
        Outcome.REFUSED,
        "; take the images that were annotated, or scale boxes, masks and sizes with them",
    ),
    UNTURNED: (
        "image as it lies in its file",
        Outcome.COUNTED,
        "is annotated as it lies in its file, and is not turned by EXIF",
    ),
    UNSURE: (
        "image turned to the same size",
        Outcome.COUNTED,
        "is turned by EXIF to the same size; if it was annotated without that, take the tag out",
    ),
    UNLISTED: ("file not listed", Outcome.COUNTED, "lies beside the images, and is not used"),
}
"""What can be wrong with a file: the rule, what becomes of it, and what to do."""


def _findings(found: dict[str, list[str]]) -> tuple[Finding, ...]:
    return tuple(_finding(kind, found[kind]) for kind in KINDS if kind in found)


def _finding(kind: str, texts: list[str]) -> Finding:
    rule, outcome, so = KINDS[kind]
    others = f" (and {len(texts) - 1:,} more)" if len(texts) > 1 else ""
    space = "" if so.startswith(";") else " "
    return Finding(rule, outcome, len(texts), texts[0], f"{texts[0]}{others}{space}{so}")


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
    found: dict[str, list[str]] = defaultdict(list)
    named = [image for image in images if isinstance(image.get("file_name"), str)]
    paths = [folder / image["file_name"] for image in named]
    present = _files_beside(paths)

    def look_at(image: Image) -> list[tuple[str, str]]:
        path = folder / image["file_name"]
        if path not in present:
            return [(MISSING, str(path))]
        problems = compare([image], folder)
        if decode and not {kind for kind, _ in problems} & {UNREAD, UNLIKE}:
            problems += _decoded(path, (image["width"], image["height"]))
        return problems

    with ThreadPoolExecutor(DECODERS if decode else THREADS) as pool:
        for _, problems in zip(progress(named), pool.map(look_at, named), strict=True):
            for kind, text in problems:
                found[kind].append(text)
    for path in sorted(path for path in present.difference(paths) if path.is_relative_to(folder)):
        found[UNLISTED].append(str(path))
    return _findings(found)


def _decoded(path: Path, size: tuple[int, int]) -> list[tuple[str, str]]:
    try:
        read_image(path, size=size)
    except InputError as error:
        return [(UNREAD, str(error))]
    return []


def _files_beside(paths: Iterable[Path]) -> set[Path]:
    """Returns all files in the folders of these; one listing a folder, as there can be 100,000."""
    return {file for parent in {path.parent for path in paths} for file in _files_in(parent)}


def _files_in(folder: Path) -> list[Path]:
    try:
        found = [p for p in folder.iterdir() if not p.name.startswith(".")]
    except (OSError, ValueError):  # as a name in a damaged file leads to
        return []
    return [path for path in found if not path.is_dir()]
