"""Reads damaged and hostile files in children of this process, and counts how that ends."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.hostile.files import (
    MARK,
    make,
    seeds_of_annotations,
    seeds_of_images,
    seeds_of_weights,
)
from benchmarks.provenance import provenance
from resnext_backbones import ResNeXt, load_weights
from resnext_backbones.engine.peak import process_peak
from resnext_backbones.errors import InputError
from resnext_backbones.models import Architecture
from resnext_backbones.weights import WeightsError, preprocessing_of
from resnext_backbones.weights.write import convert

SMALL = Architecture(blocks=(1, 1, 1, 1), cardinality=2, base_width=2, base_channels=4)
"""Its files have some tens of kilobytes."""

SECONDS = 20
"""A file may take so many."""

MEMORY = 2**30
"""Bytes that a child may take beyond what it began with."""

CHILD = 25
"""Files are read by one child."""

RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn")
"""Python tells of these before they happen."""

Door = Callable[[Path], object]
Say = Callable[[str], None]


def _by_loading(model: ResNeXt) -> Door:
    return lambda path: load_weights(model, path)


def _from_folder(model: ResNeXt) -> Door:
    """Returns `from_pretrained` of a folder in which the file has the name of weights."""

    def door(path: Path) -> None:
        folder = path.with_suffix(".folder")
        folder.mkdir(exist_ok=True)
        model.save_pretrained(folder)
        shutil.copy(path, folder / "model.safetensors")
        ResNeXt.from_pretrained(folder)

    return door


def doors(model: ResNeXt) -> dict[str, Door]:
    """Returns what reads weights; frameworks that are not installed have none."""
    found: dict[str, Door] = {
        "load_weights": _by_loading(model),
        "from_pretrained": _from_folder(model),
        "convert": lambda path: convert(path, path.with_suffix(".out"), "timm", overwrite=True),
        "preprocessing_of": preprocessing_of,
    }
    if find_spec("mmengine") and find_spec("resnext_backbones.adapters.mmengine"):
        found["MMEngine"] = import_module("resnext_backbones.adapters.mmengine").load_from_checked
    if find_spec("detectron2"):
        checkpoints = import_module("resnext_backbones.tasks.detectron2.checkpoints")
        reader = checkpoints.SafeCheckpointer
        found["Detectron2"] = lambda path: reader(model).load(str(path))
    return found


DATA = {
    "images": ("resnext_backbones.data.pixels", "read_image", seeds_of_images),
    "annotations": ("resnext_backbones.data.coco_file", "read_content", seeds_of_annotations),
}
"""Doors for data: a module, its function, and whole files."""


def _data_doors() -> Iterable[tuple[str, Door, dict[str, bytes]]]:
    for name, (module, function, seeds) in DATA.items():
        if find_spec(module):
            yield name, getattr(import_module(module), function), seeds()


def run(files: int, first: int, say: Say) -> dict[str, Any]:
    """Returns how reading so many files ended, by door; the first has this seed."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ResNeXt(SMALL)
    weights = seeds_of_weights({k: v.contiguous() for k, v in model.state_dict().items()})
    named = [(name, door, weights) for name, door in doors(model).items()] + [*_data_doors()]
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    worst = {"seconds": 0.0, "bytes": 0}
    kinds: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for begin in range(first, first + files, CHILD):
            seeds = range(begin, min(begin + CHILD, first + files))
            for found in _child(Path(folder), seeds, named):
                ends[found["door"]][found["end"]] += 1
                kinds[found["how"]] += 1
                for key in worst:
                    worst[key] = max(worst[key], found[key])
                if found["end"] not in ("refused", "loaded"):
                    failures.append(f"seed {found['seed']}, {found['how']}: {found['end']}")
                    say(failures[-1])
            if (begin - first) % (40 * CHILD) == 0:
                say(f"{begin - first} of {files}")
    return {
        **provenance("cpu"),
        "files": files,
        "first_seed": first,
        "doors": {name: dict(counts) for name, counts in ends.items()},
        "made_by": dict(sorted(kinds.items())),
        "most_seconds": round(worst["seconds"], 2),
        "most_bytes_more": worst["bytes"],
        "failures": failures,
    }


def _child(folder: Path, seeds: range, named: list[Any]) -> list[dict[str, Any]]:
    """Reads files in a child; where one ends it, the others are read by another."""
    left, found = list(seeds), []
    while left:
        notes = folder / "notes"
        notes.write_text("", encoding="utf-8")
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(folder)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some doors talk
                with notes.open("w", encoding="utf-8", buffering=1) as out:
                    _read_all(left, named, out)
            finally:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        lines = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
        found += [line for line in lines if "end" in line]
        done = sum("end" in line for line in lines)
        if done < len(left) and len(lines) > done:
            end = "hung" if os.WTERMSIG(status) == signal.SIGALRM else f"died ({status})"
            found.append({**lines[-1], "end": end, "seconds": SECONDS, "bytes": 0})
            done += 1
        elif done < len(left):
            raise RuntimeError(f"a child ended by itself, with status {status}")
        left = left[done:]
    return found


def _read_all(seeds: list[int], named: list[Any], out: Any) -> None:
    ran: list[str] = []
    sys.addaudithook(lambda event, _: ran.append(event) if event in RUNS else None)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    base = process_peak()
    for seed in seeds:
        name, door, whole = named[seed % len(named)]
        how, content = make(seed, whole)
        path = Path("file.pth")
        path.write_bytes(content)
        note = {"seed": seed, "door": name, "how": how}
        out.write(json.dumps(note) + "\n")
        signal.alarm(SECONDS)
        begin = time.perf_counter()
        end = _end_of(door, path)
        seconds = time.perf_counter() - begin
        signal.alarm(0)
        if ran or Path(MARK).exists():
            end = f"executed {ran or MARK}"
        grown = process_peak() - base
        out.write(json.dumps({**note, "end": end, "seconds": seconds, "bytes": grown}) + "\n")


def _end_of(door: Door, path: Path) -> str:
    try:
        door(path)
    except (WeightsError, InputError) as error:
        return "out of memory" if "MemoryError" in str(error) else "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "loaded"
