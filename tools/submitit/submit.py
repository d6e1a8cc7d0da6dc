#!/usr/bin/env python3
"""Trains under Slurm through submitit, and is sent again by itself, with `--resume`.

python tools/submitit/submit.py --nodes 2 --gpus 8 --hours 24 -- \
    train mask_rcnn_x101_32x4d_fpn_coco --amp bf16 --work-dir work_dirs/mask_rcnn
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress

import submitit

SAVED = 128 + signal.SIGTERM
"""A run that was asked to end ends with this status, once it has saved."""


class Run:
    """A process of a run. submitit asks the first one to end before its time is over."""

    def __init__(self, words: list[str], resume: bool = False) -> None:
        self.words, self.resume = words, resume

    def __call__(self) -> None:
        # Slurm says how often it has sent a job again by itself, as after a node was lost.
        again = self.resume or int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        command = [sys.executable, "-m", "resnext_backbones", *self.words]
        self.process = subprocess.Popen([*command, "--resume"] if again else command)
        status = self.process.wait()
        # The first process takes the others along; it alone sends the job again.
        if status and not (status == SAVED and submitit.JobEnvironment().global_rank):
            raise RuntimeError(f"{shlex.join(command)}: ended with status {status}")

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Returns the run that goes on, once this one has saved; called in a signal's handler."""
        with suppress(ProcessLookupError, ChildProcessError):  # it has ended by itself
            os.kill(self.process.pid, signal.SIGTERM)
            # Popen.wait, which the handler has interrupted, holds its lock: this takes none.
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Run(self.words, resume=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1, help="default %(default)s")
    parser.add_argument("--gpus", type=int, default=8, help="of a node; default %(default)s")
    parser.add_argument("--cpus", type=int, default=8, help="of a GPU; default %(default)s")
    parser.add_argument("--hours", type=float, default=24, help="default %(default)s")
    parser.add_argument("--times", type=int, default=10, help="sent again; default %(default)s")
    parser.add_argument("--partition", help="of Slurm")
    parser.add_argument("--folder", default="submitit_logs", help="default %(default)s")
    parser.add_argument("--local", action="store_true", help="on this machine, to try it")
    parser.add_argument("words", nargs="+", help="of `resnext`, after --: train CONFIG ...")
    args = parser.parse_args()
    executor = submitit.AutoExecutor(
        args.folder, cluster="local" if args.local else "slurm", slurm_max_num_timeout=args.times
    )
    executor.update_parameters(
        name="resnext_backbones",
        nodes=args.nodes,
        gpus_per_node=args.gpus,
        tasks_per_node=max(args.gpus, 1),  # a process each, which finds its place by itself
        cpus_per_task=args.cpus,
        timeout_min=round(args.hours * 60),
        slurm_partition=args.partition,
        slurm_signal_delay_s=180,  # a step and a checkpoint must fit in
        slurm_use_srun=True,
    )
    job = executor.submit(Run(args.words))
    print(f"job {job.job_id}: {job.paths.stdout}")
    if args.local:
        job.results()


if __name__ == "__main__":
    main()
