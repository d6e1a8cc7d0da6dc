"""A process is told by its launcher which one of how many it is.

What another launcher than torchrun says is said again by torchrun's variables, which PyTorch and
MMEngine read. Nothing here imports PyTorch.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from resnext_backbones.engine.launchers import LAUNCHERS, SLURM, TORCHRUN, Launcher
from resnext_backbones.errors import InputError

LOCAL_RANK_ARGUMENTS = ("--local-rank", "--local_rank")
"""`torch.distributed.launch` hands one of these, as its version is, to whatever it starts."""

ADDRESS, PORT, DEFAULT_PORT = "MASTER_ADDR", "MASTER_PORT", 29500

PORTS = range(20000, 32000)
"""The port of a run follows from its number, where its launcher gives one; the system takes its own
from above these."""

SLURM_NODES = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
"""The first of these that is set lists the nodes, that of rank 0 first."""

VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""One of these says which GPUs a process may see, where not all of them."""

Env = Mapping[str, str]


@dataclass(frozen=True)
class Started:
    """What a launcher said to a process.

    Attributes:
        local_size: None where it is not known.
    """

    launcher: Launcher
    rank: int
    world_size: int
    local_rank: int
    local_size: int | None

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world_size} by {self.launcher.rank[0]}"

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1

    def export(self) -> None:
        """Says the same by torchrun's variables."""
        numbers = (self.rank, self.world_size, self.local_rank)
        os.environ.update(zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), map(str, numbers), strict=True))
        if self.local_size is not None:
            os.environ["LOCAL_WORLD_SIZE"] = str(self.local_size)

    def export_address(self, env: MutableMapping[str, str] = os.environ) -> None:
        """Says where rank 0 is, and at which port; raises InputError where that is not known."""
        if self.is_alone and not is_elastic(env):
            env.update({ADDRESS: "127.0.0.1", PORT: "0"})  # any that is free: no other looks for it
            return
        if not env.get(ADDRESS):
            env[ADDRESS] = self._address(env)
        if not env.get(PORT):
            parts = [env[name] for name in self.launcher.run if name in env]
            at = zlib.crc32("/".join(parts).encode()) % len(PORTS)
            env[PORT] = str(PORTS[at] if parts else DEFAULT_PORT)
        if not env[PORT].isdigit() or int(env[PORT]) > 65535:
            raise InputError(f"{PORT}={env[PORT]}: is no port; use a number such as {DEFAULT_PORT}")

    def _address(self, env: Env) -> str:
        # An MPI's variables may be those that srun adds for it.
        by_slurm = self if self.launcher is SLURM else _guessed(SLURM, env)
        same = by_slurm and (by_slurm.rank, by_slurm.world_size) == (self.rank, self.world_size)
        nodes = _value(env, SLURM_NODES) if same else ""
        if self.local_size == self.world_size or (nodes and first_of(nodes) == nodes):
            return "127.0.0.1"
        if nodes:
            return first_of(nodes)
        raise InputError(
            f"{ADDRESS}: {self.launcher.name} started {self.world_size} processes and does not say "
            f"where rank 0 is; set it to the first node's name, the same on every node "
            f"({self.launcher.hand_on}), or to 127.0.0.1 where there is one"
        )

    def device_of(self, count: int, env: Env = os.environ) -> int:
        """Returns the number of this process's GPU among those it sees, or raises InputError.

        Slurm (`--gpus-per-task`, `--gpu-bind`) and scripts below mpirun let a process see its own
        alone, which is number 0 to each.
        """
        its_own = re.search(r"\d+$", env.get("SLURM_GPUS_PER_TASK", ""))
        if self.launcher is SLURM and its_own and int(its_own[0]) == count:
            return 0
        if self.local_rank < count:
            return self.local_rank
        if self.launcher is not TORCHRUN and _value(env, VISIBLE):
            return self.local_rank % count
        raise InputError(
            f"process {self.local_rank} of this node has no GPU: there are {count}; "
            f"start at most {count} processes a node"
        )


def find(option: str | None = None, env: Env = os.environ) -> Started | None:
    """Returns what the launcher said that started this process; None where it is one alone.

    Args:
        option: of `OPTIONS`; None is what the variables say. Slurm's are set in interactive
            sessions and batch scripts too, so there they count in what srun started as several.

    Raises:
        InputError: variables are half there or no numbers, or two launchers disagree.
    """
    if option == "none":
        return None
    several = [each for launcher in LAUNCHERS if (each := _guessed(launcher, env))]
    if option is None:
        if not several:
            _check_nothing_is_lacking(env)
            return None
        chosen = several[0]
    else:
        chosen = _of_option(option, several, env)
        if not is_elastic(env):  # somebody's variables, as of a script
            several = [each for each in several if each.launcher is not TORCHRUN]
    for other in several:
        if not _agree(chosen, other, env):
            what, out = "two launchers disagree", ""
            if option:
                what, out = f"--launcher {option}", "leave the option out, "
            raise InputError(
                f"{what}: this process is {chosen}, but {other}; {out}start it with one launcher, "
                "or take the variables of the other out of its environment"
            )
    return chosen


def _guessed(launcher: Launcher, env: Env) -> Started | None:
    """Returns what a launcher said, where it is sure that it started this process."""
    if launcher is SLURM and ("SLURM_STEP_NUM_TASKS" not in env or _is_interactive(env)):
        return None
    found = _read(launcher, env)
    return found if found and (launcher is TORCHRUN or not found.is_alone) else None


