"""Every operator alone, with both sets of operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.mmcv_operators.compare import as_arrays, relative_error
from benchmarks.mmcv_operators.switch import OWN, REFERENCE, process_with

SEEDS = range(3)
BOUND = 1e-6
"""The largest difference over the largest value may be this, in float32."""


def run_case(name: str, seed: int) -> dict[str, Any]:
    """Returns outputs and gradients, or, under `absent`, why the operator did not run."""
    from benchmarks.mmcv_operators.cases import CASES, Draw

    draw = Draw(seed)
    call = CASES[name](draw)
    try:
        outputs = flat(call())
        result = {f"output {i}": output.detach() for i, output in enumerate(outputs)}
        if draw.trained:
            output = outputs[0]
            cotangent = draw.normal(*output.shape)
            gradients = torch.autograd.grad(output, list(draw.trained.values()), cotangent)
            result |= dict(zip(draw.trained, gradients, strict=True))
    except (RuntimeError, AttributeError) as error:
        message = str(error)
        return {"absent": message.splitlines()[0]}
    return as_arrays(result)


def flat(outputs: Any) -> list[Tensor]:
    """Returns the tensors of what an operator returned."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in flat(output)]


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields for each case the largest relative error of outputs and of each gradient."""
    from benchmarks.mmcv_operators.cases import CASES

    with process_with(REFERENCE, threads=1) as reference, process_with(OWN, threads=1) as own:
        for name in CASES:
            pairs = [
                (own.submit(run_case, name, seed), reference.submit(run_case, name, seed))
                for seed in SEEDS
            ]
            yield name, worst([compare(a.result(), b.result()) for a, b in pairs])


def within_bounds(row: Mapping[str, Any]) -> bool:
    """Returns whether the errors of a case are as small as they should be.

    What this package does not compute is not; what only mmcv lacks cannot be compared.
    """
    if row.get("not computed") == OWN:
        return False
    return all(error <= BOUND for error in row.values() if isinstance(error, float))


def compare(own: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    for operators, result in ((OWN, own), (REFERENCE, reference)):
        if "absent" in result:
            return {"not computed": operators, "why": result["absent"]}
    if own.keys() != reference.keys():
        return {"outputs": float("inf")}
    errors: dict[str, float] = {}
    for key, value in reference.items():
        name = "outputs" if key.startswith("output ") else f"gradient of {key}"
        errors[name] = max(errors.get(name, 0.0), relative_error(own[key], value))
    return errors


def worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the largest errors over the seeds, and what is no number from the first seed."""
    if any(isinstance(value, str) for row in rows for value in row.values()):
        return next(row for row in rows if "not computed" in row)
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: max(row.get(key, 0.0) for row in rows) for key in keys}
