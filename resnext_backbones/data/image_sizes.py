"""The sizes that annotations are for are compared with the images', before the first step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from resnext_backbones.data.pixels import image_header
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.errors import InputError, some

SECONDS = 60.0
"""What is not compared by then is compared as it is read."""

THREADS, PART = 16, 256
"""Files on a network are waited for side by side."""

UNREAD, UNLIKE, UNTURNED, UNSURE = "unread", "unlike", "unturned", "unsure"


def check_sizes(
    path: Path,
    images: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    seconds: float = SECONDS,
    warn: Callable[[str], None] = log_warning,
) -> None:
    """Compares the sizes that an annotation file says with those in the headers of its images, and
    warns where it says less than is needed of those that EXIF turns.

    Args:
        path: of the annotation file, for messages.
        images: each has a `file_name`, `width` and `height`; those without one are left out.
        folder: that the names are in.
        seconds: that it may take.

    Raises:
        InputError: an image is of another size, or has no header.
    """
    listed = [image for image in images if _compared(image)]
    end, done = time.monotonic() + seconds, 0
    found: dict[str, list[str]] = defaultdict(list)
    pool = ThreadPoolExecutor(THREADS)
    try:
        parts = [listed[i : i + PART] for i in range(0, len(listed), PART)]
        for part, each in zip(parts, pool.map(lambda p: compare(p, folder), parts), strict=True):
            for kind, text in each:
                found[kind].append(text)
            done += len(part)
            if time.monotonic() > end:
                break
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    what = f"annotation file {path}: {{}} of its {len(images)} images"
    if unread := found[UNREAD]:
        raise InputError(f"{what.format(len(unread))} cannot be read: {some(unread, 3)}")
    if unlike := found[UNLIKE]:
        raise InputError(
            f"{what.format(len(unlike))} are of other sizes than it says: {some(unlike, 3)}; take "
            "the images that were annotated, or scale boxes, masks and sizes with them"
        )
    if unturned := found[UNTURNED]:
        warn(
            f"{what.format(len(unturned))} are annotated as they lie in their files, and are not "
            f"turned by EXIF: {some(unturned)}"
        )
    if unsure := found[UNSURE]:
        warn(
            f"{what.format(len(unsure))} are turned by EXIF to the same size: {some(unsure)}; if "
            "they were annotated without that, take the tag out of the files"
        )
    if done < len(listed):
        warn(
            f"{what.format(done)} have the sizes that it says; {seconds:.0f} s were not enough for "
            "the others, which are compared as they are read"
        )


def _compared(image: Mapping[str, Any]) -> bool:
    sizes = image.get("width"), image.get("height")
    return isinstance(image.get("file_name"), str) and all(
        isinstance(v, int | float) for v in sizes
    )


def compare(images: Iterable[Mapping[str, Any]], folder: Path) -> list[tuple[str, str]]:
    """Returns what is wrong with the headers of images: `UNREAD`, `UNLIKE`, `UNTURNED` or
    `UNSURE`, and of which one.
    """
    found = []
    for image in images:
        name, size = image["file_name"], (image["width"], image["height"])
        try:
            stored = image_header(folder / name)
        except InputError as error:
            found.append((UNREAD, str(error)))
            continue
        if size not in (stored.size, stored.turned):
            found.append((UNLIKE, f"{name} {stored.unlike(size)}"))
        elif stored.orientation != 1 and stored.size == stored.turned:
            found.append((UNSURE, name))
        elif size != stored.turned:
            found.append((UNTURNED, name))
    return found
