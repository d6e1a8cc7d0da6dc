"""A process has a device, a launcher, and may be one of a group."""

from __future__ import annotations

import gc
import os
import re
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, multiprocessing

from resnext_backbones.engine import hosts
from resnext_backbones.engine.addresses import use_interface
from resnext_backbones.engine.signals import requests
from resnext_backbones.engine.started import find
from resnext_backbones.errors import InputError

UNSHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""This variable of torchrun's asks for a new store of addresses after each restart."""


def start_process(device: str | None = None, launcher: str | None = None) -> str:
    """Makes `cpu`, `cuda` or `cuda:N` the device of this process, and returns the launcher.

    It must be called before MMEngine is imported, which looks for devices once. Raises InputError
    where there is no such device, where several processes are to share it, or as `find`.

    Args:
        device: None is what there is.
        launcher: None is the one that started this process, as `find` tells.
    """
    started = find(launcher)
    launcher = started.launcher.option if started else "none"
    if started:
        started.export()  # with which messages say whose they are
    if device is None:
        return launcher
    wanted = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", device)
    if not wanted:
        raise InputError(f"--device {device}: use cpu, cuda or cuda:N")
    kind, index = wanted[1], int(wanted[2]) if wanted[2] else None
    count = torch.cuda.device_count()
    if kind == "cuda" and (index or 0) >= count:
        use = f"use cuda:0 to cuda:{count - 1}" if count else "leave the option out to use the CPU"
        raise InputError(f"--device {device}: this machine has {count} CUDA devices; {use}")
    if index is not None and launcher != "none":
        raise InputError(f"--device {device}: each process of a launcher takes its own; use cuda")
    if kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    elif index is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
    return launcher


def read_ranks(launcher: str) -> tuple[int, int, int]:
    """Returns rank, world size and rank on this node, or raises InputError: they are not set."""
    started = find(launcher)
    return (started.rank, started.world_size, started.local_rank) if started else (0, 1, 0)


def start_process_group(cfg: Any, facts: Callable[[bool], Mapping[str, str]] | None = None) -> None:
    """Sets what a process group is made from, meets the other processes, and joins the group where
    there is no GPU.

    On GPUs MMEngine does this itself, with NCCL. Without one it would still ask for a CUDA
    device, so the group is made here, with gloo.

    Args:
        facts: returns what is to be alike on all hosts, and is told whether this process is the
            first of its own; None meets no one.

    Raises:
        InputError: there are more processes than GPUs, or two have the same one; several nodes and
            no MASTER_ADDR, a port that is taken, or hosts that are not alike.
        RunError: another process does not come, or has ended.
    """
    if cfg.launcher == "none" or distributed.is_initialized():
        return
    _warn_of_shared_store()
    started = find(cfg.launcher)
    if started is None:
        return
    started.export()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        # MMEngine takes the device of this number.
        os.environ["LOCAL_RANK"] = str(started.device_of(count))
    started.export_address()
    timeout = hosts.waits(cfg)
    if not started.is_alone and facts is not None:
        use_interface()
        known = facts(started.local_rank == 0)
        hosts.meet(started.rank, started.world_size, known, timeout, gpu=_gpu())
    if count:
        dist_cfg = {"timeout": timeout, **((cfg.get("env_cfg") or {}).get("dist_cfg") or {})}
        cfg.env_cfg = {**(cfg.get("env_cfg") or {}), "dist_cfg": dist_cfg}
        return
    limit = timedelta(seconds=timeout)
    with requests.ending_at_once():
        distributed.init_process_group("gloo", timeout=limit, **hosts.group_options())
    # MMEngine's default wrapper names a CUDA device; this one names none.
    cfg.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
        **(cfg.get("model_wrapper_cfg") or {}),
    }


def _gpu() -> str:
    """Returns what tells this process's GPU from all others; "" where there is none."""
    if not torch.cuda.is_available():
        return ""
    return str(torch.cuda.get_device_properties(int(os.environ["LOCAL_RANK"])).uuid)


def _warn_of_shared_store() -> None:
    """Warns that torchrun's restarted workers look for one another where the ended ones were."""
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if restarts and os.environ.get(UNSHARED_STORE) != "1" and os.environ.get("RANK") == "0":
        warnings.warn(
            f"torchrun --max-restarts {restarts}: restarted processes may not find one another "
            f"(pytorch/pytorch#135712); set {UNSHARED_STORE}=1 before torchrun",
            stacklevel=2,
        )


def agree(value: str, what: str) -> None:
    """Raises InputError where processes did not find the same value by the same setting, `what`."""
    if not distributed.is_initialized():
        return
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    if len(set(found)) > 1:
        first = {name: rank for rank, name in reversed(list(enumerate(found)))}
        listed = ", ".join(f"{name or 'none'} of {hosts.name_of(first[name])}" for name in first)
        raise InputError(
            f"{what}: the processes found different checkpoints ({listed}); name a folder that all "
            "machines see"
        )


def leave_processes() -> None:
    """Leaves the process group, if there is one, when all has gone well.

    Gloo's threads may still run callbacks of the last collectives. One that needs the interpreter
    while it ends aborts the process, and torchrun then calls a run that is done failed.
    After an error it must not be called: it waits for collectives that the others never join.
    """
    if hosts.peers is not None:
        hosts.peers.leave()
    if distributed.is_initialized():
        # A network in DistributedDataParallel holds the group, and a runner and its hooks hold each
        # other: the threads end with the last of them.
        gc.collect()
        distributed.destroy_process_group()


def share_batches_by_name() -> None:
    """Takes batches from workers without asking them, where there is no GPU.

    PyTorch's default asks a worker for a tensor's file, and it answers between its next images.
    With a GPU a thread does that ahead. The memory of a run that was killed is freed by PyTorch's
    manager of it.
    """
    if not torch.cuda.is_available():
        multiprocessing.set_sharing_strategy("file_system")
