"""What was found in a large annotation file is kept, and so are completed copies, by the hash of
the file and of the rules.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from resnext_backbones.data.coco_file import LISTS, Content
from resnext_backbones.data.rules import Finding, Outcome, Use
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write, atomic_write_text

DAYS = 60
"""What nobody asked for in so many days is removed when something new is kept."""

CHUNK = 10_000
"""So many annotations are written at once."""


def folder() -> Path:
    """Returns the folder of what is kept, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / "resnext_backbones" / "annotations"


def one_at_a_time(digest: str, use: Use) -> AbstractContextManager[None]:
    """Has the processes of a machine look at a file one after the other: the first one keeps what
    it finds.
    """
    return _locked(_summary(digest, use))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # where nothing can be kept, or locked
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(f"{path}.lock"))
        yield


def find(digest: str, use: Use) -> dict[str, Any] | None:
    """Returns what `keep` was given of a file of this hash, for this use; None if nothing."""
    path = _summary(digest, use)
    try:
        known = json.loads(path.read_bytes())
        _touch(path)
        rows = [Finding(**{**row, "outcome": Outcome(row["outcome"])}) for row in known["findings"]]
        return {**known, "findings": tuple(rows)}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def keep(digest: str, use: Use, known: Mapping[str, Any]) -> None:
    """Keeps what was found in a file; where nothing can be written it is found again."""
    text = json.dumps({**known, "findings": list(map(vars, known["findings"]))})
    with suppress(OSError):
        atomic_write_text(_summary(digest, use), text)
        _remove_old()


def copy(
    source: Path,
    digest: str,
    use: Use,
    categories: Sequence[Mapping[str, Any]],
    content: Callable[[], Content],
) -> Path:
    """Returns the completed copy of a file, which one of several processes writes.

    Args:
        source: the file, of this `digest`.
        use: what it was completed for.
        categories: in the order that the copy has them in.
        content: returns what it holds.

    Raises:
        InputError: it cannot be written.
    """
    order = _short(json.dumps(categories))
    name = f"{source.stem:.80}.{digest[:16]}.{use}.{order}.{_rules()}"
    path = folder() / f"{name}.json"
    if path.is_file():  # by somebody else, maybe, in a folder that cannot be written to
        _touch(path)
        return path
    try:
        with _locked(path):
            if not path.is_file():
                with atomic_write(path) as temporary, temporary.open("w", encoding="ascii") as file:
                    file.writelines(_pieces(content()))
        _remove_old()
    except OSError as error:
        raise InputError(
            f"annotation file {source}: its completed copy {path} cannot be written: "
            f"{error.strerror or error}; set TORCH_HOME to a folder with room for it"
        ) from error
    return path


def _pieces(content: Content) -> Iterator[str]:
    """Yields the JSON of a content; the encoder would hold that of a large one at once."""
    comma = "{"
    for key, value in content.items():
        yield f"{comma}{json.dumps(key)}: "
        comma = ", "
        if key in LISTS:
            starts = range(0, len(value), CHUNK)
            parts = (json.dumps(value[start : start + CHUNK])[1:-1] for start in starts)
            yield "["
            yield from (f"{', ' if number else ''}{part}" for number, part in enumerate(parts))
            yield "]"
        else:
            yield json.dumps(value)
    yield "}"


def _summary(digest: str, use: Use) -> Path:
    return folder() / f"{digest[:32]}.{use}.{_rules()}.found.json"


@cache
def _rules() -> str:
    """Returns a hash of this package's rules: what other ones found or filled in is not taken."""
    parts = sorted(Path(__file__).parent.rglob("*.py"))
    return _short("".join(path.read_text(encoding="utf-8") for path in parts))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _touch(path: Path) -> None:
    with suppress(OSError):  # it is somebody else's
        path.touch()


def _remove_old() -> None:
    oldest = time.time() - DAYS * 24 * 3600
    for path in folder().iterdir():
        with suppress(OSError):  # another process has renamed or removed it
            if path.stat().st_mtime < oldest:
                path.unlink()
