"""Whole detectors, with both sets of operators: losses, gradients, detections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.mmcv_operators.compare import as_arrays, norm_error, relative_error
from benchmarks.mmcv_operators.switch import OWN, REFERENCE, process_with

SEED = 0
BOUNDS = {"losses": 1e-6, "gradients": 1e-4, "detections": 1e-5}


def run_step(model: dict[str, Any]) -> dict[str, Any]:
    """Returns the losses and gradients of one training step and the detections of a test step."""
    from mmdet.utils import register_all_modules

    from benchmarks.mmcv_operators.configs import build, detections_of, losses_of
    from resnext_backbones.adapters import openmmlab  # noqa: F401  it registers the trunk

    register_all_modules()
    detector = build(model, SEED)
    losses = losses_of(detector, SEED)
    sum(losses.values()).backward()
    gradients = {
        name: parameter.grad
        for name, parameter in detector.named_parameters()
        if parameter.grad is not None
    }
    result = {"losses": losses, "gradients": gradients, "detections": detections_of(detector)}
    return as_arrays(result)


def measure(models: Mapping[str, dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Returns for each config how far losses, gradients and detections lie apart."""
    rows = {}
    with process_with(REFERENCE, threads=1) as reference, process_with(OWN, threads=1) as own:
        for name, model in models.items():
            steps = [process.submit(run_step, model) for process in (own, reference)]
            rows[name] = compare(*(step.result() for step in steps))
            say(f"{name}: {rows[name]}")
    return {"bounds": BOUNDS, "seed": SEED, "configs": rows}


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
        "detections": detection_error(own["detections"], found),
        "number of losses": len(losses),
        "number of gradients": len(gradients),
        "number of detections": sum(len(image["scores"]) for image in found),
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
