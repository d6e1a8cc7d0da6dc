"""Whole detectors, with both sets of operators: losses, gradients, detections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.mmcv_operators.compare import as_arrays, norm_error, relative_error
from benchmarks.mmcv_operators.switch import OWN, REFERENCE, process_with

SEED = 0
ABSENT = "implementation for device"
"""What mmcv says where an operator was compiled for other devices only."""

BOUNDS = {"losses": 1e-6, "gradients": 1e-4, "detections": 1e-5}


def run_step(model: dict[str, Any]) -> dict[str, Any]:
    """Returns the losses and gradients of one training step and the detections of a test step."""
    from mmdet.utils import register_all_modules

    from benchmarks.mmcv_operators.configs import build, detections_of, losses_of
    from resnext_backbones.adapters import openmmlab  # noqa: F401  it registers the trunk

    register_all_modules()
    detector = build(model, SEED)
    losses = losses_of(detector, SEED)
    torch.stack([loss.sum() for loss in losses.values()]).sum().backward()
    gradients = {
        name: parameter.grad
        for name, parameter in detector.named_parameters()
        if parameter.grad is not None
    }
    detections: Any
    try:
        detections = detections_of(detector)
    except RuntimeError as error:
        if ABSENT not in str(error):
            raise
        detections = str(error).strip()
    return as_arrays({"losses": losses, "gradients": gradients, "detections": detections})


def measure(models: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields for each config how far losses, gradients and detections lie apart."""
    with process_with(REFERENCE, threads=1) as reference, process_with(OWN, threads=1) as own:
        for name, model in models.items():
            steps = [process.submit(run_step, model) for process in (own, reference)]
            yield name, compare(*(step.result() for step in steps))


def within_bounds(row: Mapping[str, Any]) -> bool:
    """Returns whether a config's errors are as small as they should be."""
    return all(
        max(errors.values() if isinstance(errors, dict) else [errors]) <= BOUNDS[key]
        for key, errors in ((key, row[key]) for key in BOUNDS)
        if not isinstance(errors, str)
    )


def compare(own: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the largest errors, and how much there was to compare."""
    losses, gradients, found = (reference[key] for key in ("losses", "gradients", "detections"))
    if own["losses"].keys() != losses.keys() or own["gradients"].keys() != gradients.keys():
        raise AssertionError("the two detectors have other losses or gradients")
    parts = sorted({name.split(".")[0] for name in gradients})
    return {
        "losses": max(relative_error(own["losses"][name], losses[name]) for name in losses),
        "gradients": {
            part: norm_error(*(values_of(g, part) for g in (own["gradients"], gradients)))
            for part in parts
        },
        "detections": found
        if isinstance(found, str)
        else detection_error(own["detections"], found),
        "number of losses": len(losses),
        "number of gradients": len(gradients),
        "number of detections": sum(len(image["scores"]) for image in own["detections"]),
    }


def values_of(gradients: Mapping[str, np.ndarray], part: str) -> list[np.ndarray]:
    return [value for name, value in gradients.items() if name.split(".")[0] == part]


def detection_error(
    own: Sequence[Mapping[str, np.ndarray]], reference: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, float]:
    """Returns the largest error of each field; masks count the share of pixels that differ."""
    errors: dict[str, float] = {}
    for ours, theirs in zip(own, reference, strict=True):
        for key, value in theirs.items():
            if key == "masks" and ours[key].shape == value.shape:
                error = float((ours[key] != value).mean()) if value.size else 0.0
            else:
                error = relative_error(ours[key], value)
            errors[key] = max(errors.get(key, 0.0), error)
    return errors
