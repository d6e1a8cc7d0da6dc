"""Says what a file records of its weights: the network, and the pixels that they expect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnext_backbones.models import Architecture
from resnext_backbones.models.architecture import FIELDS
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import read_file, read_metadata
from resnext_backbones.weights.find import entries_of, find, said_of
from resnext_backbones.weights.preprocessing import SEEN, Preprocessing
from resnext_backbones.weights.sources import (
    SAVED,
    Source,
    locate,
    row_of,
    row_of_file,
    said_in,
)

CROP = "crop"
"""A run's facts have the crop of its evaluation under this key, as JSON."""

CLASS_NAMES = "class_names"
"""They have the names of its classes by label under this one, as JSON."""


def preprocessing_of(source: Source) -> Preprocessing:
    """Returns the pixels that the weights of a source of `locate` expect.

    The registry says it of its own files, wherever they lie, with no download for an alias; a file
    that this package wrote, of whatever framework's names, says it itself. Raises FileNotFoundError
    where there is no such file, and WeightsError where it is not known.
    """
    if row := row_of(source):
        return row.source.preprocessing
    path = locate(source)
    found = pixels_of(source, path, read_file(path))
    if found is None:
        raise WeightsError(
            f"weights {source}: the file does not record its pixel normalisation; record it with "
            "`resnext convert SOURCE DEST --to safetensors --pixels ...`"
        )
    return found


def pixels_of(
    source: Source, file: Path, content: Mapping[str, Any], prefix: str | None = None
) -> Preprocessing | None:
    """Returns the pixels that weights expect, whose file and content are these: the registry says
    it of its own, and any other file itself; None where nobody does. Errors as `recorded_pixels`.
    """
    if row := row_of(source) or row_of_file(file):
        return row.source.preprocessing
    return recorded_pixels(source, file, content, prefix)


def recorded_architecture(
    path: Path, content: Mapping[str, Any], source: str | Path
) -> Architecture | None:
    """Returns what a file says of its network: in its metadata, as runs of this package's do, or
    in a config beside it; raises WeightsError where that is no architecture.
    """
    try:
        found = map(Architecture.from_metadata, recorded(path, content))
        return next(filter(None, found), None) or _named_beside(path)
    except ValueError as error:
        raise WeightsError(f"weights {source}: {error}") from error


def recorded(path: Path, content: Mapping[str, Any], *prefixes: str) -> list[Mapping[str, Any]]:
    """Returns what a file says of its weights, wherever this package or a run of it writes it:
    beside trunks, too, whose names begin with these prefixes.
    """
    meta = content.get("meta")
    facts = meta.get("facts") if isinstance(meta, Mapping) else None
    places = [read_metadata(path), meta, facts, content.get(SEEN)]
    places += [said_of(content, prefix) for prefix in prefixes]
    return [place for place in places if isinstance(place, Mapping)]


def recorded_pixels(
    source: object, file: Path, content: Mapping[str, Any], prefix: str | None = None
) -> Preprocessing | None:
    """Returns the pixels that a file says, in its metadata or beside the trunk behind a prefix;
    where that is None, beside any. Raises WeightsError where it says none that can be.
    """
    trunks = find(content, entries_of(content), "") if prefix is None else ()
    prefixes = [trunk.shown for trunk in trunks] if prefix is None else [prefix]
    return said_in(recorded(file, content, *prefixes), Preprocessing.from_metadata, source)


def _named_beside(path: Path) -> Architecture | None:
    """Returns what a config in a folder of the Hub says: timm's names a variant, and that of a
    backbone for transformers, or of a network with one, has all of an architecture.
    """
    config = path.with_name("config.json")
    if path.name not in SAVED or not config.is_file():
        return None
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config}, beside it: {error}") from error
    said = content if isinstance(content, dict) else {}
    if isinstance(inner := said.get("backbone_config"), dict):
        said = inner
    found = said.get("architecture")
    if isinstance(found, dict) and found.keys() <= FIELDS:
        return Architecture.recorded(found)
    return VARIANTS.get(found) if isinstance(found, str) else None
