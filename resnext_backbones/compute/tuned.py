"""This user's choices of ways are in a file for each device, versions and number of threads."""

from __future__ import annotations

import json
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

import resnext_backbones
from resnext_backbones.compute.ways import Table, from_rows, to_rows
from resnext_backbones.io import atomic_write_text, json_text


def folder() -> Path:
    """Returns the folder of the files, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / "resnext_backbones" / "ways"


def read(device: str) -> Table:
    """Returns what was chosen on a type of device, as it is now; an empty table where nothing was,
    or where the file cannot be read.
    """
    with suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads(path(device).read_bytes())
        if content["measured_on"] == measured_on(device):
            return from_rows(device, content["rows"])[0]
    return {}


def keep(device: str, chosen: Table) -> None:
    """Adds choices to those of a type of device; where nothing can be written they hold for this
    process.
    """
    file = path(device)
    with suppress(OSError, NotImplementedError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            known = read(device)
            for layer, rows in chosen.items():
                known.setdefault(layer, {}).update(rows)
            content = {"measured_on": measured_on(device), "rows": to_rows(known)}
            atomic_write_text(file, json_text(content, indent=1))


def measured_on(device: str) -> dict[str, Any]:
    """Returns what choices depend on: the device, the versions, and the threads of a processor."""
    versions = {"torch": str(torch.__version__), "resnext_backbones": resnext_backbones.__version__}
    if device == "cuda":
        versions["cuDNN"] = str(torch.backends.cudnn.version())
        return {"device": torch.cuda.get_device_name(), **versions}
    return {"device": processor(), **versions, "threads": torch.get_num_threads()}


def path(device: str) -> Path:
    name = "_".join(map(str, measured_on(device).values()))
    return folder() / (re.sub(r"[^\w.+-]+", "_", name) + ".json")


def processor() -> str:
    """Returns the name of this machine's processor."""
    with suppress(OSError):
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        return names[0] if names else platform.processor()
    return platform.processor()
