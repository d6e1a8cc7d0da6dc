"""Launchers and devices."""

from __future__ import annotations

import os
import socket
import warnings
from argparse import Namespace

import pytest
import torch
from torch import distributed

from resnext_backbones.engine import hosts
from resnext_backbones.engine import processes as environment
from resnext_backbones.engine.alike import facts_of
from resnext_backbones.engine.processes import (
    UNSHARED_STORE,
    read_ranks,
    start_process,
    start_process_group,
)
from resnext_backbones.errors import InputError

pytestmark = pytest.mark.usefixtures("no_launcher")


def test_hosts_compare_texts_of_any_length() -> None:
    text = "person. bicycle. " * 20  # no file has a name so long
    assert facts_of({"prompt": text}, (), leads=True)["config, prompt"] == text


class Cfg(dict):
    """A config with its launcher as an attribute."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


OWN = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}
"""What tells rank, world size and local rank, of a launcher for each option."""


@pytest.mark.parametrize(
    ("device", "launcher", "message"),
    [
        ("cuda:7", "none", r"cuda:7: this machine has 2 CUDA devices; use cuda:0 to cuda:1"),
        ("tpu", "none", r"--device tpu: use cpu, cuda or cuda:N"),
        ("cuda:1", "slurm", r"each process of a launcher"),
    ],
)
def test_devices_that_are_not_there(device, launcher, message, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    os.environ.update(zip(OWN["slurm"], "010", strict=True))
    with pytest.raises(InputError, match=message):
        start_process(device, launcher)


def test_no_gpu_at_all(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=r"has 0 CUDA devices; leave the option out"):
        start_process("cuda", "none")


@pytest.mark.parametrize(
    ("visible", "device", "expected"),
    [("", "cpu", "-1"), ("", "cuda:1", "1"), ("4,6", "cuda:1", "6"), ("4,6", "cuda", "4,6")],
)
def test_a_device_is_selected(visible, device, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    start_process(device, "none")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


def test_a_process_alone() -> None:
    assert read_ranks("none") == (0, 1, 0)


@pytest.mark.parametrize(
    ("launcher", "gpus", "visible", "expected"),
    [("slurm", 1, "5", "0"), ("slurm", 4, "0,1,2,3", "3"), ("mpi", 4, "", "3")],
)
def test_mmengine_takes_the_gpu_of_this_number(
    launcher: str, gpus: int, visible: str, expected: str, monkeypatch
) -> None:
    met = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: Cfg(uuid=f"of {number}")
    )
    monkeypatch.setattr(environment.hosts, "meet", lambda *_, gpu: met.update(gpu=gpu))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    os.environ.update(zip(OWN[launcher], "343", strict=True))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    start_process_group(Cfg(launcher=launcher), lambda _: {})
    assert (os.environ["RANK"], os.environ["LOCAL_RANK"]) == ("3", expected)
    assert met["gpu"] == f"of {expected}"
    assert read_ranks(launcher)[2] == 3, "the fourth of its node, whatever its GPU's number"


@pytest.mark.parametrize("launcher", OWN)
def test_without_a_gpu_processes_join_with_gloo(launcher, monkeypatch) -> None:
    monkeypatch.setattr(environment.torch.cuda, "is_available", lambda: False)
    os.environ.update(zip(OWN[launcher], "010", strict=True))
    cfg = Cfg(launcher=launcher)
    try:
        start_process_group(cfg)
        assert distributed.get_backend() == "gloo"
        assert cfg["model_wrapper_cfg"]["type"] == "MMDistributedDataParallel"
    finally:
        distributed.destroy_process_group()


def test_restarts_that_would_find_old_addresses_are_warned_of(monkeypatch) -> None:
    for name, value in (("RANK", "0"), ("TORCHELASTIC_MAX_RESTARTS", "3")):
        monkeypatch.setenv(name, value)
    with pytest.warns(UserWarning, match=f"--max-restarts 3.*set {UNSHARED_STORE}=1"):
        environment._warn_of_shared_store()
    monkeypatch.setenv(UNSHARED_STORE, "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        environment._warn_of_shared_store()


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
        os.environ.update(
            zip(OWN["mpi"], "020", strict=True), MASTER_ADDR="127.0.0.1", MASTER_PORT=port
        )
        with pytest.raises(InputError, match=f"MASTER_PORT {port}: another .*set MASTER_PORT to"):
            start_process_group(Cfg(launcher="mpi"), lambda _: {})


def test_a_gpu_that_two_processes_have() -> None:
    peers = Namespace(names={0: "rank 0 on a", 1: "rank 1 on a", 2: "rank 2 on b"})
    hosts.Peers._check_gpus(peers, ["x", "y", "z"])
    hosts.Peers._check_gpus(peers, ["", "", ""])
    with pytest.raises(InputError, match=r"^rank 0 on a, rank 2 on b have the same GPU, x"):
        hosts.Peers._check_gpus(peers, ["x", "y", "x"])
