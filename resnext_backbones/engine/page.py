"""A run keeps what its page is made of, and writes it at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook

from resnext_backbones.engine import record
from resnext_backbones.engine.memory import peak_bytes
from resnext_backbones.reports.page.unasked import write_page


class EvaluationHook(Hook):
    """Has metrics keep what was found in the work directory, and notes there what was evaluated.

    A metric takes part by an attribute `keep_in`, a folder, and says in `kept` which files of it,
    by kind, have detections in COCO's format, of which images, and where the truth is.
    """

    priority = "LOWEST"  # once checkpoints are written

    _loaded: int | None = None

    def after_load_checkpoint(self, _: Any, checkpoint: Mapping[str, Any]) -> None:
        """Sees how many steps had been taken."""
        self._loaded = (checkpoint.get("meta") or {}).get("iter")

    def before_val(self, runner: Any) -> None:
        self._keep(runner, runner.val_loop)

    def before_test(self, runner: Any) -> None:
        self._keep(runner, runner.test_loop)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self._note(runner, "val", runner.val_loop, metrics)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self._note(runner, "test", runner.test_loop, metrics)

    def _keep(self, runner: Any, loop: Any) -> None:
        for metric in _metrics(loop):
            if hasattr(metric, "keep_in"):
                metric.keep_in = Path(runner.work_dir)

    @master_only
    def _note(self, runner: Any, split: str, loop: Any, metrics: dict[str, float] | None) -> None:
        with record.harmless(runner.logger.warning, record.EVALUATION):
            found = [kept for m in _metrics(loop) if (kept := getattr(m, "kept", None))]
            # Another metric's would be of other classes.
            kept = dict(found[0]) if len(found) == 1 else {}
            if kept.get("annotations"):
                kept["annotations"] = record.absolute(kept["annotations"])
            dataset = loop.dataloader.dataset
            images = (getattr(dataset, "data_prefix", None) or {}).get("img")
            record.note_evaluation(
                Path(runner.work_dir),
                split=split,
                # A runner that tests would build the loop of training, with its data, to say one.
                step=runner.iter if split == "val" else self._loaded,
                metrics=metrics or {},
                images=record.absolute(images or getattr(dataset, "root", "")),
                **kept,
            )


def _metrics(loop: Any) -> Sequence[Any]:
    return getattr(loop.evaluator, "metrics", ())


def end_run(runner: Any, *, trained: bool) -> None:
    """Writes the page of a run that has ended well, in its first process."""
    folder, logger = Path(runner.work_dir), runner.logger
    if trained:
        with record.harmless(logger.warning, record.RECORD):
            record.note_end(folder, runner.iter, peak_bytes())
    write_page(folder, logger.info, logger.warning)
