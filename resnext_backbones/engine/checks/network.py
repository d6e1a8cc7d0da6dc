"""A checkpoint must hold the network of a config, all of it."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

# A config that a run wrote may name the norms that it registers.
from resnext_backbones.engine import norms as _registers  # noqa: F401
from resnext_backbones.engine.config import build_errors_named
from resnext_backbones.errors import InputError
from resnext_backbones.weights.compare import COUNTER, MISSING, UNEXPECTED, Comparison, compare
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.identify import network_name

RESUMED = ("meta", "message_hub", "optimizer")
"""A checkpoint of a run holds these beside the weights."""

TRUNKS = ("backbone.body.", "backbone.", "network.")
"""Keys of a trunk begin so in torchvision's detectors, in others, and in a classifier."""


def read_checkpoint(path: str | Path, what: str = "checkpoint") -> Mapping[str, Any]:
    """Returns what a checkpoint holds; raises InputError where there is no such file, and
    WeightsError where it cannot be read.

    Args:
        what: it is called in the message.
    """
    if not Path(path).is_file():
        raise InputError(f"{what} {path}: there is no such file")
    return read_file(path)


def check_checkpoint(
    path: str | Path,
    cfg: Config,
    content: Mapping[str, Any] | None = None,
    *,
    to_resume: bool = False,
) -> dict[str, Any]:
    """Returns what a checkpoint says of its run: MMEngine's `meta`, nothing where it has none.

    Raises InputError where there is no such file, or where it is another network's, before anything
    is written. MMEngine loads what fits and logs the rest; a test or a resumed run wants all of it.

    Args:
        content: of the checkpoint; None reads it, or raises WeightsError.
        to_resume: it must hold the optimiser's state and the progress as well.
    """
    if content is None:
        content = read_checkpoint(path)
    if to_resume and (absent := [key for key in RESUMED if key not in content]):
        raise InputError(
            f"checkpoint {path}: has no {', '.join(absent)}, so it cannot be resumed; a new run "
            f"can begin from its weights: --weights {path}"
        )
    found, held, network = differences(path, content, build_on_meta(cfg))
    if found:
        raise InputError(found.message(f"checkpoint {path}", held, network))
    return content.get("meta") or {}


def differences(
    path: str | Path, content: Mapping[str, Any], model: nn.Module
) -> tuple[Comparison, str, str]:
    """Returns how a checkpoint's tensors differ from those of a model on the meta device, and the
    networks that both hold; raises InputError where it holds no mapping of tensors, or says that
    these are of a network that differs in what they do not show.
    """
    tensors = content.get("state_dict", content)
    if not isinstance(tensors, Mapping):
        raise InputError(f"checkpoint {path}: its state_dict is a {type(tensors).__name__}")
    state = {
        key.removeprefix("module."): value
        for key, value in tensors.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    own = model.state_dict()
    fits = (key for key, value in state.items() if key not in own or own[key].shape == value.shape)
    fitting: Any = OrderedDict((key, state[key]) for key in fits)
    if isinstance(said := getattr(tensors, "_metadata", None), Mapping):
        fitting._metadata = {f"{k}.".removeprefix("module.")[:-1]: v for k, v in said.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that copying to the meta device copies nothing
            result = model.load_state_dict(fitting, strict=False)
    except WeightsError as error:
        raise InputError(f"checkpoint {path}: {error}") from error
    # A module may read keys by other names: what it misses is what it says.
    absent = [k for k in result.missing_keys if k not in state and not k.endswith(COUNTER)]
    found = compare(state, own)
    spare = [k for k in result.unexpected_keys if not k.endswith(COUNTER)]
    found |= {MISSING: absent, UNEXPECTED: spare}
    return found, network_name(_trunk(state)), network_name(_trunk(own))


def build_on_meta(cfg: Config) -> nn.Module:
    """Returns the config's model without memory for its weights, or raises InputError."""
    init_default_scope(cfg.get("default_scope", "mmengine"))
    with build_errors_named(cfg), torch.device("meta"):
        return MODELS.build(cfg.model)


def _trunk(state: Mapping[str, Any]) -> dict[str, Any]:
    parts = ((key.partition(marker), value) for key, value in state.items() for marker in TRUNKS)
    return {name: value for (_, marker, name), value in parts if marker}
