"""Running the tools that train detectors."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

from forked import DETECTORS, run_forked

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools"
FEW_BOXES = [
    "model.train_cfg.rpn_proposal.max_per_img=100",
    "model.train_cfg.rcnn.sampler.num=64",
    "model.test_cfg.rpn.max_per_img=100",
]
"""Heads over a thousand boxes take most of the time of a step on a CPU."""

QUICK = [
    *FEW_BOXES,
    "train_cfg.max_epochs=2",
    "default_hooks.logger.interval=1",
    "default_hooks.checkpoint.interval=1",
    "train_cfg.val_interval=2",
    "model.backbone.depth=(1,1,1,1)",
    "model.backbone.groups=8",
    "model.backbone.variant=None",
    "randomness.seed=0",
]
"""Two epochs of a network with one block a stage, from one seed."""


def run(
    tool: str | list[str],
    *arguments: object,
    coco_root: Path | None = None,
    modules: tuple[str, ...] = DETECTORS,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """Run a script of tools/ in a forked process, or a command, to its end."""
    if coco_root:
        env["COCO_ROOT"] = str(coco_root)
    env, words = {**os.environ, **env}, [*map(str, arguments)]
    if isinstance(tool, str):
        return run_forked([str(TOOLS / tool), *words], env, modules)
    return subprocess.run(
        [*tool, *words], capture_output=True, text=True, env=env, timeout=600, check=False
    )


def train_shapes(
    work_dir: Path, root: Path, *arguments: object, options: list[str] = QUICK, **env: str
):
    return run(
        "train.py", "demo_shapes", "--work-dir", work_dir, *arguments,
        "--cfg-options", *options, coco_root=root, **env,
    )  # fmt: skip


def a_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def losses(log: str) -> list[float]:
    """The total loss of every logged step."""
    return [float(value) for value in re.findall(r"Epoch\(train\).* loss: ([\d.]+)", log)]
