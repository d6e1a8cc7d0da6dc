"""Time and memory of checking an annotation file as large as COCO's, beside those who only read it.

python -m benchmarks.check_data --out docs/benchmarks
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.coco_like import ANNOTATIONS, IMAGES, write_like_coco
from benchmarks.memory import peak_bytes
from benchmarks.provenance import provenance, save
from resnext_backbones.cli import run_tool
from resnext_backbones.errors import InputError

CHECK = "inspect_annotations"
WAYS = ("json.load", "pycocotools.coco.COCO", CHECK, f"{CHECK}, kept")
"""The peers read, and refuse nothing; what was found is kept by the file's hash."""


def measure(images: int = IMAGES, annotations: int = ANNOTATIONS) -> dict[str, Any]:
    """Writes a file, and has it read in each way by a process of its own, on one core.

    Args:
        images: of the file.
        annotations: of the file.

    Returns:
        Of each way the seconds, those that the processor worked for it, and the peak of memory in
        bytes, Python and its libraries included, and theirs alone; what was found; the file; what
        it ran on.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances_like_coco.json"
        write_like_coco(path, images=images, annotations=annotations)
        rows = [{"what": way, **_apart(way, path, Path(folder))} for way in WAYS]
        size = path.stat().st_size
    return {
        "images": images,
        "annotations": annotations,
        "bytes": size,
        "rows": rows,
        **provenance("cpu"),
    }


def _apart(way: str, path: Path, kept: Path) -> dict[str, Any]:
    code = f"from benchmarks.check_data import read; read({way!r}, {str(path)!r})"
    one = {"OMP_NUM_THREADS": "1", "TORCH_HOME": str(kept), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **one}
    )
    if done.returncode:
        raise InputError(f"{way}: ended with {done.returncode}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def read(way: str, path: str) -> None:
    """Reads a file in one way, on one core, and prints what it took as a line of JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from pycocotools.coco import COCO

    from resnext_backbones.data.annotations import inspect_annotations
    from resnext_backbones.data.rules import Use

    found: dict[str, int] = {}
    libraries = peak_bytes("cpu")
    wall, processor = time.perf_counter(), time.process_time()
    if way == "json.load":
        with Path(path).open(encoding="utf-8") as file:
            json.load(file)
    elif way.startswith(CHECK):
        use = Use(train=True, evaluate=True, masks=True)
        result = inspect_annotations(Path(path), use)
        found = {finding.rule: finding.count for finding in result.findings}
    else:
        COCO(path)
    seconds, worked = time.perf_counter() - wall, time.process_time() - processor
    row = {
        "seconds": seconds,
        "processor_seconds": worked,
        "peak_bytes": peak_bytes("cpu"),
        "libraries_bytes": libraries,
        "found": found,
    }
    print(json.dumps(row))


def markdown(result: dict[str, Any]) -> str:
    """Returns a table for a document."""
    lines = [
        "| what | seconds | of which the processor worked | peak (GB) |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        seconds, worked = row["seconds"], row["processor_seconds"]
        lines.append(
            f"| `{row['what']}` | {seconds:.1f} | {worked:.1f} | {row['peak_bytes'] / 1e9:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.check_data", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--part", type=float, default=1.0, help="of COCO's size; default 1")
    parser.add_argument("--out", type=Path, help="a folder for the result as JSON")
    args = parser.parse_args()
    result = measure(round(args.part * IMAGES), round(args.part * ANNOTATIONS))
    print(f"{result['annotations']:,} annotations, {result['bytes'] / 1e6:.0f} MB")
    print(markdown(result))
    if args.out:
        print(save(result, args.out, "check_data"))


if __name__ == "__main__":
    run_tool(main)
