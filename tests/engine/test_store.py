"""The store of keys answers in time, or its host is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from resnext_backbones.engine.store import StoreError, Unanswered, connect, within

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


@pytest.mark.whole
def test_a_host_that_no_longer_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
            monkeypatch.setenv("MASTER_PORT", server.stdout.readline().strip())
            store = connect(5)
            store.set("key", "value")
            assert store.get("key") == b"value"
            server.send_signal(signal.SIGSTOP)  # as behind a link that is cut
            os.waitpid(server.pid, os.WUNTRACED)
            with pytest.raises(StoreError, match=r"^127.0.0.1, the host of rank 0, ended or"):
                store.check(["key"])
            server.kill()
            server.wait()
            with pytest.raises(StoreError, match=r"^127.0.0.1, the host of rank 0, ended or"):
                store.check(["key"])
        finally:
            server.kill()
