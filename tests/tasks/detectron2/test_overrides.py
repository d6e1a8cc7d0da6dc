"""Overrides that nothing reads, and what else of Detectron2's runs ends in one message."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.experiments import read_experiment
from resnext_backbones.tasks.detectron2.run import Request, finite_loss, less_memory

LAZY, YAML = "mask_rcnn_fpn_1x", "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
OWN = ("MODEL.BACKBONE.NAME", "build_resnext_fpn_backbone")

REFUSED = {
    "trian.max_iter=5": "the config has no trian, .*try train",
    "train.max_itre=5": "train has no max_itre, .*try max_iter",
    "optimizer.lrr=1": "optimizer has no lrr, .*try lr",
    "model.roi_heads.num_classses=3": "model.roi_heads has no num_classses, .*num_classes",
    "model.backbone.bottom_up.frozen=3": "model.backbone.bottom_up has no frozen, .*freeze_at",
    "dataloader.train.num_worker=0": "dataloader.train has no num_worker, .*num_workers",
}
TAKEN = ("optimizer.lr=0.1", "train.seed=3", "train.something=1", "dataloader.train.num_workers=0")


def test_no_other_engine_is_needed() -> None:
    """Neither MMEngine nor what else the package's extras bring is imported."""
    absent = ("mmengine", "mmcv", "mmdet", "rich")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); "
        "import resnext_backbones.tasks.detectron2.run"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("override", REFUSED)
def test_an_override_that_nothing_reads(override: str) -> None:
    with pytest.raises(InputError, match=f"override {override}: {REFUSED[override]}"):
        read_experiment(LAZY, [override])


def test_those_that_something_reads() -> None:
    assert read_experiment(LAZY, TAKEN).seed == 3


@pytest.mark.parametrize(("config", "overrides"), [(LAZY, ()), (YAML, OWN)])
def test_a_run_that_repeats_has_a_seed(config: str, overrides: tuple[str, ...], tmp_path) -> None:
    request = Request(config, overrides, weights="none", work_dir=str(tmp_path), deterministic=True)
    assert request.experiment().seed == 0


def test_a_loss_that_is_not_finite() -> None:
    with pytest.raises(InputError, match=r"iteration=7.*learning rate.*--resume"), finite_loss():
        raise FloatingPointError("Loss became infinite or NaN at iteration=7!\nloss_dict = {}")


def test_what_takes_less_memory_is_in_the_words_of_the_config() -> None:
    lazy, of_yaml = (list(less_memory(read_experiment(*each))) for each in ((LAZY,), (YAML, OWN)))
    assert lazy[0].startswith("train.amp.enabled=True")
    assert lazy[1].startswith("dataloader.train.total_batch_size=8, of 16 now")
    assert of_yaml[0].startswith("SOLVER.AMP.ENABLED True")
    assert of_yaml[1].startswith("SOLVER.IMS_PER_BATCH 8, of 16 now")
