"""Where output goes is looked at before the work that is to be written there."""

from __future__ import annotations

import os
from pathlib import Path

from resnext_backbones.errors import InputError

METRICS = ".json"

OTHER_NAMES = {
    (".pkl", ".pickle"): "metrics are written; a detector's detections, as JSON, with "
    "--cfg-options test_evaluator.outfile_prefix=PREFIX",
    (".txt",): "this is the name of the table, which is written beside the JSON",
}
"""What files of such names are expected to hold, or hold, where metrics are asked for."""


def check_folder(option: str, path: str | Path) -> None:
    """Raises InputError where a folder is not there and cannot be made, or cannot be written to.

    Args:
        option: what named it, for the message.
    """
    folder = Path(path)
    for place in (folder, *folder.absolute().parents):
        if not os.path.lexists(place):
            continue
        above = "" if place == folder else f"{place} "
        if not place.is_dir():
            raise InputError(f"{option} {path}: {above}is a file; name a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"{option} {path}: {above}cannot be written to; name another folder")
        return


def check_metrics_file(option: str, path: Path) -> None:
    """Raises InputError where metrics cannot be written to a file: it is a folder or cannot be
    made, or its name says that it holds something else.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; name a file: {path / 'metrics.json'}")
    if path.suffix.lower() not in ("", METRICS):
        kinds = (why for names, why in OTHER_NAMES.items() if path.suffix.lower() in names)
        why = next(kinds, "metrics are written as JSON")
        raise InputError(f"{option} {path}: {why}; name it {path.with_suffix(METRICS).name}")
    check_folder(f"{option} {path}: its folder", path.parent)
    for file in (path, path.with_suffix(".txt")):
        if file.is_dir() or (file.exists() and not os.access(file, os.W_OK)):
            raise InputError(f"{option} {path}: {file} cannot be written; name another file")
