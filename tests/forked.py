"""Programs in processes that are forked from one which has imported their libraries and no more.

Each has a process of its own, as from a command line, and does not wait for the imports of it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

WEIGHTS = ("resnext_backbones.cli", "resnext_backbones.weights.write")
"""What tools import that read and write weights."""

ENGINE = (
    *WEIGHTS,
    "remembered",
    "torch.utils.tensorboard",
    "resnext_backbones.commands.train",
    "resnext_backbones.tasks.classification.run",
    "resnext_backbones.tasks.torchvision.run",
)
"""What runs import on MMEngine alone."""

DETECTORS = (
    *ENGINE,
    "resnext_backbones.tasks.mmdetection.run",
    "resnext_backbones.adapters.openmmlab",
    *(f"mmdet.{part}" for part in ("datasets", "engine", "models", "visualization")),
)
"""What MMDetection's runs import."""

SERVER = """
import importlib, json, os, runpy, sys

answers, own, *names = sys.argv[1:]
answers = os.fdopen(int(answers), "w", buffering=1)
sys.path.insert(1, own)
for name in names:
    importlib.import_module(name)
print(file=answers)
for line in sys.stdin:
    call = json.loads(line)
    if not (child := os.fork()):
        break
    print(child, file=answers)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)
else:
    sys.exit()
answers.close()
for number, (name, flags) in enumerate(call["files"]):
    os.dup2(os.open(name, flags), number)
os.chdir(call["folder"])
os.environ.clear()
os.environ.update(call["env"])
sys.argv = call["program"]
sys.path[:2] = [os.path.dirname(sys.argv[0])]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Forks itself for each line; a child runs its program as the last that it does, and so ends as
the interpreter does, with all that is to be done at its exit."""


class _Server:
    """A process that forks, and the pipes to and from it.

    Args:
        modules: what it imports.
        threads: OMP_NUM_THREADS of it and its children, which PyTorch reads while it is imported.
    """

    def __init__(self, modules: tuple[str, ...], threads: str | None) -> None:
        # Else to ask for a GPU while modules are imported would keep the children from using it.
        env = {**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        if threads is not None:
            env["OMP_NUM_THREADS"] = threads
        answers, theirs = os.pipe()
        self.answers = os.fdopen(answers, "rb", buffering=0)  # `select` sees what was not read yet
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(theirs), str(Path(__file__).parent), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs],
            env=env,
        )
        os.close(theirs)
        assert self.answers.readline() == b"\n", f"{modules} cannot be imported"

    def ask(self, call: dict[str, object], timeout: float) -> int:
        """Runs a program, and returns the status that it ended with."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(call)}\n".encode())
        self.process.stdin.flush()
        child = int(self.answers.readline())
        if not select.select([self.answers], [], [], timeout)[0]:
            os.kill(child, signal.SIGKILL)
        return int(self.answers.readline())


_server = cache(_Server)


def run_forked(
    program: Sequence[str],
    env: dict[str, str],
    modules: tuple[str, ...] = DETECTORS,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end.

    Args:
        program: the path of the script, and its arguments.
        env: all of its environment.
        modules: what is imported before, once for all calls.
        timeout: in seconds, after which it is killed.
    """
    server = _server(modules, env.get("OMP_NUM_THREADS"))
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("out", "err")]
        written = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        files = [(os.devnull, os.O_RDONLY), *((str(path), written) for path in said)]
        call = {"program": list(program), "env": env, "folder": str(Path.cwd()), "files": files}
        status = server.ask(call, timeout)
        out, err = (path.read_text(errors="replace") for path in said)
    return subprocess.CompletedProcess(program, status, out, err)
