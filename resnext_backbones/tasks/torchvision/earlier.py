"""Checkpoints of this package's loop of before MMEngine's: their weights are evaluated here too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

DESCRIBED = ("network", "model", "epoch", "steps")
"""What tells them from others."""


def translated(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a checkpoint of before as the runner would have written it; any other as it is."""
    if any(key not in content for key in DESCRIBED):
        return content
    network = content["network"]
    pixels = {name: [255 * v for v in network[f"image_{name}"]] for name in ("mean", "std")}
    rounded = {name: [round(value, 3) for value in values] for name, values in pixels.items()}
    model = {
        "data_preprocessor": rounded,
        "backbone": {"variant": network["backbone"]},
        "output_stride": network["output_stride"],
    }
    return {
        "state_dict": {f"network.{key}": value for key, value in content["model"].items()},
        "meta": {
            "cfg": f"model = {model!r}",
            "dataset_meta": {"classes": tuple(network["classes"])},
        },
    }


class TranslateHook(Hook):
    """Has the runner load what `translated` returns."""

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Puts it into the checkpoint that was read."""
        checkpoint.update(translated(checkpoint))
