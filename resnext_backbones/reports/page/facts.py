"""A work directory says what is known of its run, of any engine, also where that was killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resnext_backbones.engine.record import EVALUATION, JOURNAL, PLAN, dicts, read_json, read_record
from resnext_backbones.engine.scalars import Rows, by_step
from resnext_backbones.errors import InputError

METRICS = ("coco_metrics.json", "segmentation_metrics.json")
"""Evaluations write their metrics there."""

CONFIGS = ("*.py", "config.yaml", "*/vis_data/config.py")
"""A run writes its config as the first of these that there is."""


@dataclass(frozen=True)
class Run:
    """Holds what a work directory says of its run; each part may be empty.

    Attributes:
        record: an entry for each start, the oldest first: `engine.record`.
        checkpoints: an entry for each: `engine.checkpoints.Entry`.
        train, val: the scalars of training and of evaluations, by step.
        evaluation: what was evaluated last: `engine.record.note_evaluation`.
        config: its file.
        plan: what the training was to take: `engine.record.PLAN`.
    """

    work_dir: Path
    record: list[dict[str, Any]]
    checkpoints: list[dict[str, Any]]
    train: Rows
    val: Rows
    evaluation: dict[str, Any]
    config: Path | None
    plan: dict[str, Any]

    @property
    def name(self) -> str:
        """Returns that of the config, or else of the folder."""
        own = self.config is not None and self.config.suffix == ".py"
        stem = self.config.stem if self.config is not None and own else "config"
        return stem if stem != "config" else self.work_dir.name

    @property
    def first(self) -> Mapping[str, Any]:
        """Returns the entry of the start whose training is in the folder: the last one from step 0,
        or the oldest that there is; what ended before its first checkpoint may be of another one.
        """
        from_zero = [entry for entry in self.record if entry.get("from_step") == 0]
        return (from_zero[-1:] or self.record[:1] or [{}])[0]

    @property
    def last(self) -> Mapping[str, Any]:
        """Returns the entry of the run that began last."""
        return self.record[-1] if self.record else {}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Returns what was measured last."""
        found = self.evaluation.get("metrics")  # none where nothing was found in any image
        if isinstance(found, dict):
            return _numbers(found)
        for name in METRICS:
            found = found or read_json(self.work_dir / name)
        if not found and self.val:
            found = self.val[max(self.val)]
        if not found:
            entries = (entry.get("metrics") for entry in reversed(self.checkpoints))
            found = next(filter(None, entries), {})
        return _numbers(found if isinstance(found, dict) else {})

    @property
    def steps(self) -> int:
        """Returns how many steps were logged or saved."""
        saved = [entry.get("iter") for entry in self.checkpoints]
        known = (*self.train, *saved, self.evaluation.get("step"))
        return max((each for each in known if isinstance(each, int)), default=0)


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {str(k): float(v) for k, v in found.items() if isinstance(v, int | float)}


def read_run(work_dir: Path) -> Run:
    """Returns what is known of a run; InputError: the folder is not there, or is no run's."""
    if not work_dir.is_dir():
        what = "is a file; name its folder" if work_dir.exists() else "there is no such folder"
        raise InputError(f"work directory {work_dir}: {what}")
    train, val = by_step(work_dir)
    names = (JOURNAL, EVALUATION, PLAN)
    checkpoints, evaluation, plan = (read_json(work_dir / name) for name in names)
    record = read_record(work_dir)
    # A test in the folder writes its config there, too.
    own = [work_dir / str(entry["config"]) for entry in reversed(record) if entry.get("config")]
    configs = [*own, *(p for pattern in CONFIGS for p in sorted(work_dir.glob(pattern)))]
    run = Run(
        work_dir=work_dir.absolute(),
        record=record,
        checkpoints=dicts(checkpoints),
        train=train,
        val=val,
        evaluation=evaluation if isinstance(evaluation, dict) else {},
        config=next((path for path in configs if path.is_file()), None),
        plan=plan if isinstance(plan, dict) else {},
    )
    if not any((run.record, run.checkpoints, run.train, run.val, run.evaluation, run.metrics)):
        raise InputError(
            f"work directory {work_dir}: has no run in it: no record, scalars, checkpoints or "
            "metrics; name the folder that a run has written, as --work-dir did"
        )
    return run
