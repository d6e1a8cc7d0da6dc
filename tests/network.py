"""Several hosts on this machine: a network namespace each, on one bridge."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=20)


def ip(*arguments: object) -> None:
    run("ip", *arguments)


class Host:
    """A host of its own, with a folder that no other sees, and what it logs there."""

    def __init__(self, number: int, tag: str, folder: Path) -> None:
        self.number, self.name, self.link = number, f"{tag}h{number}", f"{tag}v{number}"
        self.address, self.folder = f"10.77.0.{number + 1}", folder / f"host_{number}"
        self.folder.mkdir(parents=True)
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *command: object, nodes: int, port: int, **env: str) -> None:
        """Runs a tool under torchrun, one process, as one of the nodes."""
        torchrun = [
            "ip", "netns", "exec", self.name, sys.executable, "-W", "ignore",
            "-m", "torch.distributed.run", "--nnodes", nodes, "--node_rank", self.number,
            "--nproc_per_node", 1, "--master_addr", "10.77.0.1", "--master_port", port,
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, [*torchrun, *command])), stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **env}, start_new_session=True,
            )  # fmt: skip

    def cut(self, *, up: bool = False) -> None:
        """Cuts the link to all others, or joins it again."""
        ip("link", "set", self.link, "up" if up else "down")

    def slow(self, rate: str) -> None:
        """Lets so many bits a second go to the others, and come from them, as `tc` writes it."""
        limit = ("root", "tbf", "rate", rate, "burst", "10kb", "latency", "400ms")
        run("tc", "qdisc", "add", "dev", self.link, *limit)
        ip("netns", "exec", self.name, "tc", "qdisc", "add", "dev", "eth0", *limit)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait(self, seconds: float = 200) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def pids(self) -> list[int]:
        done = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False
        )
        return list(map(int, done.stdout.split()))

    def signal(self, number: int, only: str = "") -> None:
        """Signals all its processes, or those whose command has a word."""
        for pid in self.pids():
            try:
                if only in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, number)
            except (FileNotFoundError, ProcessLookupError):
                continue


SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""libfaketime 0.9.10 takes the monotonic time until which CPython sleeps for that of its clock."""


def clock(ahead: str, folder: Path) -> dict[str, str]:
    """Returns the variables with which a Python program's clock goes ahead, as libfaketime writes
    it; `folder` is put on its path.
    """
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        pytest.skip("libfaketime is not installed")
    (folder / "sitecustomize.py").write_text(SLEEP)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    clocks = {"FAKETIME": ahead, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    env = {"LD_PRELOAD": str(found), "PYTHONPATH": path, **clocks}
    asked = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(asked, env={**os.environ, **env}, capture_output=True, timeout=60)
    assert abs(float(told.stdout) - time.time()) > 3600, told.stderr
    return env


NUMBERS = itertools.count()


def possible() -> str:
    """Returns why there can be no such hosts; "" where there can."""
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    if not shutil.which("ip"):
        return "iproute2 is not installed"
    done = subprocess.run(["ip", "netns", "add", "possible"], capture_output=True, check=False)
    if done.returncode == 0:
        ip("netns", "del", "possible")
    return done.stderr.decode().strip()


@contextmanager
def several_hosts(count: int, folder: Path) -> Iterator[list[Host]]:
    tag = f"r{os.getpid() % 10000}{next(NUMBERS)}"  # the kernel takes links away when it has time
    hosts = [Host(number, tag, folder) for number in range(count)]
    bridge = f"{tag}b"
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("link", "set", bridge, "up")
        for host in hosts:
            ip("netns", "add", host.name)
            ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            ip("link", "set", host.link, "master", bridge, "up")
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip("-n", host.name, "link", "set", device, "up")
        yield hosts
    finally:
        for host in hosts:
            host.signal(signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)
