"""Processes of a run as they see each other: who is alike, who is waited for, who is gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from torch import distributed
from torch.distributed.elastic.utils.distributed import get_free_port

from resnext_backbones.engine import hosts as engine_hosts
from resnext_backbones.engine.store import connect
from resnext_backbones.errors import InputError, RunError


def test_those_that_differ_are_named() -> None:
    peers = engine_hosts.Peers.__new__(engine_hosts.Peers)
    peers.names = {0: "rank 0 on a", 1: "rank 1 on b", 2: "rank 2 on b"}
    peers._compare("lr", ["1", "1", None])
    with pytest.raises(InputError, match=r"^lr: .* 1: rank 0 on a; 2: rank 1 on b, rank 2 on b; "):
        peers._compare("lr", ["1", "2", "2"])


def test_a_process_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = engine_hosts.Peers.__new__(engine_hosts.Peers)
    peers.names = {0: "rank 0 on a", 1: "rank 1 on b"}
    peers.rank, peers.world_size, peers.timeout, peers.gathered = 0, 2, 20.0, 0
    peers.store = distributed.HashStore()
    for key in ("gathered/1/1", "beat/0", "beat/1"):
        peers.store.set(key, "0")
    peers.gather()
    monkeypatch.setattr(engine_hosts, "SILENCE", 0.3)
    with pytest.raises(RunError, match=r"^rank 1 on b ended or cannot be reached$"):
        peers.gather()
    peers.store.set(engine_hosts.ENDED, "rank 1 on b ended: why")
    with pytest.raises(RunError, match=r"^rank 1 on b ended: why$"):
        peers.gather()


def test_a_process_that_comes_late_is_waited_for_while_it_gives_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that has come need not give any."""
    monkeypatch.setattr(engine_hosts, "SILENCE", 1.0)
    peers = engine_hosts.Peers.__new__(engine_hosts.Peers)
    peers.names = {rank: f"rank {rank}" for rank in range(3)}
    peers.rank, peers.world_size, peers.timeout, peers.gathered = 0, 3, 20.0, 0
    peers.store = distributed.HashStore()
    for rank in range(3):
        peers.store.set(f"beat/{rank}", "0")

    def come() -> None:
        for count in range(10):
            time.sleep(0.2)
            peers.store.set("beat/2", str(count))
            if count == 0:
                peers.store.set("gathered/1/1", "")
        peers.store.set("gathered/1/2", "")

    thread = threading.Thread(target=come)
    thread.start()
    peers.gather()
    thread.join()


@pytest.mark.usefixtures("no_launcher")
def test_a_process_of_another_run_at_the_same_port_is_refused_and_ends_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = str(get_free_port())
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    kept = connect(20, serves=True)
    kept.set("process/1", "process 7 on b")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(InputError, match=f"^rank 1 is there already, process 7 on b: .* {port} of"):
        engine_hosts.Peers(1, 3, 20).meet({})
    engine_hosts.tell("why")
    assert not kept.check([engine_hosts.ENDED])
    monkeypatch.setenv("RANK", "2")
    engine_hosts.tell("why")
    assert kept.get(engine_hosts.ENDED).endswith(b" ended: why")


ENDS_BETWEEN = """
import os, signal
from torch import distributed
from resnext_backbones.cli import run_tool
from resnext_backbones.engine.failures import said
from resnext_backbones.engine.processes import start_process_group
class Cfg(dict):
    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__
def start():
    with said("nowhere"):
        start_process_group(Cfg(launcher="pytorch"), lambda leads: {})
if os.environ["RANK"] == "0":
    distributed.init_process_group = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
run_tool(start)
"""


@pytest.mark.whole
def test_a_first_process_that_ends_once_all_have_met_is_named() -> None:
    """Nobody waits for it to make the process group, which would take until the limit."""
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(get_free_port())}
    env |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": ""}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ENDS_BETWEEN],
            env=env | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    errors = [process.communicate(timeout=100)[1] for process in started]
    assert [process.returncode for process in started] == [-signal.SIGKILL, 1], errors
    assert re.search(r"error: rank 0 on .* ended or cannot be reached", errors[1]), errors[1]
    assert "Traceback" not in errors[1]


def test_a_process_that_leaves_gives_no_more_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_hosts, "BEAT", 0.01)
    kept = distributed.HashStore()
    monkeypatch.setattr(engine_hosts, "connect", lambda _: kept)
    peers = engine_hosts.Peers.__new__(engine_hosts.Peers)
    peers.rank, peers._left = 1, threading.Event()
    peers._beating = threading.Thread(target=peers._beat, daemon=True)
    peers._beating.start()
    kept.wait(["beat/1"])
    peers.leave()
    assert not peers._beating.is_alive()
