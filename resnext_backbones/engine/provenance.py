"""Results name the commit that they were made by."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit(folder: Path) -> str:
    """Returns the commit that is checked out, with `-dirty` behind it where code was changed since.

    It is empty where the folder is none of a repository's own, or there is no Git.
    """
    if not _git(folder, "ls-files", "--", "."):
        return ""
    head = _git(folder, "rev-parse", "HEAD")
    # Results of other measurements are no code.
    changes = _git(folder, "status", "--porcelain", "--", ":/", ":(top,exclude)docs/benchmarks")
    return f"{head}-dirty" if changes else head


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=folder, check=False
        )
    except OSError:  # slim images have no Git
        return ""
    return done.stdout.strip()
