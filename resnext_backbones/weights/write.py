"""Writing weights by the names of any family, and in its kind of file."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from resnext_backbones.io import whole_file
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import is_finite, read_content
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.load import said
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.sources import locate, preprocessing_of, row_of
from resnext_backbones.weights.targets import TARGETS


def _write_torch(state: Mapping[str, Tensor], path: Path, _: Mapping[str, str]) -> None:
    torch.save(dict(state), path)


def _write_openmmlab(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    torch.save({"meta": dict(metadata), "state_dict": dict(state)}, path)


def _write_detectron2(state: Mapping[str, Tensor], path: Path, _: Mapping[str, str]) -> None:
    """A pickle of arrays; matched by the ends of names, as a detector has more in front of them."""
    arrays = {key: value.numpy() for key, value in state.items()}
    content = {"model": arrays, "__author__": "resnext_backbones", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content))


def _write_safetensors(
    state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    save_file(dict(state), path, metadata={"format": "pt", **metadata})


WRITERS: dict[str, Callable[[Mapping[str, Tensor], Path, Mapping[str, str]], None]] = {
    "torch": _write_torch,
    "openmmlab": _write_openmmlab,
    "detectron2": _write_detectron2,
    "safetensors": _write_safetensors,
}
"""The kinds of file."""


@dataclass(frozen=True)
class Converted:
    """What a conversion did.

    Attributes:
        path: that was written.
        variant: of the network.
        family: whose names the source had.
        preprocessing: the pixels that the weights expect, if it is known.
        unused: keys of the source that are no part of the network.
    """

    path: Path
    variant: str
    family: str
    preprocessing: Preprocessing | None
    unused: tuple[str, ...]


def convert(
    source: str | Path,
    path: str | Path,
    to: str,
    *,
    preprocessing: Preprocessing | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write weights for another framework. Values are never touched.

    Args:
        source: as of `load_weights`.
        path: of the new file, which gets its name when it is whole.
        to: of `targets.TARGETS`.
        preprocessing: the pixels that the weights expect; None is what the source says.
        overwrite: put the new file in the place of one that is there.

    Raises:
        ValueError: there is no such target.
        FileNotFoundError: there is no such source, or no folder to write to.
        FileExistsError: there is a file already.
        WeightsError: the source cannot be read, it holds no whole trunk, or the target has no
            names for its tensors.
    """
    path = Path(path)
    if to not in TARGETS:
        raise ValueError(f"to must be one of {', '.join(TARGETS)}, got {to!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: there is a file already")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    content = read_content(locate(source))
    checkpoint = Checkpoint.of(content.values)
    _check(checkpoint, source)
    if preprocessing is None:
        preprocessing = _known(source)
    row = row_of(source)
    architecture = row.architecture if row else said(content, source)
    metadata = {
        "variant": checkpoint.variant,
        **(architecture.to_metadata() if architecture else {}),
        "norms": "fused" if checkpoint.fused else "trained",
        **(preprocessing.to_metadata() if preprocessing else {}),
        **({"source": row.alias, "licence": row.source.licence} if row else {}),
    }
    write_state(checkpoint.state, path, to, metadata)
    return Converted(path, checkpoint.variant, checkpoint.family, preprocessing, checkpoint.outside)


def write_state(
    state: Mapping[str, Tensor], path: Path, to: str, metadata: Mapping[str, str]
) -> None:
    """Write tensors that have this package's names.

    Raises:
        WeightsError: the target has no names for some of them.
    """
    target = TARGETS[to]
    format_ = FORMATS[target.family]
    names = {key: format_.from_own(key) for key in state}
    nameless = [key for key, name in names.items() if name is None]
    if nameless or not _has_stem(names.values(), target.family):
        what = ", ".join(nameless[:5]) or "a stem of three convolutions"
        raise WeightsError(f"weights {path}: {to} has no name for {what}")
    # safetensors takes tensors in NCHW order only.
    renamed = {name: state[key].contiguous() for key, name in names.items() if name is not None}
    with whole_file(path) as temporary:
        WRITERS[target.file](renamed, temporary, metadata)


def _has_stem(names: Iterable[str | None], family: str) -> bool:
    stems = {stem for key in STEMS[family] for stem in FORMATS[key].stems}
    return bool(stems.intersection(names))


STEMS = {
    "torchvision": ("torchvision",),
    "timm": ("torchvision", "timm"),
    "mmdet": ("torchvision", "mmdet"),
    "mmpretrain": ("mmpretrain",),
    "detectron2": ("detectron2",),
}
"""The families one of whose stems a family's networks may have."""


def _check(checkpoint: Checkpoint, source: str | Path) -> None:
    if not checkpoint.variant:
        raise WeightsError(f"weights {source}: holds no ResNeXt")
    if checkpoint.unknown:
        raise WeightsError(
            f"weights {source}: tensors of the trunk that are not known: "
            + ", ".join(checkpoint.unknown[:5])
        )
    if broken := [key for key, value in checkpoint.state.items() if not is_finite(value)]:
        raise WeightsError(f"weights {source}: NaN or infinity in {', '.join(broken[:5])}")


def _known(source: str | Path) -> Preprocessing | None:
    try:
        return preprocessing_of(source)
    except WeightsError:
        return None
