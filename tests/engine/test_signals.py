"""Requests to end, and the processes that load data."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resnext_backbones.engine.failures import said
from resnext_backbones.engine.signals import REQUESTS, TERMINATED, requests
from resnext_backbones.errors import RunError


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_signal_ends_at_once_or_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    before = {number: signal.getsignal(number) for number in REQUESTS}
    for number in REQUESTS:
        with pytest.raises(SystemExit) as raised, requests.listening():
            os.kill(os.getpid(), number)
        assert raised.value.code == TERMINATED
        assert f"{number.name}: asked to end before the first step" in capsys.readouterr().err
        with requests.listening():
            requests.noted_only = True
            for _ in range(2):
                os.kill(os.getpid(), number)
            assert requests.asked == number
        assert requests.asked is None
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with requests.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert requests.asked is None
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert before == {number: signal.getsignal(number) for number in REQUESTS}


def test_a_forked_process_outlives_what_is_not_from_its_parent() -> None:
    """It hands the request on, ends when its parent wants it to, and dies with it."""
    fork, near = multiprocessing.get_context("fork"), []
    with requests.listening():
        requests.noted_only = True
        worker = fork.Process(target=time.sleep, args=(60,), daemon=True)
        worker.start()
        other = fork.Process(target=os.kill, args=(worker.pid, signal.SIGUSR1))
        other.start()
        wait_for(lambda: requests.asked == signal.SIGUSR1)
        assert worker.is_alive()
        worker.terminate()
        worker.join(20)
        assert worker.exitcode == 0
        other.join()
        read, write = fork.Pipe()

        def parent() -> None:
            child = fork.Process(target=time.sleep, args=(60,), daemon=True)
            child.start()
            write.send(child.pid)
            time.sleep(60)

        middle = fork.Process(target=parent)
        middle.start()
        near.append(read.recv())
        middle.kill()
        middle.join()

    def gone() -> bool:
        try:
            with open(f"/proc/{near[0]}/stat") as file:  # noqa: PTH123
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_for(gone)


DEAF = """
from torch.distributed import HashStore
from resnext_backbones.engine.signals import requests
with requests.listening(), requests.ending_at_once():
    print("waits", flush=True)
    HashStore().get("what nobody sets")
"""


def test_what_waits_outside_of_python_is_ended_at_once() -> None:
    """PyTorch waits so for minutes, and a handler of Python's would run once it is back."""
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
    with requests.listening():
        with requests.ending_at_once():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        requests.noted_only = True
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: requests.asked == signal.SIGTERM)


DONE = """
import multiprocessing
from torch.utils.data import DataLoader
from resnext_backbones.engine.signals import requests
loader = DataLoader(range(8), num_workers=1, persistent_workers=True)
with requests.listening(ends=True):
    print(next(iter(loader)).item())
    (worker,) = multiprocessing.active_children()
worker.join(20)
print(worker.exitcode)
"""


def test_what_loads_data_ends_with_a_run_that_is_done() -> None:
    """PyTorch would take its end for an error, wherever the process is that has nothing to do."""
    done = subprocess.run([sys.executable, "-c", DONE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", str(-signal.SIGKILL)]
    assert not done.stderr


@pytest.mark.parametrize(
    ("how", "meant"),
    [("Killed", "Killed"), ("Bus error. It is possible that", r"Bus error \(/dev/shm is full")],
)
def test_a_worker_that_was_killed_is_named_whatever_its_error_became(
    how: str, meant: str, tmp_path: Path
) -> None:
    (tmp_path / "last_checkpoint").write_text("/elsewhere/epoch_3.pth")
    text = f"DataLoader worker (pid 42) is killed by signal: {how}. "
    message = rf"^process 42, which loads data, .*{meant}.*{tmp_path}/epoch_3.pth: --resume"

    def fetch() -> None:
        try:
            raise RuntimeError(text)
        except RuntimeError as error:
            raise IndexError("of a formatter in which it was raised") from error

    with pytest.raises(RunError, match=message), said(tmp_path):
        fetch()
    with pytest.raises(IndexError), said(tmp_path):
        raise IndexError
    killed = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    killed.start()
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    message = f"^process {killed.pid}, which loads data, is killed by signal: Killed: "
    with pytest.raises(RunError, match=message), said(tmp_path):
        raise ValueError("of a formatter, which forgot the error that it was ended by")
    killed.join()
