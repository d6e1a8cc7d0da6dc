"""Checkpoints are whole or not there, and a run goes on from the last one with the right hash."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast, is_main_process, master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import distributed

from resnext_backbones.adapters.mmengine import find_file
from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine import hosts
from resnext_backbones.engine.best import kept_until_written
from resnext_backbones.engine.failures import last_checkpoint_said
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.engine.hooks import reported
from resnext_backbones.engine.loop import EPOCH_LENGTH
from resnext_backbones.engine.record import JOURNAL
from resnext_backbones.engine.signals import TERMINATED, requests
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write, atomic_write_text, json_text, remove_leftovers
from resnext_backbones.weights.download import hash_of

BACKEND = "resnext_backbones.whole_files"


@dataclass(frozen=True)
class Entry:
    """A line of the journal has these."""

    file: str  # its name in the work directory
    sha256: str
    iter: int  # steps that were done
    # once it was evaluated; None is a metric that has no value, as of a class without objects
    metrics: Mapping[str, float | None] = field(default_factory=dict)


def read_journal(work_dir: Path) -> list[Entry]:
    """Returns a work directory's journal, or nothing; raises InputError where it is damaged."""
    path = work_dir / JOURNAL
    if not path.exists():
        return []
    try:
        return [Entry(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: is damaged ({error}); name the checkpoint to go on from: --resume CHECKPOINT"
        ) from error


def write_journal(work_dir: Path, entries: list[Entry]) -> None:
    """Replaces a work directory's journal."""
    lines = [asdict(entry) for entry in entries]
    atomic_write_text(work_dir / JOURNAL, json_text(lines, indent=1))


def newest_checkpoint(work_dir: str | Path) -> Path | None:
    """Returns the checkpoint that a run goes on from; None where there is none.

    One that is missing, or not as it was written, is warned of and passed over. Raises InputError
    where there are checkpoints, but none that is known to be whole.
    """
    work_dir = Path(work_dir)
    entries = read_journal(work_dir)
    for entry in reversed(entries):
        path = work_dir / entry.file
        if path.is_file() and hash_of(path) == entry.sha256:
            return path
        what = "is damaged" if path.is_file() else "is missing"
        log_warning(f"checkpoint {path}: {what}; going on from the one before it")
    kept, note = (work_dir / JOURNAL).exists(), work_dir / "last_checkpoint"
    if not entries and note.is_file():
        # Of MMEngine's own hook, or the first one, whose run was killed before it was listed.
        name = Path(note.read_text(encoding="utf-8").strip())
        if (found := work_dir / name.name).is_file() or (found := name).is_file():
            return found
    if (entries or not kept) and any(work_dir.glob("*.pth")):
        raise InputError(
            f"work directory {work_dir}: has checkpoints, but {JOURNAL} names none that is whole; "
            "name the one to take: --resume CHECKPOINT, or in place of auto"
        )
    return None


def checkpoint_to_test(name: str, work_dir: str | Path) -> str:
    """Returns a checkpoint's path: of `auto` the newest one's, or raises InputError."""
    found = newest_checkpoint(work_dir) if name == "auto" else find_checkpoint(name)
    if found is None:
        raise InputError(f"checkpoint auto: there is none in {work_dir}; name one, or --work-dir")
    return str(found)


def find_checkpoint(name: str, what: str = "checkpoint") -> str:
    """Returns a checkpoint's path: of an address that of the file, once it is downloaded; of a
    folder of `save_pretrained` that of its weights. Others stay as they are, there or not.

    Raises InputError, which calls it `what`, or WeightsError: it cannot be had, or is the folder of
    something else.
    """
    if "://" not in name and not Path(name).is_dir():
        return str(Path(name).expanduser())
    try:
        return str(find_file(name))
    except FileNotFoundError as error:
        raise InputError(f"{what} {name}: there is no such file") from error


def enter(work_dir: Path, path: Path, step: int, keep: int) -> None:
    """Notes the checkpoint of a step, and removes the oldest of more than `keep`; 0 keeps all."""
    entries = [e for e in read_journal(work_dir) if e.file != path.name and e.iter <= step]
    entries.append(Entry(path.name, hash_of(path), step))
    first = max(0, len(entries) - keep) if keep > 0 else 0
    write_journal(work_dir, entries[first:])
    for entry in entries[:first]:
        (work_dir / entry.file).unlink(missing_ok=True)


@register_backend(BACKEND)
class WholeFiles(LocalBackend):
    """MMEngine's storage writes each file whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file; where that raises OSError, what was there before is as it was."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(obj)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook loses no more than the step that a run was killed in.

    A checkpoint is written whole or not at all, and its hash kept. Where it cannot be written, that
    is logged, the older ones stay, and training goes on. A signal of `signals.REQUESTS`, to any
    process of the run, saves after the running step and ends the run with exit status 143. Where a
    run goes on, what its steps draw at random depends on their number alone (see `engine.loop`), so
    there is no state of generators to keep.

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
        self._group: Any = None

    def before_train(self, runner: Any) -> None:
        """Takes over requests to end, and clears away what a killed run left."""
        super().before_train(runner)
        requests.noted_only = True
        if distributed.is_initialized():
            # On the CPU, so that asking the other ranks does not wait for the GPU.
            self._group = hosts.cpu_group()
        if is_main_process():
            work_dir = Path(runner.work_dir)
            for pattern in ("*.pth", JOURNAL):
                remove_leftovers(work_dir, pattern)
            if not (work_dir / JOURNAL).exists():
                # What it does not list was not whole when it was killed.
                write_journal(work_dir, [])
        self._saved = time.monotonic()

    def after_train(self, runner: Any) -> None:
        """Has a request end the process at once again: all is saved."""
        super().after_train(runner)
        requests.noted_only = False

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Saves where it is time to, or the run was asked to end, and then ends it."""
        super().after_train_iter(runner, *args, **kwargs)
        terminated, due = self._agreed(runner)
        if not (terminated or due) or not _is_whole(runner.optim_wrapper):
            return
        step = runner.iter + 1
        template, self.filename_tmpl = self.filename_tmpl, "iter_{}.pth"
        self._save_checkpoint_with_step(runner, step, {"epoch": runner.epoch, "iter": step})
        self.filename_tmpl = template
        if terminated:
            if self._group is not None:
                # For the process that saves: torchrun ends all when one has ended.
                distributed.barrier(self._group)
            self._end(runner)

    def after_val_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Ends where the run was asked to: the epoch was saved, and is evaluated on resuming.

        The ranks need not agree on where, for nothing is saved here, and may have other numbers of
        images to evaluate.
        """
        super().after_val_iter(runner, *args, **kwargs)
        if requests.asked:
            hosts.ask()
            self._end(runner)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        """Saves the best, notes the metrics, and ends where the run was asked to."""
        super().after_val_epoch(runner, metrics)
        self._note(runner, metrics)
        if self._agreed(runner)[0]:
            self._end(runner)

    def _end(self, runner: Any) -> None:
        by = requests.asked.name if requests.asked else "another process"
        runner.logger.warning(f"asked to end by {by}; {last_checkpoint_said(runner.work_dir)}")
        raise SystemExit(TERMINATED)

    def _agreed(self, runner: Any) -> tuple[bool, bool]:
        """Tells whether any rank was asked to end, and whether a checkpoint is due."""
        passed = time.monotonic() - self._saved
        due = 0 < 60 * self.minutes < passed and not self.is_last_train_iter(runner)
        wishes = torch.tensor([requests.asked is not None, due], dtype=torch.int32)
        if self._group is not None:
            distributed.all_reduce(wishes, distributed.ReduceOp.MAX, self._group)
        terminated, due = wishes.bool().tolist()
        return terminated, due

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Saves, or raises InputError where a step has spoilt the weights, which the loss of the
        next one would tell.
        """
        if not all(weight.isfinite().all() for weight in runner.model.parameters()):
            raise InputError(
                f"weights are NaN or infinite after step {meta['iter']}, and were not saved: lower "
                "the learning rate or clip the gradients; --resume takes the last checkpoint"
            )
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
            if is_main_process():
                enter(Path(runner.work_dir), Path(str(self.last_ckpt)), meta["iter"], self.keep)
        except OSError as error:
            runner.logger.error(
                f"checkpoint {self.last_ckpt}: not written: {error}; the older ones stay, and "
                "training goes on"
            )
        self._saved = time.monotonic()

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, float]) -> None:
        """Removes what was the best once the new one is written."""
        if self.save_best:
            with kept_until_written(self, runner):
                super()._save_best_checkpoint(runner, metrics)

    @master_only
    def _note(self, runner: Any, metrics: dict[str, float]) -> None:
        """Notes what the newest checkpoint was evaluated to, if it is of this step."""
        entries = read_journal(Path(runner.work_dir))
        if entries and entries[-1].iter == runner.iter:
            numbers = {name: float(value) for name, value in metrics.items()}
            entries[-1] = replace(entries[-1], metrics=numbers)
            with reported(runner, "the journal of checkpoints"):
                write_journal(Path(runner.work_dir), entries)


