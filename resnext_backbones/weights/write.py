"""Writes weights by the names of any family, and in its kind of file."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from resnext_backbones.io import atomic_write
from resnext_backbones.models import Architecture, ResNeXt
from resnext_backbones.models.architecture import LAYERS, METADATA, UNSEEN, unseen_fields
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.compare import COUNTER, compare, unseen_mismatch
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.formats import FORMATS, TARGETS, family_for
from resnext_backbones.weights.identify import identify, row_names
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.recorded import (
    CLASS_NAMES,
    CROP,
    pixels_of,
    recorded,
    recorded_architecture,
)
from resnext_backbones.weights.sources import agreed, locate, row_of, row_of_file

State = dict[str, Tensor]
Metadata = Mapping[str, str]


def _write_torch(state: State, path: Path, metadata: Metadata) -> None:
    # Beside the versions that PyTorch keeps of modules: tensors alone are what libraries load.
    content = OrderedDict(state)
    content._metadata = {"": dict(metadata)}  # type: ignore[attr-defined]
    torch.save(content, path)


def _write_openmmlab(state: State, path: Path, metadata: Metadata) -> None:
    torch.save({"meta": dict(metadata), "state_dict": state}, path)


def write_detectron2(state: State, path: Path, metadata: Metadata, *, whole: bool = False) -> None:
    """Writes a pickle of arrays, as in Detectron2's zoo, of a trunk or of a whole detector."""
    # A trunk is matched by the ends of names, as a detector has more in front of them.
    content = {"__author__": "resnext_backbones", "matching_heuristics": not whole}
    # numpy has no bfloat16, whose values float32 has all.
    narrow = torch.bfloat16
    arrays = {k: (v.float() if v.dtype is narrow else v).numpy() for k, v in state.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "meta": dict(metadata), **content}))


def write_safetensors(state: State, path: Path, metadata: Metadata) -> None:
    """Writes tensors, each with memory of its own, and their metadata: the same bytes each time."""
    save_file(state, path, metadata={"format": "pt", **metadata})
    # safetensors has the metadata in an order that is drawn anew by each process: equal weights
    # would have unlike hashes. The header's length stays.
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
        file.seek(8)
        file.write(text.encode().ljust(size))


Writer = Callable[[State, Path, Metadata], None]

WRITERS: dict[str, Writer] = {
    "torchvision": _write_torch,
    "timm": _write_torch,
    "mmdet": _write_openmmlab,
    "mmpretrain": _write_openmmlab,
    "detectron2": write_detectron2,
    "safetensors": write_safetensors,
}
"""Each target's file is written by one of these."""


class Converted(NamedTuple):
    """Says what was written."""

    held: Checkpoint
    """The source had this."""
    preprocessing: Preprocessing | None
    """It expects these pixels, if they are known."""
    network: Architecture
    assumed: bool
    """Whether it did not say what no tensor shows."""

    @property
    def assumption(self) -> str:
        """Returns what was assumed, and the variants that it is to be chosen from; "" if nothing
        was.
        """
        if not self.assumed:
            return ""
        fields = unseen_fields(self.network)
        values = (f"{name}={getattr(self.network, name)!r}" for name in fields)
        names = " or ".join(row_names(self.held.state))
        return ", ".join(values) + (f", of {names}" if names else "")


def convert(
    source: str | Path,
    path: str | Path,
    to: str,
    *,
    preprocessing: Preprocessing | None = None,
    prefix: str = "",
    variant: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Writes weights for another framework. Values are never touched; types may be widened.

    Args:
        source: as of `load_weights`.
        path: of the new file, which gets its name when it is whole.
        to: of `formats.TARGETS`; a ValueError otherwise.
        preprocessing: the pixels that the weights expect; None is what the source says.
        prefix: as of `load_weights`.
        variant: the network, of `list_variants()`, where the source does not say it and several
            have its shapes.
        overwrite: put the new file in the place of one that is there, a FileExistsError otherwise.

    Raises FileNotFoundError where there is no source or no folder to write to, and WeightsError
    where the source cannot be read, holds no whole trunk or another network than `variant`, or the
    target has no names for its tensors; InputError where the source says other pixels.
    """
    if to not in TARGETS:
        raise ValueError(f"to must be one of {', '.join(TARGETS)}, got {to!r}")
    path = checked_destination(path, overwrite=overwrite)
    file = locate(source)
    content = read_file(file)
    held = Checkpoint.of(content, prefix=prefix, source=source)
    check_whole(held, source)
    architecture = architecture_of(source, file, content, held, variant)
    known = pixels_of(source, file, content, held.prefix)
    preprocessing = agreed("pixels", preprocessing, known, source)
    metadata = metadata_of(source, file, variant or held.variant, architecture, preprocessing)
    metadata |= {"norms": "fused" if held.fused else "trained"}
    for place in reversed(recorded(file, content, held.prefix)):  # the file's own comes first
        facts = {key: place.get(key) for key in (CROP, CLASS_NAMES)}
        metadata |= {key: value for key, value in facts.items() if isinstance(value, str)}
    write_state(held.state, path, to, metadata)
    network = network_of(held.state, metadata)
    return Converted(held, preprocessing, network, assumed=architecture is None)


def checked_destination(path: str | Path, *, overwrite: bool) -> Path:
    """Returns the path of a new file; raises FileExistsError and FileNotFoundError as `convert`."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: there is a file already")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    return path


