"""Launchers and devices."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torch import distributed

from resnext_backbones.engine import processes as environment
from resnext_backbones.engine.alike import facts_of
from resnext_backbones.engine.processes import (
    LAUNCHERS,
    UNSHARED_STORE,
    read_ranks,
    start_process,
    start_process_group,
)
from resnext_backbones.errors import InputError


def test_hosts_compare_texts_of_any_length() -> None:
    text = "person. bicycle. " * 20  # no file has a name so long
    assert facts_of({"prompt": text}, (), leads=True)["config, prompt"] == text


class Cfg(dict):
    """A config with its launcher as an attribute."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch) -> None:
    names = {name for names in LAUNCHERS.values() for name in names}
    for name in (*names, "MASTER_ADDR", "MASTER_PORT"):
        # Set first, so that what a test sets in os.environ is taken back after it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_torchrun_is_found(monkeypatch) -> None:
    assert start_process() == "none"
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert start_process() == "none", "set in an interactive allocation as well"
    for name in LAUNCHERS["pytorch"]:
        monkeypatch.setenv(name, "0")
    assert start_process() == "pytorch"


@pytest.mark.parametrize(
    ("device", "launcher", "message"),
    [
        ("cuda:7", "none", r"cuda:7: this machine has 2 CUDA devices; use cuda:0 to cuda:1"),
        ("tpu", "none", r"--device tpu: use cpu, cuda or cuda:N"),
        ("cuda:1", "pytorch", r"each process of a launcher"),
    ],
)
def test_devices_that_are_not_there(device, launcher, message, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
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


def test_a_launcher_without_its_variables() -> None:
    assert read_ranks("none") == (0, 1, 0)
    with pytest.raises(InputError, match=r"--launcher slurm: SLURM_PROCID, .*srun"):
        read_ranks("slurm")


@pytest.mark.parametrize(
    ("launcher", "variable", "value", "gpus"),
    [
        ("slurm", "SLURM_NNODES", "2", False),
        ("mpi", "OMPI_COMM_WORLD_LOCAL_SIZE", "1", False),
        ("mpi", "OMPI_COMM_WORLD_LOCAL_SIZE", "1", True),
    ],
)
def test_several_nodes_need_an_address(launcher, variable, value, gpus, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv(variable, value)
    for name, number in zip(LAUNCHERS[launcher], ("0", "2", "0"), strict=True):
        monkeypatch.setenv(name, number)
    with pytest.raises(InputError, match="MASTER_ADDR"):
        start_process_group(Cfg(launcher=launcher))


def test_mpi_on_gpus_gets_the_variable_that_mmengine_reads(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name, value in zip(LAUNCHERS["mpi"], ("2", "4", "2"), strict=True):
        monkeypatch.setenv(name, value)
    start_process_group(Cfg(launcher="mpi"))
    assert os.environ["LOCAL_RANK"] == "2"


def test_more_processes_than_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in zip(LAUNCHERS["pytorch"], ("3", "4", "3"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"process 3 .* no GPU: there are 2"):
        start_process_group(Cfg(launcher="pytorch"))


def test_tasks_of_slurm_that_see_one_gpu_each(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("SLURM_GPUS_PER_TASK", "1")
    for name, value in zip(LAUNCHERS["slurm"], ("3", "4", "3"), strict=True):
        monkeypatch.setenv(name, value)
    start_process_group(Cfg(launcher="slurm"))
    assert (os.environ["RANK"], os.environ["LOCAL_RANK"]) == ("3", "0")
    assert os.environ["SLURM_LOCALID"] == "0"
    assert "MASTER_ADDR" not in os.environ


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_without_a_gpu_processes_join_with_gloo(launcher, monkeypatch) -> None:
    monkeypatch.setattr(environment.torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("MASTER_PORT", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    for name, value in zip(LAUNCHERS[launcher], ("0", "1", "0"), strict=True):
        monkeypatch.setenv(name, value)
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
