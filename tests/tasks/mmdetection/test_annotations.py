"""MMDetection's data sets and metrics on files that other tools wrote: by name, and completed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated
import pytest

pytest.importorskip("mmdet", reason="MMDetection is not installed")

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.evaluation.metrics import CocoMetric
from mmdet.registry import DATASETS as MMDET_DATASETS
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, init_default_scope
from PIL import Image

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection import checks, completed
from resnext_backbones.tasks.mmdetection.annotations import write_names
from resnext_backbones.tasks.mmdetection.checks import check_data
from resnext_backbones.tasks.mmdetection.completed import use_twins

LOAD = {"type": "mmdet.LoadAnnotations", "with_bbox": True, "with_mask": True}
CLASSES = ("star", "circle", "square")  # not as the file has them


def write(root: Path, change: Callable[[dict[str, Any]], Any] | None, name: str) -> Path:
    content = annotated.content()
    if change:
        change(content)
    (root / name).mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        picture = Image.new("RGB", (annotated.WIDTH, annotated.HEIGHT))
        picture.save(root / name / str(image.get("file_name")))
    return annotated.write(root, content, f"{name}.json")


def config(root: Path, classes: Any = CLASSES, **evaluator: Any) -> Config:
    """A config of loaders and evaluators alone, as `load_config` reads them."""

    def loader(name: str) -> dict[str, Any]:
        dataset = {
            "type": "CocoDataset", "data_root": str(root), "ann_file": f"{name}.json",
            "data_prefix": {"img": name}, "metainfo": {"classes": classes}, "pipeline": [LOAD],
            "test_mode": name != "train",
        }  # fmt: skip
        return {"dataset": dataset}

    metric = {"type": "CocoMetric", "metric": ["bbox", "segm"], **evaluator}
    cfg = Config(
        {
            "model": {}, "launcher": "none",
            **{f"{name}_dataloader": loader(name) for name in ("train", "val", "test")},
            **{f"{name}_evaluator": dict(metric) for name in ("val", "test")},
        }
    )  # fmt: skip
    init_default_scope("mmdet")
    write_names(cfg)
    use_twins(cfg)
    return cfg


def measured(cfg: Config, metric: Any = None, only: str = "") -> dict[str, float]:
    """The metrics of a loader's ground truth, found as it is, or of one class alone."""
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    metric = metric or METRICS.build(cfg.val_evaluator)
    shown = [dataset.get_data_info(index) for index in range(len(dataset))]
    images = [{"id": i["img_id"], "height": i["height"], "width": i["width"]} for i in shown]
    return annotated.measured(metric, dataset.metainfo["classes"], images, only)


def reversed_categories(content: dict[str, Any]) -> None:
    content["categories"].reverse()


ODD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another order": reversed_categories,
    "ids from 0": lambda c: [a.update(id=i) for i, a in enumerate(c["annotations"])],
    "one id for all": lambda c: [a.update(id=1) for a in c["annotations"]],
    "neither area nor iscrowd": lambda c: [
        (a.pop("area"), a.pop("iscrowd")) for a in c["annotations"]
    ],
    "ids that are text": lambda c: [a.update(id=f"a{a['id']}") for a in c["annotations"]],
    "a root": lambda c: (
        c["categories"].insert(0, {"id": 0, "name": "circle", "supercategory": "none"}),
        c["categories"][1].update(supercategory="circle"),
    ),
    "a box without size": lambda c: c["annotations"][0].update(bbox=[5, 5, 0, 0]),
    "ids as 1.0": lambda c: [a.update(image_id=float(a["image_id"])) for a in c["annotations"]],
}


