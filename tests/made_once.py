"""What takes long to make is made once for all processes of the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

MadeOnce = Callable[[str, Callable[[Path], object]], Path]
"""Returns the folder of a name, after a function has put into it what belongs there."""


def made_once_in(root: Path) -> MadeOnce:
    """Returns what makes folders in one that all processes see."""

    def made_once(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a try that failed has left
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return made_once
