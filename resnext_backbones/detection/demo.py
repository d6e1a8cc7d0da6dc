"""The whole way from images to AP, small enough for a processor of a few cores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from resnext_backbones.datasets import coco_subset, generate_shapes
from resnext_backbones.runs.errors import InputError

TOOLS = Path(__file__).parents[2] / "tools"


def run_demo(
    work_dir: Path,
    *,
    coco_root: Path | None = None,
    num_train: int,
    num_val: int,
    options: Sequence[str] = (),
) -> Path:
    """Make a data set, train on it with tools/train.py, evaluate and draw with tools/test.py.

    Args:
        work_dir: a new folder; data, logs, checkpoints and results go there.
        coco_root: a COCO tree, of which the first images are taken; None draws shapes.
        num_train, num_val: images.
        options: settings of the config, as on the tools' command line.

    Returns:
        The folder with coco_metrics.json, coco_metrics.txt, curves.png and pictures/.

    Raises:
        InputError: `work_dir` exists, `coco_root` is no COCO tree, or a tool failed.
    """
    if work_dir.exists():
        raise InputError(f"--work-dir {work_dir}: exists already; name a new folder")
    data = work_dir / "data"
    try:
        if coco_root is None:
            config = "demo_shapes"
            generate_shapes(data, num_train=num_train, num_val=num_val)
        else:
            config = "demo_coco"
            coco_subset(coco_root, data, num_train=num_train, num_val=num_val)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error

    shared = [config, "--work-dir", str(work_dir)]
    settings = ["--cfg-options", *options] if options else []
    _run("train.py", *shared, *settings, coco_root=data)
    checkpoint = (work_dir / "last_checkpoint").read_text(encoding="utf-8").strip()
    pictures = str(work_dir / "pictures")
    _run(
        "test.py",
        config,
        checkpoint,
        *shared[1:],
        "--show-dir",
        pictures,
        *settings,
        coco_root=data,
    )
    return work_dir.absolute()


def _run(tool: str, *arguments: str, coco_root: Path) -> None:
    command = [sys.executable, str(TOOLS / tool), *arguments]
    print("$", *command[1:], flush=True)
    # Where other programs share the cores, threads that wait busily slow each other many times.
    env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "COCO_ROOT": str(coco_root)}
    status = subprocess.run(command, env=env, check=False).returncode
    if status:
        raise InputError(f"{tool} ended with exit status {status}; its message is above")
