"""The processes of several hosts find each other, are alike before the first step, and say which of
them is gone.

They write to a store of keys. Clocks are not compared.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from torch import distributed

from resnext_backbones.engine.addresses import this_host
from resnext_backbones.engine.signals import requests
from resnext_backbones.engine.store import StoreError, connect, kept_by_torchrun
from resnext_backbones.errors import InputError, RunError, some

TIMEOUT = 600.0
"""Processes wait so many seconds for each other, where `env_cfg.dist_cfg.timeout` says no other."""

BEAT = 2.0
"""So often, in seconds, a process says that it is there."""

SILENCE = 60.0
"""A process that gives no sign for so many seconds is not waited for in `gather`."""

GONE = "ended or cannot be reached"

ENDED, ASKED = "ended", "asked"
"""The first process to end with an error leaves it in the store under the first key, and one that
was asked to end while all evaluate the second."""


class Peers:
    """The processes of a run, as one of them sees them.

    Args:
        rank, world_size: of this process and of all.
        timeout: seconds to wait for the others.
    """

    def __init__(self, rank: int, world_size: int, timeout: float) -> None:
        self.rank, self.world_size, self.timeout = rank, world_size, timeout
        self.store = connect(timeout, serves=rank == 0)
        self.names = {rank: f"rank {rank} on {this_host()}"}
        self.gathered = 0
        self._left = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    def meet(self, facts: Mapping[str, str], gpu: str = "") -> None:
        """Waits for all processes, and compares what they know of the run.

        Args:
            gpu: no two processes may have the same one.

        Raises:
            InputError: a fact is another one on another host, or a GPU the same; it names them.
            RunError: a process does not come, or has ended with an error.
        """
        mine = {"name": self.names[self.rank], "facts": dict(facts), "gpu": gpu}
        if (other := _claim(self.store, self.rank)) != _own_name():
            raise InputError(
                f"rank {self.rank} is there already, {other}: two runs have the port "
                f"{os.environ['MASTER_PORT']} of {os.environ['MASTER_ADDR']}; end the other one, "
                "or set MASTER_PORT to a free port, the same for all processes of this run"
            )
        self.store.set(f"beat/{self.rank}", "0")
        self.store.set(f"facts/{self.rank}", json.dumps(mine))
        keys = [f"facts/{rank}" for rank in range(self.world_size)]
        self._wait(keys)
        found = [json.loads(self.store.get(key)) for key in keys]
        self.names = {rank: each["name"] for rank, each in enumerate(found)}
        self._linger()
        for what in found[0]["facts"]:
            self._compare(what, [each["facts"].get(what) for each in found])
        self._check_gpus([each["gpu"] for each in found])
        self._beating.start()

    def leave(self) -> None:
        """Gives no more signs: a call to the store while the interpreter ends would abort it."""
        self._left.set()
        if self._beating.is_alive():
            self._beating.join(BEAT)

    def gather(self) -> None:
        """Waits for all processes in front of what each must take part in. PyTorch would not tell,
        for as long as it waits, that one has ended since they met.

        Raises:
            RunError: a process does not come, has ended with an error, or says nothing any more.
        """
        self.gathered += 1
        keys = [f"gathered/{self.gathered}/{rank}" for rank in range(self.world_size)]
        self.store.set(keys[self.rank], "")
        self._wait(keys, silence=SILENCE)

    def _wait(self, keys: list[str], silence: float = math.inf) -> None:
        """Waits until each process has set its key; errors as of `gather`.

        Args:
            silence: a process that is absent and gives no sign for so many seconds is gone.
        """
        heard: dict[int, tuple[bytes, float]] = {}
        end = time.monotonic() + self.timeout
        while not self.store.check(keys):
            if error := self._ended():
                raise RunError(error)
            now = time.monotonic()
            absent = [rank for rank, key in enumerate(keys) if not self.store.check([key])]
            if now > end:
                raise RunError(
                    f"{_ranks(absent)} did not come within {self.timeout:.0f} s; "
                    f"{len(keys) - len(absent)} of {len(keys)} processes wait for them"
                )
            for rank in absent if silence < math.inf else ():
                beat = self.store.get(f"beat/{rank}")
                if rank not in heard or heard[rank][0] != beat:
                    heard[rank] = (beat, now)
            if gone := [r for r in absent if r in heard and now - heard[r][1] > silence]:
                raise RunError(f"{some([self.names[r] for r in gone])} {GONE}")
            time.sleep(0.1)

    def _linger(self) -> None:
        """Waits until all have read: the store may end with this process."""
        end = time.monotonic() + 10
        with suppress(StoreError):  # which has ended, and this process has read
            self.store.add("read", 1)
            while int(self.store.add("read", 0)) < self.world_size and time.monotonic() < end:
                time.sleep(0.05)

    def _compare(self, what: str, values: list[str | None]) -> None:
        """Raises InputError where processes know different values; None is of one that need not."""
        places: dict[str, list[str]] = {}
        for rank, value in enumerate(values):
            if value is not None:
                places.setdefault(value, []).append(self.names[rank])
        if len(places) > 1:
            listed = "; ".join(f"{value}: {some(names)}" for value, names in places.items())
            raise InputError(f"{what}: differs between hosts: {listed}; make them alike")

    def _check_gpus(self, gpus: list[str]) -> None:
        """Raises InputError where processes have the same GPU, as NCCL would, in other words."""
        for gpu in filter(None, gpus):
            sharing = [self.names[rank] for rank, each in enumerate(gpus) if each == gpu]
            if len(sharing) > 1:
                raise InputError(
                    f"{some(sharing)} have the same GPU, {gpu}: start a process for each GPU, and "
                    "let each see its own, or all of its node's"
                )

    def _beat(self) -> None:
        """Says again and again that this process is there, through a connection of its own."""
        store, count = None, 0
        while not self._left.wait(BEAT):
            count += 1
            try:
                store = store or connect(5 * BEAT)
                store.set(f"beat/{self.rank}", str(count))
                if store.check([ASKED]):
                    requests.asked = requests.asked or signal.SIGTERM
            except StoreError:
                store = None  # the link may be there again the next time

    def _ended(self) -> str:
        store = self.store
        return store.get(ENDED).decode() if store.check([ENDED]) else ""

    def lost(self) -> str:
        """Returns which processes are gone, for a message; it takes some seconds."""
        keys = [f"beat/{rank}" for rank in range(self.world_size)]
        try:
            store = connect(5 * BEAT)
            first = store.multi_get(keys)
            time.sleep(3 * BEAT)
            if store.check([ENDED]):
                return store.get(ENDED).decode()
            second = store.multi_get(keys)
        except StoreError:
            return f"{self.names.get(0, 'rank 0')} {GONE} from {this_host()}"
        silent = [r for r in range(self.world_size) if r != self.rank and first[r] == second[r]]
        if silent:
            return f"{some([self.names[r] for r in silent])} {GONE}"
        others = some([name for rank, name in self.names.items() if rank != self.rank])
        return (
            f"processes waited for each other for {self.timeout:.0f} s, though this one hears of "
            f"{others}: where the link or a host is that slow, raise env_cfg.dist_cfg.timeout"
        )


def _ranks(ranks: list[int]) -> str:
    each = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return some([f"rank {rank} (of host {rank // each}, from 0)" for rank in ranks])


peers: Peers | None = None
"""Those of this process, once it has met them."""


def ask() -> None:
    """Has all other processes end that evaluate, and gives them the time to hear it."""
    if peers is not None:
        with suppress(StoreError):
            connect(5 * BEAT).set(ASKED, "1")
            time.sleep(2 * BEAT)


def were_asked() -> bool:
    """Tells whether any process was asked to end, and ends for that."""
    with suppress(StoreError):
        return peers is not None and connect(5 * BEAT).check([ASKED])
    return False


def are_several() -> bool:
    """Tells whether the processes of this run are on more hosts than this one."""
    here, everywhere = (int(os.environ.get(n) or 1) for n in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    return here < everywhere


def waits(cfg: Mapping[str, Any]) -> float:
    """Returns how many seconds the processes of a config wait for each other."""
    dist_cfg = (cfg.get("env_cfg") or {}).get("dist_cfg") or {}
    return float(dist_cfg.get("timeout") or TIMEOUT)


def meet(
    rank: int, world_size: int, facts: Mapping[str, str], timeout: float, gpu: str = ""
) -> None:
    """Meets the processes of a run, as `Peers.meet`; a process that is alone has none."""
    global peers
    if world_size > 1 and peers is None:
        peers = Peers(rank, world_size, timeout)
        peers.meet(facts, gpu)


def group_options() -> dict[str, Any]:
    """Returns what makes a process group of those that have met, over the connection that there is:
    a new one would be waited for, deaf to signals, where rank 0 ends in between.
    """
    if peers is None:
        return {}
    return {"store": peers.store.part("group"), "rank": peers.rank, "world_size": peers.world_size}


def cpu_group() -> Any:
    """Returns a group of all processes that does not wait for GPUs, once all are there, and have
    nothing to save; errors as of `Peers.gather`.
    """
    if peers is not None:
        peers.gather()
    if distributed.get_backend() == "gloo":
        return distributed.group.WORLD
    seconds = peers.timeout if peers is not None else TIMEOUT
    with requests.ending_at_once():
        return distributed.new_group(backend="gloo", timeout=timedelta(seconds=seconds))


def tell(message: str) -> None:
    """Leaves to the other processes why this one ends, also where it has not met them yet."""
    rank, world_size = (int(os.environ.get(name) or 0) for name in ("RANK", "WORLD_SIZE"))
    if world_size < 2 or not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return
    if peers is None and rank == 0 and not kept_by_torchrun():
        return  # there is no store yet, and it would end with this process
    with suppress(StoreError):  # no one is there to be told
        store = connect(5 * BEAT)
        if _claim(store, rank) == _own_name():  # and not another run's process, whose run goes on
            store.compare_set(ENDED, "", f"rank {rank} on {this_host()} ended: {message}")


def _claim(store: Any, rank: int) -> str:
    """Returns which process has a rank: the first that asks."""
    return store.compare_set(f"process/{rank}", "", _own_name()).decode()


def _own_name() -> str:
    """Returns which process this is among those of all runs."""
    return f"process {os.getpid()} on {this_host()}"


def name_of(rank: int) -> str:
    """Returns the name of a process, with its host where that is known."""
    return peers.names.get(rank, f"rank {rank}") if peers is not None else f"rank {rank}"


def lost() -> str:
    """Returns which processes are gone, for a message."""
    return peers.lost() if peers is not None else "another process ended, or cannot be reached"
