"""Detectron2's engine does this around its training and its evaluations."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from torch import nn

from resnext_backbones.engine.signals import TERMINATED, requests
from resnext_backbones.tasks.detectron2 import trainers
from resnext_backbones.tasks.detectron2.checkpoints import Checkpointer
from resnext_backbones.tasks.detectron2.experiments import read_experiment
from resnext_backbones.tasks.detectron2.requests import RequestsHook
from resnext_backbones.tasks.detectron2.trainers import YamlTrainer
from resnext_backbones.weights.preprocessing import RGB

LAZY = "mask_rcnn_fpn_1x"
YAML = "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"


def test_a_yaml_run_may_have_nothing_to_evaluate_on(tmp_path: Path) -> None:
    cfg = read_experiment(YAML, ("DATASETS.TEST", "()", "OUTPUT_DIR", str(tmp_path))).cfg
    assert YamlTrainer.test(cfg, nn.Identity()) == {}


def test_a_lazyconfig_may_have_several_evaluators(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    cfg = read_experiment(LAZY, (f"train.output_dir={tmp_path}",)).cfg
    seen: list[Any] = []
    coco = {"_target_": cfg.dataloader.evaluator["_target_"], "dataset_name": "coco_2017_val"}
    cfg.dataloader.evaluator = [coco, {"_target_": "detectron2.evaluation.COCOPanopticEvaluator"}]
    monkeypatch.setattr(trainers, "instantiate", lambda part: part)
    monkeypatch.setattr(trainers, "inference_on_dataset", lambda *parts: seen.extend(parts) or {})
    monkeypatch.setattr(trainers, "note_evaluation", lambda *parts: seen.append(parts))
    trainers.evaluate_lazy(cfg, nn.Identity())
    *_, evaluators, noted = seen
    assert evaluators[0].output_dir == str(tmp_path / "inference")
    assert noted[1] == "coco_2017_val"


def test_a_request_is_seen_by_the_model_that_is_evaluated(tmp_path: Path, monkeypatch) -> None:
    """Which is another than the trained one, where weights are averaged."""
    trained, averaged = nn.Identity(), nn.Identity().eval()
    checkpointer = Checkpointer(averaged, str(tmp_path), RGB)
    hook = RequestsHook(checkpointer, averaged)
    hook.trainer = SimpleNamespace(model=trained, iter=0)
    hook.before_train()
    try:
        averaged(torch.zeros(1))
        monkeypatch.setattr(requests, "asked", signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            averaged(torch.zeros(1))
    finally:
        hook.after_train()
    assert ended.value.code == TERMINATED


@pytest.mark.parametrize("name", [LAZY, YAML])
def test_mixed_precision_is_for_gpus(name: str, monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    experiment = read_experiment(name)
    experiment.set(amp=True)
    with caplog.at_level("WARNING"):
        trainers._use_amp_on_gpus(experiment)
    assert not experiment.amp
