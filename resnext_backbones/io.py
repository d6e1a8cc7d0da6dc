"""Files and folders are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`; it takes that name once what was written is on the disk.

    Where the block or the disk fails, what had the name before is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)  # the name itself
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_between(path: Path, begin: str, end: str, body: str) -> None:
    """Put a text in the place of what stands between two markers of a document."""
    before, rest = path.read_text(encoding="utf-8").split(begin, 1)
    after = rest.split(end, 1)[1]
    write_whole(path, f"{before}{begin}\n\n{body}\n\n{end}{after}")


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove what writers of `pattern` left in a folder when they were killed."""
    for path in folder.glob(f".{pattern}.*"):
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_tree(root: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `root` that takes its place when the block ends well.

    Raises:
        FileExistsError: `root` is a file or a folder that is not empty.
    """
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise FileExistsError(f"{root} exists and is not an empty directory")
    partial = root.with_name(f"{root.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        if root.exists():
            root.rmdir()  # empty, or this raises; not every system renames over a directory
        partial.rename(root)
    except BaseException:
        shutil.rmtree(partial)
        raise
