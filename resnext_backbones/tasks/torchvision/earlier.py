"""Checkpoints of this package's loop of before MMEngine's are evaluated here too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

DESCRIBED = {"network", "model", "epoch", "steps"}
"""Only they have all of these."""


def translated(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a checkpoint of before as the runner would have written it; any other as it is."""
    if not content.keys() >= DESCRIBED:
        return content
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


class TranslateHook(Hook):
    """Has the runner load what `translated` returns."""

    priority = "VERY_HIGH"  # other hooks look for a `state_dict`

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        checkpoint.update(translated(checkpoint))