def _of_option(option: str, several: Sequence[Started], env: Env) -> Started:
    rows = [launcher for launcher in LAUNCHERS if launcher.option == option]
    names = " or ".join(f"{row.command} ({row.name})" for row in rows)
    if chosen := next(filter(None, (_read(launcher, env) for launcher in rows)), None):
        return chosen
    closest = _closest_first(rows, env)[0]
    other = f"{several[0].launcher.name} started this process: " if several else ""
    raise InputError(
        f"--launcher {option}: {', '.join(_absent(closest, env))} not set; {other}start the tool "
        f"with {names}, or leave the option out"
    )


def _read(launcher: Launcher, env: Env) -> Started | None:
    """Returns what a launcher said; None where that is not all there."""
    if _absent(launcher, env):
        return None
    rank, size, local_rank = (_number(env, names) for names in launcher.needed)
    if not rank < size or not local_rank < size:
        said = ", ".join(f"{_name(env, names)}={_value(env, names)}" for names in launcher.needed)
        raise InputError(f"{said}: ranks go from 0 to the number of processes less 1")
    return Started(launcher, rank, size, local_rank, _local_size(launcher, size, env))


def _local_size(launcher: Launcher, world_size: int, env: Env) -> int | None:
    if _value(env, launcher.nodes) == "1":
        return world_size
    if launcher is SLURM:
        each = list(_expanded(_value(env, ("SLURM_STEP_TASKS_PER_NODE",))))
        node = _value(env, ("SLURM_NODEID",))
        return each[int(node)] if node.isdigit() and int(node) < len(each) else None
    return _number(env, launcher.local_size) if _value(env, launcher.local_size) else None


def _expanded(counts: str) -> Iterator[int]:
    """Yields the tasks of each node, which Slurm writes as `2(x3),1`."""
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        yield from [int(count)] * int(times or 1)


def first_of(nodes: str) -> str:
    """Returns the first name in a list of Slurm's, such as `gpu[003-005,7]-ib,login1`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else nodes)


def _check_nothing_is_lacking(env: Env) -> None:
    """Raises InputError where variables say that there are several processes, but not which this
    is: each would run as if it were alone.
    """
    alone = ("0", "1", "0")
    for launcher in _closest_first(LAUNCHERS, env):
        given = [names for names in launcher.needed if _value(env, names)]
        beyond = any(
            _value(env, names) not in ("", value)
            for names, value in zip(launcher.needed, alone, strict=True)
        )
        if launcher is SLURM or not beyond or len(given) == len(launcher.needed):
            continue
        there = ", ".join(f"{_name(env, names)}={_value(env, names)}" for names in given)
        zero = " (LOCAL_RANK=0 where each machine has one process)" if launcher is TORCHRUN else ""
        raise InputError(
            f"{there}: {launcher.name} would set {', '.join(_absent(launcher, env))} as well; set "
            f"all{zero}, start the tool with {launcher.command}, or give --launcher none for one "
            "process"
        )


def _closest_first(rows: Sequence[Launcher], env: Env) -> list[Launcher]:
    """Returns launchers in the order in which more of their variables are there."""
    return sorted(rows, key=lambda row: (len(_absent(row, env)), -LAUNCHERS.index(row)))


def _agree(chosen: Started, other: Started, env: Env) -> bool:
    """Tells whether two launchers can both be there: they say the same, or the inner one started
    more processes than the outer, or is torchrun, which numbers nodes as they come.
    """
    if (chosen.rank, chosen.world_size) == (other.rank, other.world_size):
        return True
    if LAUNCHERS.index(chosen.launcher) > LAUNCHERS.index(other.launcher):
        return False
    return chosen.world_size > other.world_size or (chosen.launcher is TORCHRUN and is_elastic(env))


def is_elastic(env: Env = os.environ) -> bool:
    """Tells whether torchrun itself set its variables, not some script."""
    return "TORCHELASTIC_RUN_ID" in env


def _is_interactive(env: Env) -> bool:
    """Tells whether this process was started in a shell that `srun --pty` opened, not by srun."""
    return "SLURM_PTY_PORT" in env and env.get("SLURM_TASK_PID") != str(os.getpid())


def _absent(launcher: Launcher, env: Env) -> list[str]:
    return [names[0] for names in launcher.needed if not _value(env, names)]


def _name(env: Env, names: Sequence[str]) -> str:
    return next((name for name in names if env.get(name)), names[0] if names else "")


def _value(env: Env, names: Sequence[str]) -> str:
    return env.get(_name(env, names), "") if names else ""


def _number(env: Env, names: Sequence[str]) -> int:
    value = _value(env, names)
    if not value.isdigit():
        raise InputError(f"{_name(env, names)}={value}: must be a whole number; a launcher sets it")
    return int(value)


def without_local_rank(arguments: Sequence[str]) -> list[str]:
    """Returns a command line without `--local-rank=N`, which becomes LOCAL_RANK where a launcher
    has not set that too; raises InputError where N is another number, or none.
    """
    kept, words = [], iter(arguments)
    for word in words:
        name, is_there, value = word.partition("=")
        if name not in LOCAL_RANK_ARGUMENTS:
            kept.append(word)
            continue
        value = value if is_there else next(words, "")
        if not value.isdigit():
            raise InputError(f"{name} {value}: must be a whole number")
        if (known := os.environ.setdefault("LOCAL_RANK", value)) != value:
            raise InputError(
                f"{name} {value}: but LOCAL_RANK is {known}; leave the argument to the launcher"
            )
    return kept
