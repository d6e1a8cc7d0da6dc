"""Checkpoints of this package's loop of before MMEngine's are evaluated here too, and those of
torchvision's own networks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

from resnext_backbones.errors import InputError
from resnext_backbones.weights.find import said_of
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.write_detectors import ALIGNED

DESCRIBED = {"network", "model", "epoch", "steps"}
"""Only they have all of these."""


def translated(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a checkpoint of before, or a state dict of torchvision's, as the runner would have
    written it; any other as it is.
    """
    if not content.keys() >= DESCRIBED:
        return _wrapped(content)
    network = content["network"]
    model = {
        "data_preprocessor": {
            name: [round(255 * value, 3) for value in network[f"image_{name}"]]
            for name in ("mean", "std")
        },
        "backbone": {"variant": network["backbone"]},
        "output_stride": network["output_stride"],
    }
    classes = {"classes": tuple(network["classes"])}
    return {
        "state_dict": {f"network.{key}": value for key, value in content["model"].items()},
        "meta": {"cfg": f"model = {model!r}", "dataset_meta": classes},
    }


PLAIN = ("backbone.body.", "classifier.")
"""Names in state dicts of torchvision's detectors and segmentation networks begin so, and neither
those in runs nor those of other libraries' networks do."""

TRUNKS = ("backbone.body.", "backbone.")


def _wrapped(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a state dict of torchvision's, alone or as its reference scripts save it, with the
    names of a run's, and what it says of pixels and pools; anything else as it is.
    """
    held = (content.get(key) for key in ("state_dict", "model"))
    state = next((each for each in held if isinstance(each, Mapping)), content)
    if not any(str(key).startswith(PLAIN) for key in state):
        return content
    named: Any = OrderedDict((f"network.{key}", value) for key, value in state.items())
    versions = getattr(state, "_metadata", None)
    if isinstance(versions, Mapping):
        named._metadata = {f"network.{k}".rstrip("."): v for k, v in versions.items()}
    said = next(filter(None, (said_of(state, trunk) for trunk in TRUNKS)), {})
    try:
        pixels = Preprocessing.from_metadata(said)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"checkpoint: its pixel normalisation: {error}") from error
    if pixels is None:
        return {"state_dict": named}
    model = {
        "data_preprocessor": {
            "mean": list(pixels.mean),
            "std": list(pixels.std),
            "rgb_to_bgr": pixels.order == "BGR",
        },
        "backbone": {"in_channels": len(pixels.mean)},
        ALIGNED: True if ALIGNED in said else None,  # of others it is not known
    }
    return {"state_dict": named, "meta": {"cfg": f"model = {model!r}"}}


class TranslateHook(Hook):
    """Has the runner load what `translated` returns."""

    priority = "VERY_HIGH"  # other hooks look for a `state_dict`

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        checkpoint.update(translated(checkpoint))
