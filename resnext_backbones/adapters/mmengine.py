"""MMEngine reads every file of weights, and every checkpoint, with this package's reader.

MMEngine runs what a file names where `torch.load` alone would refuse it. Importing this module puts
the reader of `weights` behind all names and addresses that MMEngine loads from: `load_from`,
`resume`, the `init_cfg` of any part of a model, and MMEngine's own `load_checkpoint`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer
from mmengine.model import PretrainedInit
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    _get_mmengine_home,
    _process_mmcls_checkpoint,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from torch import Tensor

from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.memory import in_memory
from resnext_backbones.weights.sources import locate, row_of

NAMED_WEIGHTS = {
    "open-mmlab://": get_external_models,
    "openmmlab://": get_external_models,
    "torchvision://": get_torchvision_models,
    "modelzoo://": get_torchvision_models,
    "mmcls://": get_mmcls_models,
}
"""Names for published weights begin so, and MMEngine keeps these tables with their addresses."""

STORAGE = re.compile(r"(\S+:)?(s3|petrel)://")
"""MMEngine has a client for what begins so."""


def init_cfgs(part: Any) -> list[Any]:
    """Returns what a part, or its config, has as `init_cfg`: a mapping, several, or none."""
    given = part.get("init_cfg") if isinstance(part, Mapping) else getattr(part, "init_cfg", None)
    return [given] if isinstance(given, Mapping) else list(given or ())


def is_pretrained(cfg: Mapping[str, Any]) -> bool:
    """Tells whether an `init_cfg` loads weights; a config in pure Python names the class."""
    return cfg.get("type") in ("Pretrained", PretrainedInit)


def address_of(source: str) -> str:
    """Returns the address of what MMEngine has a name for; all else as it is.

    Raises:
        WeightsError: MMEngine has no such name.
    """
    for scheme, table in NAMED_WEIGHTS.items():
        if source.startswith(scheme) and row_of(source) is None:
            names, name = table(), source.removeprefix(scheme)
            name = get_deprecated_model_names().get(name, name)
            if name not in names:
                close = difflib.get_close_matches(name, names, cutoff=0) or sorted(names)
                raise WeightsError(f"weights {source}: no such name; try {', '.join(close)}")
            found = names[name]
            return found if "://" in found else str(Path(_get_mmengine_home()) / found)
    return source


def find_file(source: str | Path) -> Path:
    """Returns the file of whatever MMEngine or this package has a name for, downloaded if need be;
    raises as `weights.sources.locate`.
    """
    named = address_of(str(source))
    return locate(named if "://" in named else Path(named).expanduser())


def load_from_checked(filename: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Returns what a checkpoint holds, for MMEngine, which logs the last word of this name.

    Raises:
        FileNotFoundError, WeightsError: it cannot be had or read, or holds what could run code.
    """
    if STORAGE.match(str(filename)):
        backend = get_file_backend(str(filename), backend_args={"backend": "petrel"})
        with TemporaryDirectory() as folder:
            path = Path(folder) / "weights"
            path.write_bytes(backend.get(str(filename)))
            return _read(path, str(filename), map_location)
    return _read(find_file(filename), str(filename), map_location)


def _read(path: Path, name: str, map_location: Any) -> dict[str, Any]:
    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    try:
        content = in_memory(read_file(path, stand_ins=STAND_INS), device, _rebuilt)
    except (RecursionError, AssertionError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"weights {name}: a damaged checkpoint: {error}") from error
    if isinstance(content.get("meta"), dict):
        content["meta"].pop("config", None)  # MMEngine would run it as a program
    if "state_dict" not in content and any(isinstance(v, Tensor) for v in content.values()):
        content = {"state_dict": content}
    if isinstance(state := content.get("state_dict"), dict):
        # Not all that reads it takes away what DistributedDataParallel puts in front.
        for key in [key for key in state if str(key).startswith("module.")]:
            state[key.removeprefix("module.")] = state.pop(key)
    return _process_mmcls_checkpoint(content) if name.startswith("mmcls://") else content


class _History:
    """Stands for MMEngine's `HistoryBuffer`, which holds the values that a log is smoothed over."""

    state: Mapping[str, Any] = {}

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def build(self, state: Any) -> None:
        """Takes what the file says of its attributes."""
        self.state = state if isinstance(state, Mapping) else {}

    def buffer(self) -> HistoryBuffer:
        """Returns MMEngine's own."""
        arrays = (self.state[f"_{name}_history"].tensor.numpy() for name in ("log", "count"))
        return HistoryBuffer(*arrays, int(self.state.get("max_length", 1_000_000)))


def _rebuilt(value: Any) -> Any:
    return value.buffer() if isinstance(value, _History) else value


STAND_INS = {"mmengine.logging.history_buffer.HistoryBuffer": _History}


CheckpointLoader.register_scheme(
    prefixes=list(CheckpointLoader._schemes), loader=load_from_checked, force=True
)
