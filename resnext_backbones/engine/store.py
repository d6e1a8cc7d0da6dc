"""Processes find each other in PyTorch's store of keys, which rank 0 or torchrun keeps."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from torch import distributed

from resnext_backbones.engine.addresses import this_host
from resnext_backbones.errors import InputError, RunError

ANSWER = 30.0
"""Where something listens at the port of rank 0, it has so many seconds to answer as a store."""

T = TypeVar("T")


class StoreError(RunError):
    """The store does not answer, or its host is gone."""


class Unanswered(Exception):
    """A call has not returned in its time."""


class Store:
    """The store, each of whose calls raises StoreError where it is not answered in time. PyTorch's
    own waits a quarter of an hour for a host behind a link that is cut.
    """

    def __init__(self, store: distributed.Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds

    def part(self, name: str) -> distributed.Store:
        """Returns PyTorch's own, with keys that nobody else has."""
        return distributed.PrefixStore(name, self._store)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._store, name)

        def answered(*arguments: Any) -> Any:
            try:
                return within(self._seconds, lambda: call(*arguments))
            except (RuntimeError, Unanswered) as error:
                raise StoreError(
                    f"{os.environ.get('MASTER_ADDR')}, the host of rank 0, ended or cannot be "
                    f"reached from {this_host()}"
                ) from error

        return answered


def connect(timeout: float, *, serves: bool = False) -> Store:
    """Returns a connection to the store, or raises StoreError where its host does not answer.

    Args:
        timeout: seconds, also of each call.
        serves: this process keeps the store, if torchrun does not.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    serves = serves and not kept_by_torchrun()
    options = {"wait_for_workers": False, "multi_tenant": True}
    limit = timedelta(seconds=timeout)
    try:
        if not serves:
            _answers(address, port, timeout)
        store = within(
            min(timeout, ANSWER),
            lambda: distributed.TCPStore(address, port, None, serves, limit, **options),
        )
    except Unanswered as error:
        raise StoreError(
            f"{address}:{port}, where rank 0 should be, is another program's, which does not "
            "answer: set MASTER_PORT to a free port of that host, the same for all processes"
        ) from error
    except (RuntimeError, OSError) as error:
        if "EADDRINUSE" in str(error):
            raise InputError(
                f"MASTER_PORT {port}: another program has this port of {this_host()}, or another "
                "run; set MASTER_PORT to a free one, the same for all processes"
            ) from error
        raise StoreError(
            f"{address}:{port}, the host of rank 0, does not answer {this_host()} within "
            f"{timeout:.0f} s"
        ) from error
    # torchrun's store outlives the processes. In that of rank 0 all keys are of one life, and a
    # node that came later than the others counts fewer of them.
    life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if kept_by_torchrun() else "0"
    return Store(distributed.PrefixStore(f"resnext_backbones/{life}", store), timeout)


def kept_by_torchrun() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def within(seconds: float, call: Callable[[], T]) -> T:
    """Returns what a call of PyTorch's returns, or raises Unanswered, and leaves it to itself."""
    returned: list[T] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            returned.append(call())
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)  # the process may end before it
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not returned:
        raise Unanswered(f"no answer within {seconds:.0f} s")
    return returned[0]


def _answers(address: str, port: int, timeout: float) -> None:
    """Waits until someone answers there, or raises OSError; PyTorch would log each attempt."""
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((address, port), max(1.0, end - time.monotonic())).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
