"""Running the tool that pretrains, and what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from forked import ENGINE, run_forked

TOOL = Path(__file__).parents[1] / "tools" / "pretrain_imagenet.py"

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


THE_TOOL = (
    "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
)


def command(config: Path, work_dir: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(TOOL), str(config), "--work-dir", str(work_dir), *arguments]


def run(config: Path, work_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    _, *program = command(config, work_dir, *arguments)
    return run_forked(program, ONE_THREAD, ENGINE, timeout=300)


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(work_dir / "epoch_4.pth", weights_only=False)
    ema = {f"ema.{key}": value for key, value in checkpoint["ema_state_dict"].items()}
    optimiser = {
        f"momentum.{key}": value["momentum_buffer"]
        for key, value in checkpoint["optimizer"]["state"].items()
    }
    return checkpoint["state_dict"] | ema | optimiser


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def prepared(script: str, config: Path, work_dir: Path) -> list[str]:
    """The tool in a process that has run a script before."""
    first, *others = command(config, work_dir, "--resume")
    return [first, "-c", script + THE_TOOL, *others]


def run_prepared(
    script: str, config: Path, work_dir: Path, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end; the script is put into a folder."""
    _, *program = command(config, work_dir, "--resume")
    (folder / "prepared.py").write_text(script + THE_TOOL)
    return run_forked([str(folder / "prepared.py"), *program], ONE_THREAD, ENGINE, timeout=300)
