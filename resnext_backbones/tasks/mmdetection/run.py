"""MMDetection's detectors are trained and tested as this table says."""

from __future__ import annotations

from resnext_backbones.data.coco_table import coco_table
from resnext_backbones.engine.begin import begin
from resnext_backbones.tasks.mmdetection.annotations import found_in
from resnext_backbones.tasks.mmdetection.checks import check_data
from resnext_backbones.tasks.mmdetection.config import (
    find_backbone,
    given,
    load_config,
    use_of,
    use_weights,
)
from resnext_backbones.tasks.mmdetection.hooks import Bfloat16Hook, OperatorsHook
from resnext_backbones.tasks.mmdetection.pictures import PicturesHook
from resnext_backbones.tasks.run import Task

TASK = Task(
    load_config=load_config,
    use_weights=use_weights,
    check_data=check_data,
    begin=begin,
    use_of=use_of,
    given=given,
    find_backbone=find_backbone,
    hooks=lambda: [OperatorsHook(), Bfloat16Hook()],
    test_hooks=lambda _, show_dir: [] if show_dir is None else [PicturesHook(show_dir)],
    metrics=lambda _: ("coco_metrics", coco_table),
    annotations=lambda runner: found_in(runner.cfg),
)