@pytest.mark.parametrize("what", ODD)
def test_all_that_is_accepted_is_measured_right(what: str, tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        write(tmp_path, ODD[what], name)
    cfg = config(tmp_path)
    assert check_data(cfg, "train") == CLASSES
    scores = measured(cfg)
    assert scores["coco/bbox_mAP"] == scores["coco/segm_mAP"] == 1
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    again = pickle.loads(pickle.dumps(dataset))
    meant = annotated.content()
    if what == "a box without size":
        meant["annotations"].pop(0)
    seen = [
        (info["img_id"], again.metainfo["classes"][each["bbox_label"]], each["bbox"])
        for info in map(again.get_data_info, range(len(again)))
        for each in info["instances"]
    ]
    corners = [
        (image, name, [x, y, x + w, y + h]) for image, name, x, y, w, h in annotated.names_of(meant)
    ]
    assert sorted(seen) == corners


def test_mmdetections_own_reads_the_same_of_a_file_that_is_right(tmp_path: Path) -> None:
    """And of one in another order it does not, which is why there are twins."""
    for change, same in ((None, True), (reversed_categories, False)):
        path = write(tmp_path, change, "val")
        cfg = config(tmp_path, annotated.CLASSES, ann_file=str(path))
        twin = DATASETS.build(cfg.val_dataloader.dataset)
        own = MMDET_DATASETS.build({**cfg.val_dataloader.dataset, "type": CocoDataset})
        infos = [[d.get_data_info(i) for i in range(len(d))] for d in (twin, own)]
        assert (infos[0] == infos[1]) is same
        metric = METRICS.build(cfg.val_evaluator)
        assert metric._coco_api.dataset == CocoMetric(str(path))._coco_api.dataset


def test_a_metric_counts_the_images_that_were_shown(tmp_path: Path) -> None:
    path = write(tmp_path, None, "val")
    cfg = config(tmp_path, ann_file=str(path))
    cfg.val_dataloader.dataset["indices"] = 1
    assert measured(cfg)["coco/bbox_mAP"] == 1


def test_each_class_has_its_own_precision(tmp_path: Path) -> None:
    """Whatever the order of names and ids, and of an epoch's evaluation as of the next one's."""
    cfg = config(tmp_path, ann_file=str(write(tmp_path, None, "val")), classwise=True)
    metric = METRICS.build(cfg.val_evaluator)
    for found in CLASSES:
        scores = measured(cfg, metric, found)
        assert {name: scores[f"coco/{name}_precision"] for name in CLASSES} == {
            name: float(name == found) for name in CLASSES
        }


def shifted(content: dict[str, Any]) -> None:
    for image in content["images"]:
        image["id"] += 1000
    for annotation in content["annotations"]:
        annotation["image_id"] += 1000


TRUTHS: dict[str, tuple[Callable[[dict[str, Any]], Any] | None, str]] = {
    "other images": (shifted, "lacks 3 of its images (id 10, 000.jpg)"),
    "more images": (
        lambda c: c["images"].append({**c["images"][0], "id": 99, "file_name": "99.jpg"}),
        "has 1 images (id 99, 99.jpg) that are not shown",
    ),
    "other objects": (
        lambda c: c["annotations"].pop(),
        "has other annotations: 5 for 6, of image 16 first",
    ),
    "a moved object": (
        lambda c: c["annotations"][2].update(bbox=[6, 6, 21, 30]),
        "other annotations: 6 for 6, of image 13",
    ),
    "exchanged ids": (
        lambda c: [c["categories"][k].update(name=annotated.CLASSES[1 - k]) for k in (0, 1)],
        "has other categories: 3 'square', 5 'circle' for 3 'circle', 5 'square'",
    ),
    "nothing": (lambda c: c["annotations"].clear(), "it has no annotation that could be found"),
}


@pytest.mark.parametrize("what", TRUTHS)
def test_a_metrics_file_is_that_of_its_images(what: str, tmp_path: Path) -> None:
    for name in ("train", "val"):
        write(tmp_path, None, name)
    change, words = TRUTHS[what]
    path = write(tmp_path, change, "other")
    with pytest.raises(InputError) as error:
        check_data(config(tmp_path, ann_file=str(path)), "train")
    assert str(path) in str(error.value)
    assert words in str(error.value)


def test_a_metric_without_a_file_takes_its_loaders(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write(tmp_path, None, name)
    cfg = config(tmp_path)
    check_data(cfg, "train")
    assert cfg.val_evaluator["ann_file"] == str(tmp_path / "val.json")
    missing = config(tmp_path, ann_file=str(tmp_path / "absent.json"))
    with pytest.raises(InputError, match=r"val_evaluator.ann_file .*absent.json: there is no"):
        check_data(missing, "train")
    (tmp_path / "copy.json").write_text((tmp_path / "val.json").read_text())
    check_data(config(tmp_path, ann_file=str(tmp_path / "copy.json")), "train")


def test_images_without_annotations_are_for_detections_alone(tmp_path: Path) -> None:
    path = write(tmp_path, lambda c: c.pop("annotations"), "test")
    only = {"ann_file": str(path), "format_only": True, "outfile_prefix": str(tmp_path / "out")}
    cfg = config(tmp_path, **only)
    assert check_data(cfg, "test") == CLASSES
    dataset, metric = DATASETS.build(cfg.test_dataloader.dataset), METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = dataset.metainfo
    found = {"bboxes": torch.ones(1, 4), "scores": torch.ones(1), "labels": torch.zeros(1).long()}
    metric.process({}, [{"pred_instances": found, "img_id": 10, "ori_shape": (72, 96)}])
    assert metric.evaluate(1) == {}
    assert '"category_id": 7' in (tmp_path / "out.bbox.json").read_text()
    with pytest.raises(InputError, match="has no list 'annotations'"):
        check_data(config(tmp_path), "test")


def test_classes_come_from_a_file_and_one_alone_has_a_comma(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write(tmp_path, None, name)
    (tmp_path / "names.txt").write_text("\ufeffstar\r\ncircle\n\nsquare\n")
    cfg = config(tmp_path, str(tmp_path / "names.txt"))
    assert cfg.train_dataloader.dataset.metainfo["classes"] == CLASSES
    assert check_data(cfg, "train") == CLASSES
    with pytest.raises(InputError, match=r"metainfo.classes='circle': .*\"circle\",\)"):
        config(tmp_path, "circle")
    with pytest.raises(InputError, match=r"metainfo.classes: names circle more than once"):
        check_data(config(tmp_path, ("circle", "square", "circle")), "train")


def test_loaders_of_other_classes_are_named(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write(tmp_path, None, name)
    cfg = config(tmp_path)
    cfg.val_dataloader.dataset["metainfo"] = {"classes": CLASSES[::-1]}
    with pytest.raises(
        InputError, match=r"val_dataloader, val.json \(square, .*are in another order"
    ):
        check_data(cfg, "train")
    cfg.val_dataloader.dataset["metainfo"] = {"classes": CLASSES[:2]}
    with pytest.raises(InputError, match=r"differ in square"):
        check_data(cfg, "train")


def test_a_loader_without_masks_does_without(tmp_path: Path) -> None:
    def without(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            del annotation["segmentation"]

    for name in ("train", "val"):
        write(tmp_path, without, name)
    with pytest.raises(InputError, match=r"train.json: annotation 1 .* has no segmentation"):
        check_data(config(tmp_path), "train")
    cfg = config(tmp_path, metric="bbox")
    for split in ("train", "val"):
        cfg[f"{split}_dataloader"]["dataset"]["pipeline"] = [{**LOAD, "with_mask": False}]
    check_data(cfg, "train")
    assert np.isfinite(measured(cfg)["coco/bbox_mAP"])


def test_images_in_both_parts_are_said(tmp_path: Path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(checks, "log_warning", said.append)
    write(tmp_path, None, "train")
    cfg = config(tmp_path)
    cfg.val_dataloader.dataset.update(ann_file="train.json", data_prefix={"img": "train"})
    check_data(cfg, "train")
    assert "3 images are trained on and evaluated with" in said[0]


def test_categories_beside_the_classes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train", "val"):
        write(tmp_path, None, name)
    said: list[str] = []
    monkeypatch.setattr(checks, "log_warning", said.append)
    check_data(config(tmp_path, ("circle",)), "train")
    for name in ("train", "val"):
        expected = f"{name}.json: categories that are not among the config's classes are left out: "
        assert any(f"{expected}square (2 objects), star (2 objects)" in line for line in said)
    write(tmp_path, lambda c: [a.update(category_id=5) for a in c["annotations"]], "val")
    with pytest.raises(InputError, match=r"val.json: all objects are .*\(circle\): square \(6 ob"):
        check_data(config(tmp_path, ("circle",)), "train")


def test_a_class_of_somebodys_own_leaves_images_out_by_its_own_rule(tmp_path: Path) -> None:
    @MMDET_DATASETS.register_module(force=True)
    class WithoutTheFirst(CocoDataset):
        def filter_data(self) -> list[Any]:
            return self.data_list[1:]

    for name in ("train", "val"):
        write(tmp_path, None, name)
    cfg = config(tmp_path)
    cfg.train_dataloader.dataset.type = "WithoutTheFirst"
    use_twins(cfg)
    assert cfg.train_dataloader.dataset.type == "resnext_backbones.WithoutTheFirst"
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 2


def test_a_second_file_may_show_background_alone(tmp_path: Path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(completed, "log_info", said.append)
    for name in ("train", "more", "val"):
        write(tmp_path, (lambda c: c["annotations"].clear()) if name == "more" else None, name)
    cfg = config(tmp_path)
    first = {**cfg.train_dataloader.dataset, "filter_cfg": {"filter_empty_gt": True}}
    second = {**first, "ann_file": "more.json", "data_prefix": {"img": "more"}}
    cfg.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": [first, second]}
    check_data(cfg, "train")
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 3
    (line,) = (line for line in said if "left out, by filter_cfg" in line)
    assert line.startswith(f"annotation file {tmp_path / 'more.json'}: 3 of 3 images are left out")
    del second["filter_cfg"]
    cfg.train_dataloader.dataset.datasets = [first, second]
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 6
    cfg.train_dataloader.dataset.datasets = [second, second]
    with pytest.raises(InputError, match=r"more.json, .*: each has no annotation that a detector"):
        check_data(cfg, "train")
