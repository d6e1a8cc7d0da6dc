"""Training and testing a detector."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from resnext_backbones.detection.checks import check_checkpoint, check_data
from resnext_backbones.detection.report import ReportHook
from resnext_backbones.detection.table import coco_table
from resnext_backbones.detection.weights import check_weights
from resnext_backbones.runs.checkpoints import MissedValidationHook, newest_checkpoint
from resnext_backbones.runs.curves import CurvesHook
from resnext_backbones.runs.environment import (
    is_main_process,
    read_ranks,
    start_process_group,
)
from resnext_backbones.runs.errors import BUILD_ERRORS, InputError
from resnext_backbones.whole import write_whole


def train(cfg: Config, *, allow_mismatch: bool = False) -> Path:
    """Train as a config says; checkpoints, logs and curves go to its work directory.

    Args:
        allow_mismatch: as of `check_weights`.

    Returns:
        The work directory.

    Raises:
        InputError: the data, an argument of the model or the checkpoint to resume is wrong, or
            the detector does not fit the backbone's weights.
        WeightsError: the backbone's weights do not fit.
    """
    if cfg.get("resume"):
        checkpoint = cfg.load_from or newest_checkpoint(cfg.work_dir)
        if checkpoint:
            check_checkpoint(checkpoint, cfg, to_resume=True)
            cfg.load_from = str(checkpoint)
    check_weights(cfg, allow_mismatch=allow_mismatch)
    runner = _runner(cfg, "train")
    runner.register_hook(ReportHook())
    runner.register_hook(CurvesHook())
    runner.register_hook(MissedValidationHook())
    runner.train()
    return Path(cfg.work_dir)


def evaluate(
    cfg: Config, checkpoint: str, *, out: Path | None = None, show_dir: Path | None = None
) -> dict[str, float]:
    """Evaluate a checkpoint; prints the COCO table.

    Args:
        out: where the metrics are written as JSON, and beside it the table as text; None is
            coco_metrics.json in the work directory.
        show_dir: where pictures are written: ground truth on the left, what was found, with
            boxes, masks and class names, on the right. None draws none.

    Raises:
        InputError: the data or the checkpoint is wrong.
    """
    check_checkpoint(checkpoint, cfg)
    if show_dir is not None:
        drawing = {"type": "DetVisualizationHook", "draw": True}
        drawing["test_out_dir"] = str(show_dir.absolute())
        cfg.merge_from_dict({"default_hooks.visualization": drawing})
    runner = _runner(cfg, "test")
    runner.load_checkpoint(checkpoint)
    metrics = runner.test()
    if is_main_process():
        table = coco_table(metrics)
        out = out or Path(cfg.work_dir) / "coco_metrics.json"
        content = {"checkpoint": str(checkpoint), **metrics}
        write_whole(out, json.dumps(content, indent=2) + "\n")
        write_whole(out.with_suffix(".txt"), table)
        print(table)
    return metrics


def _runner(cfg: Config, mode: str) -> Runner:
    if read_ranks(cfg.launcher)[0] == 0:
        check_data(cfg, mode)
    start_process_group(cfg)
    try:
        return Runner.from_cfg(cfg)
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