def _is_whole(optim_wrapper: Any) -> bool:
    """Returns whether the gradients of a step that takes several batches have all been used: no
    checkpoint has those of a part.
    """
    return not isinstance(optim_wrapper, OptimWrapper) or optim_wrapper.should_update()


class SavedStatisticsHook(Hook):
    """Has all processes evaluate with the statistics of norms that are saved: the first one's.

    Each process has its own of its images, and a run that goes on has the first one's everywhere,
    so its metrics would be others than those of a run that never stopped.
    """

    priority = "LOWEST"  # once EMAHook has put the average in place

    def before_val_epoch(self, runner: Any) -> None:
        for buffer in runner.model.buffers():
            broadcast(buffer)


class MissedValidationHook(Hook):
    """Evaluates what a run goes on from, where it was killed before that was done."""

    priority = "LOWEST"  # once the weights are in place and the other hooks are ready

    _at_end = False

    def after_load_checkpoint(self, runner: Any, checkpoint: Mapping[str, Any]) -> None:
        """Sees whether it is of an epoch's end, by the batches that an epoch had then."""
        meta = checkpoint.get("meta") or {}
        told = (checkpoint.get("message_hub") or {}).get("runtime_info") or {}
        length = told.get(EPOCH_LENGTH) or len(runner.train_dataloader)
        self._at_end = meta.get("iter") == meta.get("epoch", 0) * length

    def before_train(self, runner: Any) -> None:
        loop, checkpoint = runner.train_loop, runner._load_from
        if not (runner._resume and checkpoint and runner.val_loop is not None and runner.epoch):
            return
        # Of rank 0: a host that was sent the checkpoint does not have its metrics.
        entry = _entry_of(Path(checkpoint), runner) if is_main_process() else None
        due = runner.epoch >= runner.val_begin and (
            runner.epoch % runner.val_interval == 0 or runner.epoch == loop.max_epochs
        )
        missed = torch.tensor(entry is not None and not entry.metrics and self._at_end and due)
        broadcast(missed)
        if missed:
            runner.logger.info(f"epoch {runner.epoch} was not evaluated yet")
            runner.val_loop.run()


def _entry_of(checkpoint: Path, runner: Any) -> Entry | None:
    """Returns what the journal of a checkpoint says of it. The first one of a work directory, whose
    run was killed before it was listed, is listed now.
    """
    entries = read_journal(checkpoint.parent)
    if not entries and checkpoint.parent.resolve() == Path(runner.work_dir).resolve():
        with reported(runner, "the journal of checkpoints"):
            enter(checkpoint.parent, checkpoint, runner.iter, keep=0)
        entries = read_journal(checkpoint.parent)
    return next((entry for entry in entries if entry.file == checkpoint.name), None)