def check_whole(held: Checkpoint, source: str | Path) -> None:
    """Raises WeightsError where a file does not hold the whole trunk of its architecture; plugins
    and heads may be its own.
    """
    expected = {**held.state, **trunk_of(held.state)}
    found = compare(held.state, expected, unknown=held.unknown, odd=held.odd)
    if found or not held.variant:
        variant = held.variant or "no ResNeXt"
        raise WeightsError(
            f"weights {source}: the file holds {variant}. {held.names}Nothing was written.{found}"
        )


def architecture_of(
    source: str | Path,
    file: Path,
    content: Mapping[str, Any],
    held: Checkpoint,
    variant: str | None,
) -> Architecture | None:
    """Returns what is known of the network of a source, whose file and content are these, with what
    no tensor shows; None where the source does not say it. Raises WeightsError as `convert`.
    """
    if row := row_of(source) or row_of_file(file):
        said: Architecture | None = row.architecture
    else:
        said = recorded_architecture(file, content, source) or held.presupposed
    if said is not None and (seen := identify(held.state)):
        # It is said of a whole network of RGB images, of which these may be the lower stages.
        stages = min(len(seen.blocks), len(said.blocks))
        said = replace(said.of_stages(stages), in_channels=seen.in_channels)
    return said if variant is None else _as_variant(variant, held, said, source)


def metadata_of(
    source: str | Path,
    file: Path,
    variant: str,
    architecture: Architecture | None,
    preprocessing: Preprocessing | None,
) -> dict[str, str]:
    """Returns what a new file says of weights from a source, where that is known."""
    row = row_of(source) or row_of_file(file)
    return {
        "variant": variant,
        **(architecture.to_metadata() if architecture else {}),
        **(preprocessing.to_metadata() if preprocessing else {}),
        **({"source": row.alias, "licence": row.source.licence} if row else {}),
    }


def _as_variant(
    name: str, held: Checkpoint, said: Architecture | None, source: str | Path
) -> Architecture:
    """Returns the architecture of weights that are said to be a variant's; WeightsError: they are
    of other shapes, or say something else.
    """
    if name not in row_names(held.state):
        raise WeightsError(
            f"weights {source}: the file holds {held.variant}, not {name}. Nothing was written."
        )
    row = VARIANTS[name]
    if said is not None:  # of any layers
        row = replace(row, **{field: getattr(said, field) for field in ("norm_kind", *LAYERS)})
    if said is not None and (message := unseen_mismatch(said, row)):
        raise WeightsError(f"weights {source}: {message}")
    return _with_unseen(identify(held.state) or row, row)


def trunk_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors, without values, that the trunk of a file's architecture has."""
    architecture = identify(state)
    if architecture is None:
        return {}
    with torch.device("meta"):  # as many groups of channels as there may be in any network
        own = ResNeXt(replace(architecture, norm_groups=1)).state_dict()
    return {key: value for key, value in own.items() if not key.endswith(COUNTER)}


def write_state(state: Mapping[str, Tensor], path: Path, to: str, metadata: Metadata) -> None:
    """Writes tensors that have this package's names, for a target of `formats.TARGETS`, by the
    names that it has for such a network; raises WeightsError where it has none for some of them.
    """
    format_ = FORMATS[family_for(to, network_of(state, metadata))]
    names = {key: format_.from_own(key) for key in state}
    if nameless := [key for key, name in names.items() if name is None]:
        raise WeightsError(f"weights {path}: {to} has no name for {', '.join(nameless[:5])}")
    renamed = {name: state[key] for key, name in names.items() if name is not None}
    write_file(renamed, path, WRITERS[to], metadata)


def write_file(state: Mapping[str, Tensor], path: Path, write: Writer, metadata: Metadata) -> None:
    """Writes tensors by the names that they have, in a kind of file."""
    # In NCHW order, as safetensors asks, and each with a storage of its own: a part of another one
    # would be written with all of it, and one that is of two types not at all.
    order = torch.contiguous_format
    apart = {name: tensor.clone(memory_format=order) for name, tensor in state.items()}
    with atomic_write(path) as temporary:
        write(apart, temporary, metadata)


def network_of(state: Mapping[str, Tensor], metadata: Metadata) -> Architecture:
    """Returns the network of a state dict: as its metadata say, or by its shapes; what these do not
    show is then as in the first variant that has them.
    """
    found = Architecture.from_metadata(metadata) or identify(state) or Architecture()
    names = [] if METADATA in metadata else row_names(state)
    return _with_unseen(found, VARIANTS[names[0]]) if names else found


def _with_unseen(found: Architecture, row: Architecture) -> Architecture:
    """Returns what shapes say of a network, with what they do not show as a row of the table."""
    return replace(found, **{name: getattr(row, name) for name in (*UNSEEN, "stem")})
