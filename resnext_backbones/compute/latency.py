"""How long networks take on this machine is measured when asked for, and kept in the user's cache.

A file holds it for each device, versions and number of threads, as of the ways of convolutions.
PyTorch is imported where something was measured, or is to be.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

TURNS, FEWEST = 7, 2
"""A network is timed so often after a turn that warms up; one that is slow at least so often."""

SLOW = 10.0
"""A network whose turns have taken so many seconds has no further ones."""


class Taken(NamedTuple):
    """Says where what is kept was measured, and how many seconds each network took."""

    device: str
    seconds: dict[str, float]


def folder() -> Path:
    """Returns the folder of the files, which TORCH_HOME moves."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return home / "hub" / "resnext_backbones" / "latency"


def known(size: tuple[int, int]) -> Taken:
    """Returns what was measured with an image (H, W) on the device that runs would use now; where
    nothing was, it does not ask which one that is.
    """
    if not any(folder().glob("*.json")):
        return Taken("", {})
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Taken(described(device), _read(device).get(_key(size), {}))


def described(device: str) -> str:
    """Returns a device in words, with what its times depend on."""
    from resnext_backbones.compute.tuned import measured_on

    on = measured_on(device)
    threads = f", {on['threads']} threads" if "threads" in on else ""
    return f"{on['device']}{threads}, torch {on['torch']}"


def measure(variant: str, size: tuple[int, int]) -> float:
    """Returns the median of the seconds of a forward pass of a trunk, one image (H, W) in float32,
    for inference; they are kept from then on where a file can be written.
    """
    import torch

    from resnext_backbones.build import build_backbone
    from resnext_backbones.compute.tuned import file_name, write

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng():
        trunk = build_backbone(variant).eval().to(device)
        image = torch.randn(1, 3, *size, device=device)

    def turn() -> float:
        begun = time.perf_counter()
        trunk(image)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    with torch.inference_mode():
        begun = time.monotonic()
        turn()
        taken = [turn() for _ in range(FEWEST)]
        while len(taken) < TURNS and time.monotonic() - begun < SLOW:
            taken.append(turn())
    seconds = statistics.median(taken)

    def content() -> dict[str, Any]:
        rows = _read(device)
        rows.setdefault(_key(size), {})[variant] = seconds
        return {"seconds": rows}

    write(folder() / file_name(device), device, content)
    return seconds


def _key(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _read(device: str) -> dict[str, dict[str, float]]:
    """Returns seconds by variant, by size; nothing where the file cannot be read."""
    from resnext_backbones.compute.tuned import file_name, measured_on

    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        content = json.loads((folder() / file_name(device)).read_bytes())
        if content["measured_on"] == measured_on(device):
            return {
                size: {name: float(seconds) for name, seconds in row.items()}
                for size, row in content["seconds"].items()
            }
    return {}
