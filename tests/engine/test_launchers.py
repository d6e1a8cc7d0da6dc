"""What launchers say to a process, read from one table."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from argparse import Namespace

import pytest
import torch

from resnext_backbones.cli import command_parser
from resnext_backbones.commands.train_detectron2 import check_launcher
from resnext_backbones.engine import hosts, store
from resnext_backbones.engine.launchers import LAUNCHERS, OPTIONS
from resnext_backbones.engine.processes import start_process, start_process_group
from resnext_backbones.engine.started import (
    ADDRESS,
    DEFAULT_PORT,
    PORT,
    PORTS,
    find,
    first_of,
    without_local_rank,
)
from resnext_backbones.errors import InputError, RunError

ELASTIC = {"TORCHELASTIC_RUN_ID": "none"}
TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a", "MASTER_PORT": "1", **ELASTIC,
}  # fmt: skip
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_RANK": "1", "PMIX_NAMESPACE": "1972961281",
}  # fmt: skip
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
BATCH = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
}  # fmt: skip
"""What a batch script has, and so whatever it starts."""

STEP = BATCH | {
    "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}  # fmt: skip
ONE_TASK = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
ONE_NODE = STEP | {"SLURM_STEP_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n1"}

SAID = {
    "plain": ({}, None),
    "torchrun": (TORCHRUN, ("pytorch", 3, 4, 1, 2, "a")),
    "torchrun, one process": (
        TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        ("pytorch", 0, 1, 0, 1, "a"),
    ),
    "torchrun that srun started": (TORCHRUN | STEP, ("pytorch", 3, 4, 1, 2, "a")),
    "torchrun numbers nodes as they come": (
        TORCHRUN | STEP | {"RANK": "2"}, ("pytorch", 2, 4, 1, 2, "a"),
    ),
    "Open MPI": (OPEN_MPI, ("mpi", 1, 2, 1, 2, "127.0.0.1")),
    "Open MPI within a batch script": (OPEN_MPI | BATCH, ("mpi", 1, 2, 1, 2, "127.0.0.1")),
    "Open MPI whose daemons srun started": (
        OPEN_MPI | STEP | {"OMPI_COMM_WORLD_SIZE": "9", "MASTER_ADDR": "n1"},
        ("mpi", 1, 9, 1, 2, "n1"),
    ),
    "MPICH": (MPICH, ("mpi", 1, 2, 1, 2, "127.0.0.1")),
    "Intel MPI": (MPICH | {"I_MPI_MPIRUN": "mpirun"}, ("mpi", 1, 2, 1, 2, "127.0.0.1")),
    "MPICH on two nodes": (
        MPICH | {"MPI_LOCALNRANKS": "1", "MPI_LOCALRANKID": "0", "MASTER_ADDR": "a"},
        ("mpi", 1, 2, 0, 1, "a"),
    ),
    "MVAPICH": (
        {
            "MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "2",
            "MV2_COMM_WORLD_LOCAL_RANK": "0", "MV2_COMM_WORLD_LOCAL_SIZE": "2",
        },
        ("mpi", 0, 2, 0, 2, "127.0.0.1"),
    ),
    "PALS": (
        {
            "PALS_RANKID": "1", "PMI_RANK": "1", "PMI_SIZE": "2", "PALS_LOCAL_RANKID": "1",
            "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "2",
        },
        ("mpi", 1, 2, 1, 2, "127.0.0.1"),
    ),
    "LSF's jsrun, which sets Open MPI's": (
        {
            "JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_LOCAL_RANK": "1",
            "JSM_NAMESPACE_LOCAL_SIZE": "2", "LSB_JOBID": "5", **OPEN_MPI,
        },
        ("mpi", 1, 2, 1, 2, "127.0.0.1"),
    ),
    "Slurm": (STEP, ("slurm", 3, 4, 1, 2, "n1")),
    "Slurm, one node": (ONE_NODE, ("slurm", 3, 4, 1, 4, "127.0.0.1")),
    "submitit, which is Slurm": (
        STEP | {"SUBMITIT_EXECUTOR": "slurm"}, ("slurm", 3, 4, 1, 2, "n1"),
    ),
    "Slurm for an MPI": (STEP | {"PMI_RANK": "3", "PMI_SIZE": "4"}, ("slurm", 3, 4, 1, 2, "n1")),
    "Slurm for Cray's MPI": (
        STEP | {"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_LOCAL_RANK": "1"},
        ("mpi", 3, 4, 1, None, "n1"),
    ),
    "a batch script": (BATCH, None),
    "an interactive session": (STEP | ONE_TASK, None),
    "an interactive session of tasks": (
        STEP | {"SLURM_PTY_PORT": "1", "SLURM_TASK_PID": "1"}, None,
    ),
    "srun in an interactive session": (
        STEP | {"SLURM_PTY_PORT": "1", "SLURM_TASK_PID": str(os.getpid())},
        ("slurm", 3, 4, 1, 2, "n1"),
    ),
    "submitit's local executor": (
        {
            "SUBMITIT_LOCAL_GLOBALID": "1", "SUBMITIT_LOCAL_LOCALID": "1",
            "SUBMITIT_LOCAL_NTASKS": "2", "SUBMITIT_LOCAL_JOB_ID": "9",
        },
        ("slurm", 1, 2, 1, 2, "127.0.0.1"),
    ),
    "dist_train.sh's port of a plain start": ({"MASTER_PORT": "29500", "NODE_RANK": "0"}, None),
}  # fmt: skip
"""What each says, and the option, rank, world size, local rank, local size and address in it."""

NAMES = {
    *(name for row in LAUNCHERS for names in (*row.needed, row.local_size) for name in names),
    *(name for env, _ in SAID.values() for name in env),
    "SLURM_GPUS_PER_TASK", "CUDA_VISIBLE_DEVICES", "TORCHELASTIC_MAX_RESTARTS",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES | {ADDRESS, PORT}:
        # Set first, so that what is put in os.environ is taken back after a test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", SAID)
def test_a_launcher_is_found_by_what_it_says(name: str) -> None:
    given, expected = SAID[name]
    os.environ.update(given)
    found = find()
    assert find("none") is None
    if expected is None:
        assert found is None
        assert start_process() == "none"
        return
    option, rank, size, local_rank, local_size, address = expected
    assert start_process() == option
    assert (found.rank, found.world_size, found.local_rank) == (rank, size, local_rank)
    assert found.local_size == local_size
    assert find(option) == found, "named, and when it is read again"
    found.export_address()
    said = [os.environ[key] for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", ADDRESS)]
    assert said == [str(rank), str(size), str(local_rank), address]
    assert os.environ[PORT].isdigit()


def test_every_launcher_of_the_table_is_tried() -> None:
    rows = [
        row for given, _ in SAID.values() if (row := getattr(find(env=given), "launcher", None))
    ]
    assert set(map(id, LAUNCHERS)) == set(map(id, rows))
    (choices,) = (a.choices for a in command_parser("train")._actions if a.dest == "launcher")
    assert choices == OPTIONS


SCRIPT = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}
"""What a script may have said to all processes alike."""

HALF = [
    ({"RANK": "1", "WORLD_SIZE": "2"}, "RANK=1, WORLD_SIZE=2: .* LOCAL_RANK as well; .*=0 where"),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2: torchrun would set RANK, LOCAL_RANK as well"),
    ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1: torchrun would set RANK, WORLD_SIZE .*--launcher none"),
    ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "would set MPI_LOCALRANKID as well; .*mpiexec"),
    ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI would set OMPI_COMM_WORLD_RANK"),
    (OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "x"}, "OMPI_COMM_WORLD_RANK=x: must be a whole number"),
    (MPICH | {"PMI_RANK": "2"}, "PMI_RANK=2, PMI_SIZE=2, .*ranks go from 0"),
    (MPICH | {"PMI_SIZE": "-1"}, "PMI_SIZE=-1: must be a whole number"),
    (OPEN_MPI | MPICH | {"PMI_RANK": "0"}, "disagree: .*rank 1 of 2 by OMPI_COMM_.*PMI"),
    (OPEN_MPI | SCRIPT | {"WORLD_SIZE": "1"}, "rank 0 of 1 by RANK, but rank 1"),
    (STEP | SCRIPT, "rank 0 of 4 by RANK, but rank 3"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), HALF)
def test_what_is_half_there_or_disagrees_is_said(given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(env=given)
    assert find("none", given) is None


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        ("slurm", {}, "--launcher slurm: SLURM_PROCID, .* not set; start the tool with .*srun"),
        ("pytorch", {}, "--launcher pytorch: RANK, .* or leave the option out"),
        ("mpi", {}, r"--launcher mpi: .*mpirun \(Open MPI\).*mpiexec \(MPICH or Intel MPI\)"),
        ("mpi", {"PMI_RANK": "0", "PMI_SIZE": "1"}, "--launcher mpi: MPI_LOCALRANKID not set"),
        ("mpi", TORCHRUN, "torchrun started this process: .*leave the option out"),
        ("pytorch", STEP, "RANK, .* not set; Slurm started this process"),
        (
            "slurm",
            TORCHRUN | STEP | {"SLURM_STEP_NUM_TASKS": "5"},
            "5 by SLURM_PROCID, but rank 3 of",
        ),
        ("slurm", OPEN_MPI | STEP, "rank 3 of 4 by SLURM_PROCID, but rank 1 of 2 by OMPI"),
    ],
)
def test_another_launcher_than_that_named(option: str, given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(option, given)


def test_a_launcher_that_is_named_counts_for_one_process_and_over_a_script() -> None:
    alone = MPICH | {"PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALRANKID": "0"}
    assert find(env=alone) is None
    find("mpi", alone).export_address(given := dict(alone))
    assert given[PORT] == "0", "alone, it needs none that others know"
    assert find("slurm", STEP | SCRIPT).rank == 3
    assert find("slurm", BATCH).world_size == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MPICH | {"MPI_LOCALNRANKS": "1"}, "mpiexec -genv MASTER_ADDR NODE"),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, "mpirun -x MASTER_ADDR=NODE"),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "MASTER_ADDR: torchrun started 2"),
        (STEP | {"SLURM_JOB_NODELIST": ""}, "MASTER_ADDR: Slurm started 4"),
        (ONE_NODE | {"MASTER_PORT": "http"}, "MASTER_PORT=http: is no port"),
    ],
)
def test_where_rank_0_is_must_be_known(given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(env=given).export_address(dict(given))


def test_runs_on_one_node_have_ports_of_their_own() -> None:
    ports = set()
    for job in ("7", "8"):
        find(env=ONE_NODE).export_address(given := ONE_NODE | {"SLURM_JOB_ID": job})
        ports.add(int(given[PORT]))
    assert len(ports) == 2
    assert ports <= set(PORTS)
    find(env=MPICH).export_address(given := dict(MPICH))
    assert given[PORT] == str(DEFAULT_PORT)


def test_names_of_slurms_nodes() -> None:
    names = {
        "gpu[003-005,7]-ib,login1": "gpu003-ib", "n1": "n1", "n1,n[2-3]": "n1", "a[4,9]": "a4",
        "r[1-2]c[0-3]": "r1c0", "gpu-a.site.org,b": "gpu-a.site.org",
    }  # fmt: skip
    assert {nodes: first_of(nodes) for nodes in names} == names


@pytest.mark.parametrize(
    ("given", "gpus", "expected"),
    [
        (ONE_NODE, 4, 1),
        (ONE_NODE | {"SLURM_GPUS_PER_TASK": "1"}, 1, 0),
        (ONE_NODE | {"SLURM_GPUS_PER_TASK": "a100:2"}, 2, 0),
        (ONE_NODE | {"SLURM_LOCALID": "3", "CUDA_VISIBLE_DEVICES": "0"}, 1, 0),
        (ONE_NODE | {"SLURM_LOCALID": "3", "CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}, 2, 1),
        (MPICH | {"CUDA_VISIBLE_DEVICES": "1"}, 1, 0),
        (ONE_NODE, 1, "process 1 of this node has no GPU: there are 1"),
        (TORCHRUN | {"CUDA_VISIBLE_DEVICES": "0"}, 1, "start at most 1 processes a node"),
    ],
)
def test_the_number_of_a_gpu_among_those_that_a_process_sees(
    given: dict[str, str], gpus: int, expected: int | str
) -> None:
    found = find(env=given)
    if isinstance(expected, int):
        assert found.device_of(gpus, given) == expected
        return
    with pytest.raises(InputError, match=expected):
        found.device_of(gpus, given)


@pytest.mark.parametrize(
    "line", ["--local-rank=1 a -b", "a --local_rank 1 -b", "a -b --local-rank=1"]
)
def test_the_argument_of_torch_distributed_launch(line: str) -> None:
    assert without_local_rank(line.split()) == ["a", "-b"]
    assert os.environ["LOCAL_RANK"] == "1"
    for other in ("--local-rank=0", "--local-rank"):
        with pytest.raises(InputError, match=r"--local-rank .*(LOCAL_RANK is 1|whole number)"):
            without_local_rank([other])


def test_a_local_rank_by_hand_is_one_process() -> None:
    assert without_local_rank(["--local_rank", "0"]) == []
    assert start_process() == "none"


def test_detectron2_starts_its_processes_but_on_each_machine() -> None:
    check_launcher(None, None)
    os.environ.update(STEP)
    check_launcher(None, 4)
    with pytest.raises(InputError, match=r"rank 3 of 4 .*--num-gpus, not a launcher"):
        check_launcher(None, None)
    os.environ.update(TORCHRUN)
    with pytest.raises(InputError, match="--num-gpus, not a launcher"):
        check_launcher("pytorch", 4)


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
        os.environ.update(MPICH | {"PMI_RANK": "0", "MPI_LOCALRANKID": "0", "MASTER_PORT": port})
        with pytest.raises(InputError, match=f"MASTER_PORT {port}: another .*set MASTER_PORT to"):
            start_process_group(_Cfg(launcher="mpi"), lambda _: {})


def test_a_program_that_is_no_store_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ANSWER", 0.3)
    with socket.create_server(("", 0)) as server:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(server.getsockname()[1]))
        with pytest.raises(RunError, match=r"is another program's, .*set MASTER_PORT"):
            store.connect(30)


class _Cfg(dict):
    """A config with its launcher as an attribute."""

    def __getattr__(self, name: str) -> object:
        if name not in self:
            raise AttributeError(name)
        return self[name]


def test_a_gpu_that_two_processes_have() -> None:
    peers = Namespace(names={0: "rank 0 on a", 1: "rank 1 on a", 2: "rank 2 on b"})
    hosts.Peers._check_gpus(peers, ["x", "y", "z"])
    hosts.Peers._check_gpus(peers, ["", "", ""])
    with pytest.raises(InputError, match=r"^rank 0 on a, rank 2 on b have the same GPU, x"):
        hosts.Peers._check_gpus(peers, ["x", "y", "x"])


def test_the_table_does_without_pytorch() -> None:
    code = (
        "import sys; from resnext_backbones.engine.started import find; find(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
