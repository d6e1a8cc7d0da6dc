"""A folder is written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_tree(root: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder beside `root` that takes its place when the block ends well.

    Raises:
        FileExistsError: `root` is a file or a folder that is not empty.
    """
    root = Path(root)
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


def annotation_file(root: Path, split: str) -> Path:
    """Returns the path of a split's annotations in COCO's layout, of `train2017` say."""
    return root / "annotations" / f"instances_{split}.json"
