"""Trainings with several seeds: what is compared, in real trainings of a tiny network."""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path
from threading import Event, Timer

import pytest
import torch

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from rich.console import Console
from tooling import QUICK

from benchmarks.seeds import (
    GROUPS,
    PRETRAINING,
    SEEDS,
    STUDIES,
    Study,
    Training,
    draw,
    rows,
    summary,
    table,
    train,
)
from resnext_backbones.build import architecture_and_options
from resnext_backbones.datasets import SHAPES, generate_shapes, object_crops
from resnext_backbones.engine.checkpoints import read_journal
from resnext_backbones.engine.config import read_config
from resnext_backbones.errors import InputError
from resnext_backbones.models.classifier import ResNeXtClassifier

CLASSES = len(SHAPES)
TINY = (
    "model.network.variant=None", "model.network.blocks=(1,1,1,1)", "model.network.cardinality=8",
    "train_cfg.max_epochs=1", f"model.num_classes={CLASSES}",
    f"model.data_preprocessor.num_classes={CLASSES}",
)  # fmt: skip
ONE_EPOCH = ("train_cfg.max_epochs=1", "train_cfg.val_interval=1")

DOCS = Path(__file__).parents[2] / "docs"


def measured(name: str) -> list[Path]:
    """The results of a study that are in the documents; at most one."""
    return list((DOCS / "benchmarks").glob(f"{name}_*.json"))


def test_groups_have_equal_multiply_adds() -> None:
    analysis = pytest.importorskip("fvcore.nn", reason="fvcore is not installed").FlopCountAnalysis
    counts = []
    for name in GROUPS:
        cfg = read_config("cifar/cifar10_quick", variant=f"resnext29_{name}")
        architecture, _ = architecture_and_options(None, cfg.model.network)
        assert architecture.cardinality == int(name.split("x")[0])
        model = ResNeXtClassifier(architecture, num_classes=10).eval()
        counted = analysis(model, torch.zeros(1, 3, 32, 32)).unsupported_ops_warnings(False)
        counts.append(counted.by_operator()["conv"])
    assert max(counts) < 1.01 * min(counts)


def test_means_and_deviations_are_over_the_seeds() -> None:
    study = Study(lambda _: iter(()), {"top1": "accuracy/top1"}, "network", "groups", "top-1")
    found = [
        {"network": "1x23d", "groups": 1, "seed": 0, "top1": 0.5},
        {"network": "1x23d", "groups": 1, "seed": 1, "top1": 0.7},
        {"network": "4x9d", "groups": 4, "seed": 0, "top1": 0.9},
    ]
    first, second = summary(study, found)
    assert (first["seeds"], second["seeds"]) == (2, 1)
    assert first["top1_mean"] == pytest.approx(0.6)
    assert first["top1_std"] == pytest.approx(math.sqrt(0.02))
    assert second["top1_mean"] == 0.9
    assert second["top1_std"] is None


@pytest.mark.parametrize("name", [name for name in STUDIES if measured(name)])
def test_the_documents_table_is_what_was_measured(name: str) -> None:
    (path,) = measured(name)
    result, study = json.loads(path.read_text(encoding="utf-8")), STUDIES[name]
    assert summary(study, result["runs"]) == result["means"]
    console = Console(width=200, file=io.StringIO())
    console.print(table(study, result["means"]))
    text = (DOCS / "pretraining.md").read_text(encoding="utf-8")
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    for line in filter(None, lines):
        assert f"\n{line}\n" in text


def test_series_differ_in_what_is_compared_alone(tmp_path: Path, monkeypatch) -> None:
    """Each pair of detectors has one data set, as many steps and one seed."""
    monkeypatch.setattr("benchmarks.seeds.generate_shapes", lambda *_, **__: None)
    monkeypatch.setattr("benchmarks.seeds.object_crops", lambda *_: None)
    args = argparse.Namespace(work_dir=tmp_path, data_root=tmp_path)
    for name, study in STUDIES.items():
        trainings = list(study.trainings(args))
        assert len({each.name for each in trainings}) == len(trainings)
        compared = [each for each in trainings if each.row is not None]
        assert {each.row["seed"] for each in compared} == set(SEEDS), name
        assert len(compared) % len(SEEDS) == 0
    known = {each.name for each in trainings}
    for_one = [
        compared[i : i + len(PRETRAINING)] for i in range(0, len(compared), len(PRETRAINING))
    ]
    for others in for_one:
        assert [each.row["pretraining"] for each in others] == list(PRETRAINING)
        assert len({(each.arguments, each.coco_root) for each in others}) == 1
        assert others[0].weights == ""
        assert all(each.weights in known for each in others[1:])


@pytest.mark.whole
def test_trainings_end_once(tmp_path: Path) -> None:
    """One starts from another's weights; what has ended is left, and one that fails says where."""
    images, crops = tmp_path / "images", tmp_path / "crops"
    generate_shapes(images, num_train=8, num_val=4)
    object_crops(images, crops)
    trunk = Training(
        "trunk",
        ("pretrain", "demo_crops", "--no-tune", "--data-root", str(crops), "--cfg-options",
         *TINY),
    )  # fmt: skip
    detector = Training(
        "detector",
        ("train", "demo_shapes", "--no-tune", "--cfg-options", *QUICK, *ONE_EPOCH),
        coco_root=images,
        weights="trunk",
        row={"pretraining": "1 epoch", "images": 8, "seed": 0},
    )
    study = STUDIES["transfer"]
    on, stopped = Event(), Event()
    stopped.set()
    train(detector, tmp_path, on)
    assert rows(study, [trunk, detector], tmp_path) == [], "its trunk had not ended"
    train(trunk, tmp_path, stopped)
    assert not (tmp_path / "trunk").exists(), "there was no time"
    Timer(3, stopped.set).start()
    stopped.clear()
    train(trunk, tmp_path, stopped)
    assert (tmp_path / "trunk.log").exists()
    assert not (tmp_path / "trunk" / "ended").exists(), "it was cut off"
    for each in (trunk, detector):
        train(each, tmp_path, on)
    (row,) = rows(study, [trunk, detector], tmp_path)
    metrics = read_journal(tmp_path / "detector")[-1].metrics
    assert row == {
        **detector.row,
        "box_ap50": metrics["coco/bbox_mAP_50"],
        "mask_ap50": metrics["coco/segm_mAP_50"],
    }
    log = tmp_path / "detector.log"
    (weights,) = (tmp_path / "trunk").glob("*.safetensors")
    assert str(weights) in log.read_text()
    before = log.stat().st_mtime_ns
    train(detector, tmp_path, on)
    assert log.stat().st_mtime_ns == before
    draw(study, summary(study, [row]), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000

    wrong = Training("wrong", ("train", "no_such_config"))
    with pytest.raises(InputError, match=r"wrong: ended with status 2; see .*wrong\.log"):
        train(wrong, tmp_path, on)
