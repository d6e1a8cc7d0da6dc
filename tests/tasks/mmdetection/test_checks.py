"""Bad data and bad checkpoints are named before anything is built."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("mmdet", reason="MMDetection is not installed")

import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from resnext_backbones.engine.checks.network import build_on_meta, check_checkpoint
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.checks import check_data
from resnext_backbones.tasks.mmdetection.config import load_config

TRAIN = "annotations/instances_train2017.json"
VAL = "annotations/instances_val2017.json"


@pytest.fixture
def root(shapes_root: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(shapes_root, tmp_path / "data"))


def config(root: Path, monkeypatch, *options: str) -> Config:
    register_all_modules()
    monkeypatch.setenv("COCO_ROOT", str(root))
    return load_config("demo_shapes", options)


def test_a_whole_data_set_passes(root: Path, monkeypatch) -> None:
    cfg = config(root, monkeypatch)
    check_data(cfg, "train")
    check_data(cfg, "test")


def test_names_may_be_absolute(root: Path, monkeypatch) -> None:
    cfg = config(root, monkeypatch)
    for split in ("train", "val"):
        dataset = cfg[f"{split}_dataloader"].dataset
        dataset.ann_file = str(root / dataset.ann_file)
        dataset.data_prefix.img = str(root / dataset.data_prefix.img)
        dataset.data_root = "nowhere"
    check_data(cfg, "train")


def test_a_student_learns_from_images_alone(root: Path, monkeypatch) -> None:
    cfg = config(root, monkeypatch)
    dataset = cfg.train_dataloader.dataset
    (root / "unlabelled.json").write_text((root / TRAIN).read_text())
    edit(root / "unlabelled.json", lambda c: c.pop("annotations"))
    empty = [{"type": "LoadImageFromFile"}, {"type": "LoadEmptyAnnotations"}]
    alone = {**dataset, "ann_file": "unlabelled.json", "pipeline": empty,
             "filter_cfg": {"filter_empty_gt": False}}  # fmt: skip
    cfg.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": [dataset, alone]}
    check_data(cfg, "train")
    built = DATASETS.build(Config(alone)._cfg_dict)
    assert len(built) == 16


@pytest.mark.parametrize("kind", ["Objects365V2Dataset", "LVISV05Dataset"])
def test_images_under_other_names_are_not_missed(kind: str, root: Path, monkeypatch) -> None:
    """These data sets change the names in the file to others."""
    edit(root / TRAIN, lambda c: [i.update(file_name=f"v2/{i['file_name']}") for i in c["images"]])
    check_data(config(root, monkeypatch, f"train_dataloader.dataset.type={kind}"), "train")


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


BROKEN = {
    "no root": (lambda root: shutil.rmtree(root), ["data root", "COCO_ROOT"]),
    "no annotations": (lambda root: (root / TRAIN).unlink(), [TRAIN, "no such file"]),
    "no JSON": (lambda root: (root / TRAIN).write_text("{'"), [TRAIN, "is not JSON"]),
    "not COCO": (lambda root: (root / TRAIN).write_text("[]"), [TRAIN, "'images'"]),
    "category missing": (
        lambda root: edit(root / TRAIN, lambda c: c["categories"][-1].update(name="other")),
        [TRAIN, "lack 1 of", "metainfo.classes"],
    ),
    "image missing": (
        lambda root: sorted((root / "train2017").iterdir())[3].unlink(),
        [TRAIN, "1 of its 16 images", "000000000004.jpg"],
    ),
    "no images": (lambda root: shutil.rmtree(root / "train2017"), ["16 of its 16 images"]),
    "a name twice": (
        lambda root: edit(
            root / TRAIN, lambda c: c["categories"].append(c["categories"][0] | {"id": 99})
        ),
        [TRAIN, "give each name once"],
    ),
    "no box": (
        lambda root: edit(root / VAL, lambda c: c["annotations"][0].pop("bbox")),
        [VAL, "has no bbox of four numbers"],
    ),
    "a box of words": (
        lambda root: edit(root / VAL, lambda c: c["annotations"][0].update(bbox=["1"] * 4)),
        [VAL, "has no bbox of four numbers"],
    ),
    "no width": (
        lambda root: edit(root / TRAIN, lambda c: c["images"][0].pop("width")),
        [TRAIN, "image 1 (images[0]) has no width and height"],
    ),
    "no file name": (
        lambda root: edit(root / TRAIN, lambda c: [i.pop("file_name") for i in c["images"]]),
        [TRAIN, "image 1 (images[0]) has no file_name in text: None (and 15 more)"],
    ),
    "category not listed": (
        lambda root: edit(root / TRAIN, lambda c: c["annotations"][0].update(category_id=77)),
        [TRAIN, "annotation 1 (annotations[0]) has a category_id that is not listed"],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_data_is_named(what: str, root: Path, monkeypatch) -> None:
    breaks, names = BROKEN[what]
    breaks(root)
    with pytest.raises(InputError, match=re.escape(str(root))) as error:
        check_data(config(root, monkeypatch), "train")
    for name in names:
        assert name in str(error.value)


def test_heads_that_do_not_fit_are_named(root: Path, monkeypatch) -> None:
    cfg = config(root, monkeypatch, "model.roi_head.mask_head.num_classes=80")
    with pytest.raises(InputError, match=r"FCNMaskHead has num_classes=80.*5 classes.*to 5"):
        check_data(cfg, "train")


def test_coco_categories_on_other_data_are_named(root: Path, monkeypatch) -> None:
    register_all_modules()
    monkeypatch.setenv("COCO_ROOT", str(root))
    with pytest.raises(InputError, match=r"lack 80 of the 80 classes: person"):
        check_data(load_config("mask_rcnn_x50_32x4d_fpn_coco"), "train")


def test_real_coco_passes(coco_tiny: Path, monkeypatch) -> None:
    register_all_modules()
    monkeypatch.setenv("COCO_ROOT", str(coco_tiny))
    check_data(load_config("mask_rcnn_x101_32x4d_fpn_coco"), "train")


def test_checkpoints_of_another_detector_are_named(monkeypatch, tmp_path: Path) -> None:
    cfg = config(tmp_path, monkeypatch)
    own = {k: torch.zeros(v.shape) for k, v in build_on_meta(cfg).state_dict().items()}
    torch.save({"state_dict": own}, tmp_path / "same.pth")
    check_checkpoint(tmp_path / "same.pth", cfg)
    torch.save({f"module.{k}": v for k, v in own.items()}, tmp_path / "ddp.pth")
    check_checkpoint(tmp_path / "ddp.pth", cfg)
    with pytest.raises(InputError, match=r"has no meta, message_hub, optimizer"):
        check_checkpoint(tmp_path / "same.pth", cfg, to_resume=True)
    other = config(tmp_path, monkeypatch, "model.backbone.variant=resnet50")
    with pytest.raises(InputError, match=r"holds resnext26_32x4d; the network is resnet50"):
        check_checkpoint(tmp_path / "same.pth", other)
    own.popitem()
    torch.save({"state_dict": own}, tmp_path / "short.pth")
    with pytest.raises(InputError, match=r"1 missing"):
        check_checkpoint(tmp_path / "short.pth", cfg)
    with pytest.raises(InputError, match=r"absent.pth: there is no such file"):
        check_checkpoint(tmp_path / "absent.pth", cfg)


def test_only_heads_that_tell_classes_apart_are_compared(root: Path, monkeypatch) -> None:
    check_data(config(root, monkeypatch, "model.rpn_head.num_classes=1"), "train")
