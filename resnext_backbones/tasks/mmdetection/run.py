"""Training and testing a detector."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from resnext_backbones.data.coco_table import coco_table
from resnext_backbones.engine import runner
from resnext_backbones.engine.config import dicts_with
from resnext_backbones.engine.fit import check_weights, fetch_weights, stop_at
from resnext_backbones.engine.hooks import ReportHook
from resnext_backbones.engine.processes import read_ranks
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.bfloat16 import Bfloat16Hook
from resnext_backbones.tasks.mmdetection.checks import check_data
from resnext_backbones.tasks.mmdetection.pictures import PicturesHook
from resnext_backbones.tasks.mmdetection.report import OperatorsHook, find_backbone, pixels
from resnext_backbones.tasks.mmdetection.seen import unlike_its_run
from resnext_backbones.tasks.mmdetection.weights import use_of

CHECK = "resnext_backbones.CheckWeightsHook"
"""What the configs of this package bring, for tools that do not check."""


def train(cfg: Config, *, allow_mismatch: bool = False, changed: str = "") -> Path:
    """Train as a config says; checkpoints, logs and curves go to its work directory.

    Args:
        allow_mismatch: as of `check_weights`; also where a run goes on with other settings.
        changed: what `use_weights` returned, for the log.

    Returns:
        The work directory.

    Raises:
        InputError: the data, an argument of the model or the checkpoint to resume is wrong, or
            the detector does not fit the backbone's weights.
        WeightsError: the backbone's weights cannot be had, or do not fit.
    """
    meta = runner.resume(cfg)
    problems = unlike_its_run(cfg, str(cfg.get("load_from")), meta, to_resume=True)
    stop_at(problems, allow_mismatch=allow_mismatch, to="go on")
    check_weights(use_of(cfg), allow_mismatch=allow_mismatch)
    for hook in dicts_with(cfg.get("custom_hooks"), lambda d: d.get("type") == CHECK):
        hook["allow_mismatch"] = allow_mismatch  # it looks at the same once more
    _check_data(cfg, "train")
    fetch_weights(use_of(cfg))
    report = ReportHook(find_backbone, pixels, changed)
    return runner.train(cfg, OperatorsHook(), report, Bfloat16Hook())


def evaluate(
    cfg: Config, checkpoint: str, *, out: Path | None = None, show_dir: Path | None = None
) -> dict[str, float]:
    """Evaluate a checkpoint; prints the COCO table.

    Args:
        out: where the metrics are written as JSON, and beside it the table as text; None is
            coco_metrics.json in the work directory.
        show_dir: where `PicturesHook` writes a picture of each image; None writes none.

    Raises:
        InputError: the data or the checkpoint is wrong, or it was trained on other pixels.
    """
    meta = runner.check_checkpoint(checkpoint, cfg)
    for problem in unlike_its_run(cfg, checkpoint, meta, to_resume=False):
        raise InputError(problem)
    _check_data(cfg, "test")
    out = out or Path(cfg.work_dir) / "coco_metrics.json"
    pictures = [PicturesHook(show_dir)] if show_dir is not None else []
    return runner.evaluate(cfg, checkpoint, out, coco_table, *pictures)


def _check_data(cfg: Config, mode: str) -> None:
    """In one process for all."""
    if read_ranks(cfg.launcher)[0] == 0:
        check_data(cfg, mode)
