"""Kill runs at random moments, let them go on, and compare what they end with, bit for bit.

python -m benchmarks.soak --kills 1000 --out docs/benchmarks/soak_cpu.json

A life of a run is forked from a process that has imported everything. After each it is looked
whether anything is lost beyond the last checkpoint. Where the file exists it goes on from there;
several, each with other --runs and a --folder of its own, may share one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

import torch
from filelock import FileLock

from benchmarks.provenance import provenance
from benchmarks.soak_lives import Fault, Life, left_of, live
from benchmarks.soak_tasks import Run, prepare
from resnext_backbones.engine.alone import LOCK
from resnext_backbones.engine.checkpoints import newest_checkpoint, read_journal
from resnext_backbones.engine.curves import FILE_NAME
from resnext_backbones.engine.scalars import by_step
from resnext_backbones.engine.signals import TERMINATED
from resnext_backbones.io import atomic_write_text

ABOUT = (__doc__ or "").splitlines()[0]

STEP = re.compile(r"Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]")

IGNORED = re.compile(
    r"Exception ignored in.*: .*\nTraceback|Exception in thread QueueFeederThread:\n(?s:.*)"
    r"|(?m:^E\d+ .*fake_tensor\.py:\d+\] .*\n)"
)
"""Python prints so an error that it cannot raise: PyTorch's of a worker that is gone, in a place
that has no caller, or while it exits; the next batch raises it again. The thread that feeds a queue
finds it closed while a run that is done ends. PyTorch logs what it then raises."""


def check(run: Run, work_dir: Path, life: Life, before: int) -> int:
    """Returns how many steps the newest checkpoint has, or raises Fault.

    Args:
        before: how many it had before this life.
    """
    end = time.monotonic() + 10
    while (left := left_of(life.pids[0])) and time.monotonic() < end:
        time.sleep(0.05)
    if left:
        raise Fault(f"orphans: {left}")
    log, statuses = life.log.read_text(errors="replace"), set(life.statuses.values())
    number, _ = life.killed or ("", "")
    if statuses - _allowed(run, number, log):
        raise Fault(f"ended with {sorted(statuses)}")
    if "Traceback" in IGNORED.sub("", log):
        raise Fault("a traceback")
    newest = newest_checkpoint(work_dir)  # which compares the hash
    saved = torch.load(newest, weights_only=False)["meta"]["iter"] if newest else 0
    steps = [((int(e) - 1) * int(n) + int(i), int(n)) for e, i, n in STEP.findall(log)]
    last, length = steps[-1] if steps else (before, 1)
    if steps and steps[0][0] != before + 1:
        raise Fault(f"goes on with step {steps[0][0]}, and the checkpoint had {before}")
    # A request saves within the step. Else an epoch is saved before the next one begins.
    owed = last if statuses == {TERMINATED} else (last - 1) // length * length
    if saved < max(owed, before):
        raise Fault(f"the newest checkpoint has {saved} steps of {last}, and had {before} before")
    return saved


def _allowed(run: Run, number: str, log: str) -> set[int]:
    """Returns the exit statuses that a life may have."""
    if number == "SIGTERM":
        # No one listens yet, which the others then miss, or no more, when all is done.
        unheard = "System environment" not in log or "done: " in log
        return {0, TERMINATED, *({-signal.SIGTERM, 1} if unheard else ())}
    if number == "SIGKILL":  # 1: it says that another process is gone
        asked = (TERMINATED, -signal.SIGTERM) if run.processes > 1 else ()  # by the launcher
        return {0, 1, -signal.SIGKILL, *asked}
    return {0}


def state_of(work_dir: Path) -> dict[str, Any]:
    """Returns all tensors of the last checkpoint, by name."""
    newest = newest_checkpoint(work_dir)
    assert newest is not None
    content = torch.load(newest, weights_only=False)
    found: dict[str, Any] = {}

    def walk(name: str, node: Any) -> None:
        if isinstance(node, torch.Tensor):
            found[name] = node
        elif isinstance(node, dict):
            for key, value in node.items():
                walk(f"{name}.{key}", value)

    for part in ("state_dict", "ema_state_dict", "optimizer"):
        walk(part, content.get(part) or {})
    return found


def compare(work_dir: Path, expected: Path) -> None:
    """Raises Fault where a run ended with other weights, losses or metrics than one that was never
    killed, or where its curves have gaps.
    """
    ours, theirs = state_of(work_dir), state_of(expected)
    if ours.keys() != theirs.keys():
        raise Fault(f"other tensors: {sorted(ours.keys() ^ theirs.keys())[:5]}")
    if unequal := [name for name in ours if not torch.equal(ours[name], theirs[name])]:
        raise Fault(f"{len(unequal)} of {len(ours)} tensors differ, the first {unequal[0]}")
    if read_journal(work_dir)[-1].metrics != read_journal(expected)[-1].metrics:
        raise Fault("other metrics")
    (train, val), (train_once, val_once) = by_step(work_dir), by_step(expected)
    if missing := sorted(train_once.keys() - train.keys()):
        raise Fault(f"steps that are in no log: {missing}")
    if other := [step for step in train if train[step]["loss"] != train_once[step]["loss"]]:
        raise Fault(f"other losses of steps {other}")
    if val.keys() != val_once.keys():
        raise Fault(f"evaluations of {sorted(val)}, not of {sorted(val_once)}")
    hidden = {path.name for path in work_dir.glob(".*")} - {LOCK}
    if not (work_dir / FILE_NAME).is_file() or hidden:
        raise Fault(f"left: {sorted(path.name for path in work_dir.iterdir())}")


def soak(
    run: Run,
    folder: Path,
    choice: random.Random,
    limit: int,
    length: float,
    kills: Counter[str],
) -> None:
    """Kills a run until it is done, and counts how, in `kills`; or raises Fault.

    Args:
        folder: with what the run that was never killed left.
        limit: of kills.
        length: seconds of a life that is not killed.
    """
    work_dir, log, saved = folder / "killed", folder / "life.log", 0
    shutil.rmtree(work_dir, ignore_errors=True)
    while True:
        log.unlink(missing_ok=True)
        moment = choice.uniform(0, length) if kills.total() < limit else None
        life = live(run, work_dir, log, moment, choice)
        if life.killed and any(life.statuses.values()):
            kills[", ".join(life.killed)] += 1
        saved = check(run, work_dir, life, saved)
        if not any(life.statuses.values()):
            break
    compare(work_dir, folder / "once")


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=ABOUT)
    parser.add_argument("--kills", type=int, default=1000, help="of all runs in --out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", metavar="TASK/PROCESSES", help="default: all")
    parser.add_argument("--folder", type=Path, default=Path("work_dirs/soak"))
    parser.add_argument("--out", type=Path, default=Path("work_dirs/soak/soak.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)  # more would not outlive a fork
    args.folder.mkdir(parents=True, exist_ok=True)
    runs = [run for run in prepare(args.folder) if not args.runs or run.name in args.runs]
    lengths = {run.name: once(run, args.folder / run.name) for run in runs}
    begun, faults = time.monotonic(), 0
    for run in cycle(runs):
        number, left = begin_at(args.out, run, args.kills)
        if left <= 0:
            break
        choice = random.Random(f"{args.seed} {run.name} {number}")
        kills, fault = Counter[str](), ""
        try:
            soak(run, args.folder / run.name, choice, left, lengths[run.name], kills)
        except Fault as found:
            fault, faults = f"run {number}: {found}", faults + 1
            kept = args.folder / f"fault_{run.name}_{number}"
            shutil.copytree(args.folder / run.name, kept, dirs_exist_ok=True)
        left -= enter(args.out, run, kills, fault)
        seconds = time.monotonic() - begun
        print(f"{seconds:.0f} s, {left} kills left: {run.name}: {dict(kills)} {fault}", flush=True)
    sys.exit(1 if faults else 0)


def begin_at(out: Path, run: Run, kills: int) -> tuple[int, int]:
    """Returns how often a run was done already, and how many kills of all are left."""
    done = read(out)
    number = done[run.name]["done"] if run.name in done else 0
    return number, kills - sum(sum(row["kills"].values()) for row in done.values())


def read(out: Path) -> dict[str, dict[str, Any]]:
    """Returns what is known of each run, by its name."""
    return json.loads(out.read_text())["runs"] if out.exists() else {}


def enter(out: Path, run: Run, kills: Counter[str], fault: str) -> int:
    """Adds to what is known of a run, also where another soak does; returns the kills."""
    with FileLock(f"{out}.lock"):
        runs = read(out)
        row = runs.setdefault(run.name, {"done": 0, "kills": {}, "faults": []})
        row["done"] += 1
        row["kills"] = dict(sorted((Counter(row["kills"]) + kills).items()))
        row["faults"] += [fault] if fault else []
        content = {"runs": dict(sorted(runs.items())), **provenance("cpu")}
        atomic_write_text(out, json.dumps(content, indent=1) + "\n")
    return kills.total()


def once(run: Run, folder: Path) -> float:
    """Trains a run without killing it; returns the seconds that it took."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun, before = time.monotonic(), os.times()
    life = live(run, folder / "once", folder / "once.log", None, random.Random(0))
    check(run, folder / "once", life, 0)
    seconds, used = time.monotonic() - begun, os.times()
    print(
        f"{run.name}: {seconds:.1f} s, {sum(used[2:4]) - sum(before[2:4]):.1f} of processors",
        flush=True,
    )
    return seconds


if __name__ == "__main__":
    main()
