"""A command line names images by files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from resnext_backbones.errors import InputError, some

LEFT_BY_TOOLS = {
    "__MACOSX",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
}
"""Archives, network disks and systems leave folders of these names among images, with copies of
them; what is hidden, such as .ipynb_checkpoints and ._0.jpg, is left likewise."""


@dataclass(frozen=True)
class FoundImages:
    """Images were found, and others left out beside them."""

    root: Path  # the folder that all of them are in, at any depth
    names: tuple[str, ...]  # of the images, from that folder on; no two are alike
    skipped: tuple[Path, ...]  # files in folders that are no images by their names


def find_images(arguments: Sequence[str], written: Path | None = None) -> FoundImages:
    """Returns the images that arguments name, in their order, each one once.

    A file is taken whatever its name is. Of a folder, and of what a pattern stands for, those
    files are taken whose names end as an image's; folders are searched at any depth, but for
    hidden files and folders. In a pattern, `**` stands for folders at any depth. Left out is a
    folder that pictures are about to be `written` to, which an earlier call may have done as well.
    An argument that names nothing else is an InputError.
    """
    files: dict[Path, None] = {}
    seen: dict[Path, None] = {}
    for argument in arguments:
        path, is_file = Path(argument), Path(argument).is_file()
        found = _walk(path) if path.is_dir() else _match(argument)
        named = [known_by(path)] if is_file else list(found)
        candidates = _outside(named, written) if written else named
        if named and not candidates:
            raise InputError(
                f"images {argument}: in {written}, whose pictures are replaced; write to another "
                "folder (--out)"
            )
        images = [f for f in candidates if is_file or f.suffix.lower() in IMG_EXTENSIONS]
        if not images:
            held = f"none of its {len(candidates)} files is an image" if candidates else ""
            raise InputError(
                f"images {argument}: {held or 'there is no such file'}; name files, folders or "
                f"patterns such as 'images/**/*.jpg' of images ({', '.join(IMG_EXTENSIONS)})"
            )
        files |= dict.fromkeys(images)
        seen |= dict.fromkeys(candidates)
    root = Path(os.path.commonpath([file.parent for file in files]))
    names = tuple(file.relative_to(root).as_posix() for file in files)
    return FoundImages(root, names, tuple(file for file in seen if file not in files))


def is_left_over(path: str) -> bool:
    """Tells whether a file or folder, or one that it is in, is hidden or left by a tool."""
    parts = path.replace(os.sep, "/").split("/")
    return any((p.startswith(".") and p not in (".", "..")) or p in LEFT_BY_TOOLS for p in parts)


def said_of_left_over(names: Sequence[str]) -> str:
    """Returns what a log says of those that were left out."""
    return f"left out {some(sorted(names))}, which are hidden, or left there by a tool"


def known_by(path: Path) -> Path:
    """Returns the one path, without `..`, that a file or folder is known by."""
    plain = Path(os.path.abspath(path))  # noqa: PTH100
    # Behind a link to a folder, `..` is not the folder before it in the text.
    return plain if plain.exists() and plain.samefile(path) else path.resolve()


def _outside(files: Sequence[Path], folder: Path) -> list[Path]:
    parents, real = {file.parent for file in files}, folder.resolve()
    inside = {parent for parent in parents if parent.resolve().is_relative_to(real)}
    return [file for file in files if file.parent not in inside]


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(known_by(folder)):
        folders[:] = sorted(name for name in folders if not is_left_over(name))
        yield from (Path(parent) / name for name in sorted(names) if not is_left_over(name))


def _match(pattern: str) -> Iterator[Path]:
    # Path.glob takes no absolute pattern.
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):  # noqa: PTH207
        # With **, what is in a folder matches as well.
        if match.is_file():
            yield known_by(match)
        elif "**" not in pattern:
            yield from _walk(match)
