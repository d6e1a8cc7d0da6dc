"""The store of keys answers in time, or its host is named."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from torch.distributed import TCPStore

from resnext_backbones.engine import store
from resnext_backbones.engine.store import StoreError, Unanswered, connect, within
from resnext_backbones.errors import RunError

SERVER = """
import time
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
print(store.port, flush=True)
time.sleep(300)
"""


def test_a_call_that_does_not_return_is_left_to_itself() -> None:
    assert within(20, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(20, lambda: 1 / 0)
    with pytest.raises(Unanswered, match="no answer within 0"):
        within(0.1, threading.Event().wait)


def test_a_program_that_is_no_store_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ANSWER", 0.3)
    with socket.create_server(("", 0)) as server:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        with pytest.raises(RunError, match=r"is another program's, .*set MASTER_PORT"):
            connect(2)  # the call that is left to itself ends before the tests do


@pytest.mark.parametrize("keeper", ["rank 0", "torchrun"])
def test_a_node_that_came_later_finds_the_others(
    keeper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its torchrun has started fewer lives than those which saw the node before it end."""
    first = TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(first.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", str(keeper == "torchrun"))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    connect(20).set("key", "value")
    assert connect(20).check(["key"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    # torchrun's store still has the keys of lives before.
    assert connect(20).check(["key"]) == (keeper == "rank 0")


@pytest.mark.whole
def test_a_host_that_no_longer_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
            monkeypatch.setenv("MASTER_PORT", server.stdout.readline().strip())
            keys = connect(5)
            keys.set("key", "value")
            assert keys.get("key") == b"value"
            server.send_signal(signal.SIGSTOP)  # as behind a link that is cut
            os.waitpid(server.pid, os.WUNTRACED)
            with pytest.raises(StoreError, match=r"^127.0.0.1, the host of rank 0, ended or"):
                keys.check(["key"])
            server.kill()
            server.wait()
            with pytest.raises(StoreError, match=r"^127.0.0.1, the host of rank 0, ended or"):
                keys.check(["key"])
        finally:
            server.kill()
