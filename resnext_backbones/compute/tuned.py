"""This user's choices of ways are in a file for each device, versions and number of threads."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

import resnext_backbones
from resnext_backbones.compute.tables import DEVICES, Table, from_rows, merge, to_rows
from resnext_backbones.io import atomic_write_text, json_text


def folder() -> Path:
    """Returns the folder of the files, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / "resnext_backbones" / "ways"


def read(device: str) -> Table:
    """Returns what was chosen on a type of device, as it is now; an empty table where nothing was,
    or where the file cannot be read.
    """
    if device not in DEVICES:
        return {}
    # The last two: of a GPU that is not there, and of a file that means harm.
    with suppress(OSError, ValueError, LookupError, TypeError, AssertionError, RuntimeError):
        content = json.loads(path(device).read_bytes())
        if content["measured_on"] == measured_on(device):
            return from_rows(device, content["rows"])[0]
    return {}


def keep(device: str, chosen: Table) -> None:
    """Adds choices to those of a type of device; where nothing can be written they hold for this
    process.
    """
    write(path(device), device, lambda: {"rows": to_rows(merge(read(device), chosen))})


def write(file: Path, device: str, content: Callable[[], dict[str, Any]]) -> None:
    """Writes what was measured on a type of device, with what that depends on, where it can.

    Args:
        content: is called when nobody else can write, and adds to what the file holds.
    """
    with suppress(
        OSError
    ):  # also of file systems without locks: a marker would outlive who is killed
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", fallback_to_soft=False):
            text = json_text({"measured_on": measured_on(device), **content()}, indent=1)
            atomic_write_text(file, text)


def where(device: str, chosen: Table) -> str:
    """Returns where choices are kept, in words."""
    file, known = path(device), read(device)
    if all(rows.items() <= known.get(layer, {}).items() for layer, rows in chosen.items()):
        return f"kept in {file}"
    return f"for this process alone: {file} cannot be written"


def measured_on(device: str) -> dict[str, Any]:
    """Returns what choices depend on: the device, the versions, and the threads of a processor."""
    versions = {"torch": str(torch.__version__), "resnext_backbones": resnext_backbones.__version__}
    if device == "cuda":
        versions["cuDNN"] = str(torch.backends.cudnn.version())
        return {"device": torch.cuda.get_device_name(), **versions}
    return {"device": processor(), **versions, "threads": torch.get_num_threads()}


def path(device: str) -> Path:
    """Returns the file of the choices for a type of device, as it is now."""
    return folder() / file_name(device)


def file_name(device: str) -> str:
    """Returns how a file is called of what was measured on a type of device, as it is now."""
    name = "_".join(map(str, measured_on(device).values()))
    return re.sub(r"[^\w.+-]+", "_", name) + ".json"


def processor() -> str:
    """Returns the name of this machine's processor."""
    with suppress(OSError):
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        return names[0] if names else platform.processor()
    return platform.processor()
