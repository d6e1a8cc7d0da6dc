"""Runs that are killed go on to the same weights."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pretraining_runs import ONE_THREAD, prepared, run, run_prepared, same, weights

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.checkpoints import TERMINATED, newest_checkpoint, read_journal

KILLS = int(os.environ.get("KILLS", "2"))
"""By each signal, at random moments; more of them are a matter of patience."""

SLOWLY = """
import time
from resnext_backbones.engine import loop
step = loop.EpochBasedTrainLoop.run_iter
def run_iter(*arguments):
    time.sleep(0.1)
    step(*arguments)
loop.EpochBasedTrainLoop.run_iter = run_iter
"""

KILLED_WHILE_IT_WRITES = """
import os, signal
from resnext_backbones.engine import checkpoints
put = checkpoints.WholeFiles.put
def half(self, obj, path):
    put(self, obj, path)
    if "epoch_3" in str(path):
        with open(str(path).replace("epoch_3", ".epoch_3") + ".1", "wb") as file:
            file.write(obj[: len(obj) // 2])
        os.unlink(path)
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.WholeFiles.put = half
"""


@pytest.mark.whole
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_killed_again_and_again_it_ends_with_the_same_weights(
    kill: signal.Signals, config: Path, finished: Path, tmp_path: Path
) -> None:
    work_dir, moments, killed = tmp_path / "killed", random.Random(kill), 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            prepared(SLOWLY, config, work_dir),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=ONE_THREAD,
        )
        begun = time.monotonic()
        logs = set(work_dir.glob("*/*.log"))
        while time.monotonic() - begun < 60 and process.poll() is None:
            new = set(work_dir.glob("*/*.log")) - logs
            if any("Checkpoints will be saved" in path.read_text() for path in new):
                break
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 1))
        process.send_signal(kill)
        _, errors = process.communicate(timeout=60)
        killed += process.returncode in (-kill, TERMINATED)
        assert process.returncode in (0, -kill, TERMINATED), errors[-2000:]
    assert killed >= KILLS // 2
    done = run(config, work_dir, "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert same(weights(finished), weights(work_dir))


def test_killed_while_it_writes_it_ends_with_the_same_weights(
    config: Path, finished: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "killed"
    killed = run_prepared(KILLED_WHILE_IT_WRITES, config, work_dir, tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert newest_checkpoint(work_dir) == work_dir / "epoch_2.pth"
    assert run(config, work_dir, "--resume").returncode == 0
    assert same(weights(finished), weights(work_dir))
    assert not list(work_dir.glob(".epoch*"))


KILLED_IN_VALIDATION = """
import os, signal
from resnext_backbones.tasks.classification import evaluation
evaluate = evaluation.ValLoop._evaluate
def killed(self):
    if self.runner.epoch == 4:
        os.kill(os.getpid(), signal.KIND)
    return evaluate(self)
evaluation.ValLoop._evaluate = killed
"""


@pytest.mark.whole
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_an_evaluation_that_was_killed_is_done_on_resuming(
    kind: signal.Signals, config: Path, finished: Path, tmp_path: Path
) -> None:
    script = KILLED_IN_VALIDATION.replace("KIND", kind.name)
    killed = run_prepared(script, config, tmp_path / "killed", tmp_path)
    status = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: TERMINATED}[kind]
    assert killed.returncode == status
    assert not read_journal(tmp_path / "killed")[-1].metrics
    assert run(config, tmp_path / "killed", "--resume").returncode == 0
    assert read_journal(tmp_path / "killed")[-1].metrics == read_journal(finished)[-1].metrics


KILLED_BEFORE_IT_LISTS = """
import os, signal
from resnext_backbones.engine import checkpoints
checkpoints.enter = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.whole
def test_a_first_checkpoint_that_was_not_listed_is_evaluated(
    config: Path, finished: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "killed"
    killed = run_prepared(KILLED_BEFORE_IT_LISTS, config, work_dir, tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert not read_journal(work_dir)
    assert run(config, work_dir, "--resume").returncode == 0
    logs = "".join(path.read_text() for path in work_dir.glob("*/*.log"))
    assert "epoch 1 was not evaluated yet" in logs
    assert same(weights(finished), weights(work_dir))
    assert not list(work_dir.glob("epoch_1.pth")), "it is one of those that are removed later"
