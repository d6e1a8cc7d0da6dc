"""The parts of what is measured on a GPU: valid commands, run once, and taken up again."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmark
from benchmarks import gpu, report
from benchmarks.job import TASKS
from benchmarks.provenance import file_name, hardware

TRUNKS = {name: part for name, part in gpu.PARTS.items() if "-m benchmarks --task" in part.command}


@pytest.mark.parametrize("name", TRUNKS)
def test_a_part_writes_the_file_that_it_names(name: str, monkeypatch, tmp_path: Path) -> None:
    part = TRUNKS[name]
    _, _, *arguments = shlex.split(part.command.format(device="cuda", out=tmp_path))
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    args = benchmark.parse_args()
    (task,) = args.tasks
    entries = benchmark.entries(args, task)
    rows = [{"median": 1.0, "spread": 0.0, **vars(entry)} for entry in entries]
    result = {
        "setting": {
            "task": task,
            "variant": args.variant,
            "batch": args.batch or TASKS[task].batch,
            "sizes": [TASKS[task].size],
            "device": args.device,
            "smooth": args.smooth,
        },
        "rows": rows,
        "hardware": "NVIDIA H200",
    }
    monkeypatch.setattr(report, "draw", lambda *_: None)
    assert report.write(result, tmp_path)[0].name == part.result.format(hardware="nvidia_h200")


WRITES = """
import argparse
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--device", required=True)
parser.add_argument("--out", type=Path, required=True)
(parser.parse_args().out / NAME).write_text("{}")
"""
MEASURES = (
    "-m benchmarks --task inference --variant resnext26_32x4d --size 64x64 --turns 1"
    " --contestants resnext_backbones --device {device} --out {out}"
)
RESULT = "inference_resnext26_32x4d_{hardware}_alone_64x64.json"


@pytest.mark.parametrize("command", ["", pytest.param(MEASURES, marks=pytest.mark.whole)])
def test_parts_run_once_and_only_where_time_is_left(command: str, tmp_path: Path) -> None:
    """A part that measures, or one that only writes its result."""
    result = tmp_path / RESULT.format(hardware=file_name(hardware("cpu")))
    (script := tmp_path / "writes.py").write_text(WRITES.replace("NAME", repr(result.name)))
    small = gpu.Part(command or f"{script} --device {{device}} --out {{out}}", RESULT, 5)
    parts = {"small": small, "wrong": gpu.Part("-c raise(SystemExit(3))", None, 1)}
    parts["a check"] = gpu.Part("-c pass", None, 1)
    ended = gpu.run_parts(parts, tmp_path, device="cpu", minutes=0)
    assert all(how.startswith("not begun") for how in ended.values())
    ended = gpu.run_parts(parts, tmp_path, device="cpu", minutes=60)
    assert ended["small"].startswith("done")
    assert ended["wrong"].startswith("failed (3)")
    assert ended["a check"].startswith("done")
    written = result.stat().st_mtime_ns
    again = gpu.run_parts(parts, tmp_path, device="cpu", minutes=60)
    assert again["small"].startswith("is there")
    assert again["a check"].startswith("is there")
    assert again["wrong"].startswith("failed (3)")
    assert result.stat().st_mtime_ns == written
    next(tmp_path.glob("a_check_*.passed")).write_text("another commit")
    again = gpu.run_parts(parts, tmp_path, device="cpu", minutes=60)
    assert again["a check"].startswith("done")


def test_parts_that_this_machine_has_nothing_for(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COCO_ROOT", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    names = ["two ranks", "training"]
    parts = {name: gpu.PARTS[name] for name in names}
    ended = gpu.run_parts(parts, tmp_path, device="cpu", minutes=60)
    assert ended["two ranks"] == "left out: needs 2 GPUs, and 1 are there"
    assert ended["training"].startswith("left out: needs COCO_ROOT")


STARTS = """
import subprocess, sys
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(str(other.pid))
"""


def test_what_a_part_leaves_running_is_stopped(tmp_path: Path) -> None:
    (script := tmp_path / "starts.py").write_text(STARTS)
    parts = {
        "leaves": gpu.Part(f"{script} {{out}}/pid", None, 1),
        "long": gpu.Part("-c while(True):pass", None, 1 / 60),
    }
    ended = gpu.run_parts(parts, tmp_path, device="cpu", minutes=60)
    assert ended["leaves"].startswith("done")
    assert ended["long"].startswith("stopped after")
    end = time.monotonic() + 20
    while _lives((tmp_path / "pid").read_text()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _lives((tmp_path / "pid").read_text())


def _lives(pid: str) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False
