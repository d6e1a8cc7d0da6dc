"""Checkpoints: whole or not there, known by their hash, and the last good one to go on from."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import distributed

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine.journal import (
    TERMINATED,
    enter,
    newest_whole,
    read_journal,
    write_journal,
)
from resnext_backbones.engine.logs import reported
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write, remove_leftovers

BACKEND = "resnext_backbones.whole_files"


@register_backend(BACKEND)
class WholeFiles(LocalBackend):
    """MMEngine's storage in files, each of which is written whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Raises:
            OSError: it cannot be written; what was there before is as it was.
        """
        with atomic_write(Path(filepath)) as temporary:
            temporary.write_bytes(obj)


def newest_checkpoint(work_dir: str | Path) -> Path | None:
    """As `newest_whole`, with warnings in MMEngine's log."""
    return newest_whole(work_dir, partial(print_log, logger="current", level=logging.WARNING))


def checkpoint_to_test(name: str, work_dir: str | Path) -> str:
    """Returns a checkpoint's path: of `auto` the newest one's in a work directory.

    Raises:
        InputError: there is none.
    """
    found = newest_checkpoint(work_dir) if name == "auto" else name
    if found is None:
        raise InputError(f"checkpoint auto: there is none in {work_dir}; name one, or --work-dir")
    return str(found)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, so that no more is lost than the step that a run was killed in.

    A checkpoint is written whole or not at all, and its hash kept. Where it cannot be written, that
    is logged, the older ones stay, and training goes on. SIGTERM saves after the running step and
    ends the run with exit status 143. Where a run goes on, what its steps draw at random depends on
    their number alone (see `engine.loop`), so there is no state of generators to keep.

    Args:
        minutes: between checkpoints within an epoch; 0 is none.
        max_keep_ckpts: how many are kept; -1 is all. The oldest go once a new one is written.
        options: as MMEngine's.
    """

    filename_tmpl: str

    def __init__(self, minutes: float = 0, max_keep_ckpts: int = -1, **options: Any) -> None:
        super().__init__(**options, backend_args={"backend": BACKEND})
        self.minutes, self.keep = minutes, max_keep_ckpts
        self._saved = time.monotonic()
        self._terminated = False
        self._group: Any = None

    def before_train(self, runner: Any) -> None:
        """Listen to SIGTERM, and clear away what a killed run left."""
        super().before_train(runner)
        self._before = signal.signal(signal.SIGTERM, self._terminate)
        if distributed.is_initialized():
            # On the CPU, so that asking the other ranks does not wait for the GPU.
            self._group = distributed.new_group(backend="gloo")
        if is_main_process():
            remove_leftovers(Path(runner.work_dir), "*.pth")
        self._saved = time.monotonic()

    def after_train(self, runner: Any) -> None:
        """Leave SIGTERM to whom it was left before."""
        super().after_train(runner)
        signal.signal(signal.SIGTERM, self._before)

    def _terminate(self, *_: object) -> None:
        self._terminated = True

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Save where it is time to, or the run was asked to end.

        Raises:
            SystemExit: it was asked to end; the status is `TERMINATED`.
        """
        super().after_train_iter(runner, *args, **kwargs)
        terminated, due = self._agreed(runner)
        if not terminated and not due:
            return
        step = runner.iter + 1
        template, self.filename_tmpl = self.filename_tmpl, "iter_{}.pth"
        self._save_checkpoint_with_step(runner, step, {"epoch": runner.epoch, "iter": step})
        self.filename_tmpl = template
        if terminated:
            self._end(runner)

    def after_val_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """End where the run was asked to: the epoch was saved, and is evaluated on resuming.

        Raises:
            SystemExit: as in training. The ranks need not agree, for nothing is saved here.
        """
        super().after_val_iter(runner, *args, **kwargs)
        if self._terminated:
            self._end(runner)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        """Save the best, and end where the run was asked to: the epoch before was saved."""
        super().after_val_epoch(runner, metrics)
        self._note(runner, metrics)
        if self._agreed(runner)[0]:
            self._end(runner)

    def _end(self, runner: Any) -> None:
        runner.logger.warning("terminated; go on with --resume")
        raise SystemExit(TERMINATED)

    def _agreed(self, runner: Any) -> tuple[bool, bool]:
        """Whether any rank was asked to end, and whether a checkpoint is due."""
        passed = time.monotonic() - self._saved
        due = 0 < 60 * self.minutes < passed and not self.is_last_train_iter(runner)
        wishes = torch.tensor([self._terminated, due], dtype=torch.int32)
        if self._group is not None:
            distributed.all_reduce(wishes, distributed.ReduceOp.MAX, self._group)
        terminated, due = wishes.bool().tolist()
        return terminated, due

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Save, unless a step has spoilt the weights, which the loss of the next one would tell.

        Raises:
            InputError: it has.
        """
        if not all(weight.isfinite().all() for weight in runner.model.parameters()):
            raise InputError(
                f"weights are NaN or infinite after step {meta['iter']}, and were not saved: lower "
                "the learning rate or clip the gradients; --resume takes the last checkpoint"
            )
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
            self._enter(runner, meta["iter"])
        except OSError as error:
            runner.logger.error(
                f"checkpoint {self.last_ckpt}: not written: {error}; the older ones stay, and "
                "training goes on"
            )
        self._saved = time.monotonic()

    @master_only
    def _note(self, runner: Any, metrics: Mapping[str, float]) -> None:
        """Note what the newest checkpoint was evaluated to, if it is of this step."""
        entries = read_journal(Path(runner.work_dir))
        if entries and entries[-1].iter == runner.iter:
            numbers = {name: float(value) for name, value in metrics.items()}
            entries[-1] = replace(entries[-1], metrics=numbers)
            with reported(runner, "the journal of checkpoints"):
                write_journal(Path(runner.work_dir), entries)

    @master_only
    def _enter(self, runner: Any, step: int) -> None:
        """Note the new checkpoint, and let go of those that are too many."""
        enter(Path(runner.work_dir), Path(str(self.last_ckpt)), step, self.keep)


class MissedValidationHook(Hook):
    """Evaluates what a run goes on from, where it was killed before that was done."""

    priority = "LOWEST"  # once the weights are in place and the other hooks are ready

    def before_train(self, runner: Any) -> None:
        """Look in the journal, and evaluate if it is due."""
        loop, checkpoint = runner.train_loop, runner._load_from
        if not (runner._resume and checkpoint and runner.val_loop is not None and runner.epoch):
            return
        entries = read_journal(Path(checkpoint).parent)
        entry = next((e for e in entries if e.file == Path(checkpoint).name), None)
        at_end = runner.iter == runner.epoch * len(runner.train_dataloader)
        due = runner.epoch >= runner.val_begin and (
            runner.epoch % runner.val_interval == 0 or runner.epoch == loop.max_epochs
        )
        if entry is not None and not entry.metrics and at_end and due:
            runner.logger.info(f"epoch {runner.epoch} was not evaluated yet")
            runner.val_loop.run()
