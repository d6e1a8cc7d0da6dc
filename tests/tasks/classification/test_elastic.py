"""A run on a number of nodes that changes: torchrun's agents, two on this machine."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pretraining_runs import ONE_THREAD, TOOL, run, same, weights

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.checkpoints import read_journal
from resnext_backbones.engine.processes import UNSHARED_STORE

LOST = """
import os, runpy, signal, sys
from resnext_backbones.engine import loop
step = loop.EpochBasedTrainLoop.run_iter
def run_iter(self, *arguments):
    if os.environ["RANK"] == "1" and self._iter == 7:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, *arguments)
loop.EpochBasedTrainLoop.run_iter = run_iter
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], None, "__main__")
"""
"""The second process takes its agent with it in the eighth of twelve steps: a node is lost."""

OPTIONS = ["train_dataloader.batch_size=16", "default_hooks.checkpoint.max_keep_ckpts=-1"]


def agent(endpoint: str, log: Path, *program: object) -> subprocess.Popen[bytes]:
    """Starts that of one node, on which there is one process."""
    # How long the first waits for the second, and how soon a node counts as lost.
    soon = "last_call_timeout=15,keep_alive_interval=2,keep_alive_max_attempt=5"
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc_per_node", "1",
        "--max-restarts", "3", "--rdzv_backend", "c10d", "--rdzv_endpoint", endpoint,
        "--rdzv_id", "elastic", "--rdzv_conf", soon,
    ]  # fmt: skip
    with log.open("w") as file:
        return subprocess.Popen(
            [*torchrun, *map(str, program)],
            stdout=file,
            stderr=file,
            env={**ONE_THREAD, UNSHARED_STORE: "1"},
        )


@pytest.mark.whole
def test_a_run_goes_on_when_a_node_is_lost(config: Path, tmp_path: Path) -> None:
    """To the weights of a run that is resumed by hand from the same checkpoint."""
    (tmp_path / "lost.py").write_text(LOST)
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
    work_dir, by_hand = tmp_path / "elastic", tmp_path / "by_hand"
    program = [
        tmp_path / "lost.py", TOOL, config, "--work-dir", work_dir, "--resume",
        "--device", "cpu", "--cfg-options", *OPTIONS,
    ]  # fmt: skip
    logs = tmp_path / "first.log", tmp_path / "second.log"
    agents = [agent(endpoint, logs[0], *program)]
    try:
        while not listens(endpoint):  # the first has the store, and the process of rank 0
            assert agents[0].poll() is None, logs[0].read_text()[-3000:]
            time.sleep(0.1)
        agents.append(agent(endpoint, logs[1], *program))
        for one in agents:
            one.wait(timeout=500)
    finally:
        for one in agents:
            one.kill()
    said = logs[0].read_text()
    assert [one.returncode for one in agents] == [0, -9], said[-3000:]
    assert "resumed epoch: 2, iter: 6" in said
    assert "an epoch has 6 batches, and had 3 before" in said
    assert re.search(r"batch: 16: 16 in each of 1 processes", said)
    assert [entry.iter for entry in read_journal(work_dir)] == [3, 6, 18, 24]

    done = run(
        config, by_hand, "--resume", str(work_dir / "epoch_2.pth"), "--device", "cpu",
        "--cfg-options", *OPTIONS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert same(weights(by_hand), weights(work_dir))


def listens(endpoint: str) -> bool:
    host, port = endpoint.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
