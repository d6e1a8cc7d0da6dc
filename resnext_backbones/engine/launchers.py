"""Launchers start the processes of a run, and say to each by its environment which one it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launcher:
    """A launcher, and the names of the variables that it sets; the first that is set counts.

    Attributes:
        name: as messages call it.
        option: the value of `--launcher` that stands for it.
        command: starts processes with it.
        rank, world_size, local_rank: of a process, of all, and of a process on its node.
        local_size: processes on this node.
        hand_on: how a variable is given to all processes.
        run: what tells a run from the others on its node.
        nodes: how many nodes the run has.
    """

    name: str
    option: str
    command: str
    rank: tuple[str, ...]
    world_size: tuple[str, ...]
    local_rank: tuple[str, ...]
    local_size: tuple[str, ...]
    hand_on: str
    run: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[tuple[str, ...], ...]:
        return self.rank, self.world_size, self.local_rank


TORCHRUN = Launcher(
    "torchrun", "pytorch", "torchrun",
    ("RANK",), ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",),
    hand_on="torchrun --master_addr",
)  # fmt: skip

SLURM = Launcher(
    "Slurm", "slurm", "srun",
    ("SLURM_PROCID",), ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), ("SLURM_LOCALID",), (),
    hand_on="export MASTER_ADDR=NODE before srun",
    run=("SLURM_JOB_ID", "SLURM_STEP_ID"),
    nodes=("SLURM_STEP_NUM_NODES", "SLURM_NNODES"),
)  # fmt: skip

LAUNCHERS = (
    TORCHRUN,
    Launcher(
        "submitit's local executor", "slurm", "submitit",
        ("SUBMITIT_LOCAL_GLOBALID",), ("SUBMITIT_LOCAL_NTASKS",), ("SUBMITIT_LOCAL_LOCALID",),
        ("SUBMITIT_LOCAL_NTASKS",),  # it has one node
        hand_on="set it in the function that is submitted",
        run=("SUBMITIT_LOCAL_JOB_ID",),
    ),
    Launcher(
        "Horovod", "mpi", "horovodrun",
        ("HOROVOD_RANK",), ("HOROVOD_SIZE",), ("HOROVOD_LOCAL_RANK",), ("HOROVOD_LOCAL_SIZE",),
        hand_on="export MASTER_ADDR=NODE before horovodrun",
    ),
    Launcher(
        "Flux", "mpi", "flux run",
        ("FLUX_TASK_RANK",), ("FLUX_JOB_SIZE",), ("FLUX_TASK_LOCAL_ID",), (),
        hand_on="flux run --env MASTER_ADDR=NODE",
        run=("FLUX_JOB_ID",),
        nodes=("FLUX_JOB_NNODES",),
    ),
    Launcher(
        "LSF's jsrun", "mpi", "jsrun",
        ("JSM_NAMESPACE_RANK",), ("JSM_NAMESPACE_SIZE",), ("JSM_NAMESPACE_LOCAL_RANK",),
        ("JSM_NAMESPACE_LOCAL_SIZE",),
        hand_on="jsrun -E MASTER_ADDR=NODE",
        run=("LSB_JOBID", "PMIX_NAMESPACE"),
    ),
    Launcher(
        "Open MPI", "mpi", "mpirun",
        ("OMPI_COMM_WORLD_RANK",), ("OMPI_COMM_WORLD_SIZE",), ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
        hand_on="mpirun -x MASTER_ADDR=NODE",
        run=("PMIX_NAMESPACE",),
    ),
    Launcher(
        "MVAPICH", "mpi", "mpirun_rsh",
        ("MV2_COMM_WORLD_RANK",), ("MV2_COMM_WORLD_SIZE",), ("MV2_COMM_WORLD_LOCAL_RANK",),
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
        hand_on="mpirun_rsh ... MASTER_ADDR=NODE",
    ),
    Launcher(
        "PALS", "mpi", "mpiexec",
        ("PALS_RANKID",), ("PALS_SIZE", "PMI_SIZE"), ("PALS_LOCAL_RANKID",),
        ("PALS_LOCAL_SIZE", "PMI_LOCAL_SIZE"),
        hand_on="mpiexec --env MASTER_ADDR=NODE",
        run=("PALS_APID",),
    ),
    Launcher(
        "MPICH or Intel MPI", "mpi", "mpiexec",
        ("PMI_RANK",), ("PMI_SIZE",), ("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
        ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
        hand_on="mpiexec -genv MASTER_ADDR NODE",
    ),
    SLURM,
)  # fmt: skip
"""Those within others come first: srun starts torchrun, and mpirun lets Slurm start its own."""

OPTIONS = ("none", *dict.fromkeys(launcher.option for launcher in LAUNCHERS))
"""`--launcher` takes these."""
