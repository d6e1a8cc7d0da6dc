"""Devices, launchers and process groups."""

from __future__ import annotations

import gc
import os
import warnings
from typing import Any

import torch
from torch import distributed, multiprocessing

from resnext_backbones.errors import InputError

# Rank, world size and local rank, as each launcher passes them on.
LAUNCHERS: dict[str, tuple[str, str, str]] = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}

UNSHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""Environment variable of torchrun's: a new store of addresses after each restart."""


def share_batches_by_name() -> None:
    """Take batches from workers without asking them, where there is no GPU.

    PyTorch's default asks a worker for a tensor's file, and it answers between its next images.
    With a GPU a thread does that ahead. The memory of a run that was killed is freed by PyTorch's
    manager of it.
    """
    if not torch.cuda.is_available():
        multiprocessing.set_sharing_strategy("file_system")


def find_launcher() -> str:
    """`pytorch` under torchrun, else `none`.

    Slurm and MPI are not guessed: their variables are set in interactive allocations too.
    """
    return "pytorch" if all(name in os.environ for name in LAUNCHERS["pytorch"]) else "none"


def select_device(device: str | None, launcher: str) -> None:
    """Make `cpu`, `cuda` or `cuda:N` the device of this process; None takes what there is.

    It must be called before MMEngine is imported, which looks for devices once.

    Raises:
        InputError: there is no such device, or several processes are to share it.
    """
    if device is None:
        return
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"--device {device}: use cpu, cuda or cuda:N") from error
    count = torch.cuda.device_count()
    if wanted.type == "cuda" and (wanted.index or 0) >= count:
        raise InputError(
            f"--device {device}: this machine has {count} CUDA devices; {_choice(count)}"
        )
    if wanted.type not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: use cpu, cuda or cuda:N")
    if wanted.index is not None and launcher != "none":
        raise InputError(f"--device {device}: each process of a launcher takes its own; use cuda")
    if wanted.type == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    elif wanted.index is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = (
            visible[wanted.index] if visible != [""] else str(wanted.index)
        )


def _choice(count: int) -> str:
    return f"use cuda:0 to cuda:{count - 1}" if count else "leave the option out to use the CPU"


def read_ranks(launcher: str) -> tuple[int, int, int]:
    """Rank, world size and rank on this node, from the launcher's variables.

    Raises:
        InputError: the launcher did not set them.
    """
    if launcher == "none":
        return 0, 1, 0
    missing = [name for name in LAUNCHERS[launcher] if name not in os.environ]
    if missing:
        raise InputError(
            f"--launcher {launcher}: {', '.join(missing)} not set; start the tool with "
            "torchrun, srun or mpirun, or leave the option out"
        )
    rank, world_size, local_rank = (int(os.environ[name]) for name in LAUNCHERS[launcher])
    return rank, world_size, local_rank


def start_process_group(cfg: Any) -> None:
    """Join the process group where the launcher has several processes and no GPU.

    On GPUs MMEngine does this itself, with NCCL. Without one it would still ask for a CUDA
    device, so the group is made here, with gloo.

    Raises:
        InputError: there are more processes than GPUs, or several nodes and no MASTER_ADDR.
    """
    if cfg.launcher == "none":
        return
    prepare_processes(cfg.launcher)
    if torch.cuda.is_available():
        if cfg.launcher != "slurm":  # there MMEngine asks Slurm for the address
            set_address()
        return
    set_address()
    distributed.init_process_group("gloo")
    # MMEngine's default wrapper names a CUDA device; this one names none.
    cfg.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
        **(cfg.get("model_wrapper_cfg") or {}),
    }


def _warn_of_shared_store() -> None:
    """torchrun's restarted workers look for one another where the ended ones were."""
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if restarts and os.environ.get(UNSHARED_STORE) != "1" and os.environ.get("RANK") == "0":
        warnings.warn(
            f"torchrun --max-restarts {restarts}: restarted processes may not find one another "
            f"(pytorch/pytorch#135712); set {UNSHARED_STORE}=1 before torchrun",
            stacklevel=2,
        )


def agree(value: str, what: str) -> None:
    """Check that all processes found the same, in a folder say that all of them must see.

    Args:
        value: that this process found.
        what: the setting that it was found by.

    Raises:
        InputError: they did not.
    """
    if not distributed.is_initialized():
        return
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    if len(set(found)) > 1:
        listed = ", ".join(sorted({name or "none" for name in found}))
        raise InputError(
            f"{what}: the processes found different checkpoints ({listed}); name a folder that all "
            "machines see"
        )


def leave_processes() -> None:
    """Leave the process group, if there is one, when all has gone well.

    Gloo's threads may still run callbacks of the last collectives. One that needs the interpreter
    while it ends aborts the process, and torchrun then calls a run that is done failed.
    After an error it must not be called: it waits for collectives that the others never join.
    """
    if distributed.is_initialized():
        # A network in DistributedDataParallel holds the group, and a runner and its hooks hold each
        # other: the threads end with the last of them.
        gc.collect()
        distributed.destroy_process_group()


def prepare_processes(launcher: str) -> int:
    """Set the variables that a process group is made from, but for its address.

    Returns:
        The rank on this node, which is the number of the process's GPU.

    Raises:
        InputError: there are more processes than GPUs.
    """
    _warn_of_shared_store()
    rank, world_size, local_rank = read_ranks(launcher)
    if launcher == "slurm" and os.environ.get("SLURM_GPUS_PER_TASK") == "1":
        # Each task sees its own GPU alone, whose number is 0. MMEngine reads Slurm's variable.
        local_rank = 0
        os.environ["SLURM_LOCALID"] = "0"
    # MMEngine reads LOCAL_RANK under every launcher, and mpirun does not set it.
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(local_rank))
    if torch.cuda.is_available() and local_rank >= (count := torch.cuda.device_count()):
        raise InputError(
            f"process {local_rank} of this node has no GPU: there are {count}; "
            f"start at most {count} processes a node"
        )
    return local_rank


def set_address() -> None:
    """Have the processes of one node meet there, unless MASTER_ADDR says where.

    Raises:
        InputError: there are several nodes, and no MASTER_ADDR.
    """
    if "MASTER_ADDR" not in os.environ and _several_nodes(int(os.environ["WORLD_SIZE"])):
        raise InputError("MASTER_ADDR: set it to the first node's name, the same on every node")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")


def _several_nodes(world_size: int) -> bool:
    nodes = int(os.environ.get("SLURM_NNODES", "1"))
    on_this_node = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", world_size))
    return nodes > 1 or on_this_node < world_size


def rank_and_world_size() -> tuple[int, int]:
    """Rank and world size, once the processes have joined."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def is_main_process() -> bool:
    """Whether this is rank 0, or the only process; once the processes have joined."""
    return rank_and_world_size()[0] == 0
