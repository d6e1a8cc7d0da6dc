"""Writes files and folders whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a path beside `path`, which takes that name once what was written is on the disk.

    Its folder is made. Where the block or the disk fails, what had the name before is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)  # the name itself
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_files(path: Path) -> Iterator[Path]:
    """Gives a path of the same name in a folder of its own, for a file that may have others beside
    it: all of them come beside `path` when the block ends well, `path` last.

    The name stands for one file with its own others at each moment, or for none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{os.getpid()}")
    folder.mkdir()
    try:
        yield folder / path.name
        written = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
        for file in written:
            flush(file)
        if len(written) > 1:
            path.unlink(missing_ok=True)
        for file in written:
            file.replace(path.with_name(file.name))
        flush(path.parent)
    finally:
        shutil.rmtree(folder)


def atomic_write_text(path: Path, text: str) -> None:
    """Writes a text, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any, indent: int | None = None) -> str:
    """Returns a value as JSON that every reader takes, with a newline: numbers that are not finite,
    which JSON does not know, are null, and NumPy's are numbers.
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's and PyTorch's
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def replace_between(path: Path, begin: str, end: str, body: str) -> None:
    """Puts a text in the place of what stands between two markers of a document."""
    before, rest = path.read_text(encoding="utf-8").split(begin, 1)
    after = rest.split(end, 1)[1]
    atomic_write_text(path, f"{before}{begin}\n\n{body}\n\n{end}{after}")


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Removes what writers of `pattern` left in a folder when they were killed."""
    for path in folder.glob(f".{pattern}.*"):
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
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
