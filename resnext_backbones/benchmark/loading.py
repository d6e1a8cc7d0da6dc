"""What it takes to load weights whole and checked, beside loading them as they are."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from resnext_backbones.runs.provenance import provenance
from resnext_backbones.variants import build_backbone
from resnext_backbones.weights import load_weights
from resnext_backbones.weights.write import write_state


def measure(variant: str, turns: int) -> dict[str, Any]:
    """Load one safetensors file into a built trunk in turn, by `load_weights` and without it.

    Args:
        variant: of `list_variants()`.
        turns: of each.

    Returns:
        Seconds of each turn, their medians' ratio, the file's size in bytes, and what it ran on.
    """
    model = build_backbone(variant)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        write_state(model.state_dict(), path, "safetensors", {})
        ways: dict[str, Callable[[], Any]] = {
            "load_file and load_state_dict": lambda: model.load_state_dict(load_file(path)),
            "load_weights": lambda: load_weights(model, path),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(turns):
            for name, load in ways.items():
                start = time.perf_counter()
                load()
                seconds[name].append(time.perf_counter() - start)
        size = path.stat().st_size
    plain, checked = (statistics.median(values) for values in seconds.values())
    return {
        "variant": variant,
        "bytes": size,
        "seconds": seconds,
        "ratio": checked / plain,
        **provenance("cpu"),
    }
