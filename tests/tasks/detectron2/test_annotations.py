"""Detectron2's data sets on files that other tools wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import annotated
import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image

from resnext_backbones.data import kept
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.annotations import check_annotations, use_completed

Change = Callable[[dict[str, Any]], Any]
NAMES = ("odd_train", "odd_val")


def silent(_: str) -> None:
    """Tells nobody."""


@pytest.fixture
def register(tmp_path: Path, monkeypatch) -> Iterator[Callable[..., Any]]:
    """Registers two data sets, each with a change, and returns an experiment of them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    def make(*changes: Change | None, masks: bool = True, keypoints: bool = False) -> Any:
        for name, change in zip(NAMES, changes, strict=True):
            content = annotated.content()
            if change:
                change(content)
            (tmp_path / name).mkdir()
            for image in content["images"]:
                picture = Image.new("RGB", (annotated.WIDTH, annotated.HEIGHT))
                picture.save(tmp_path / name / image["file_name"])
            path = annotated.write(tmp_path, content, f"{name}.json")
            register_coco_instances(name, {"mark": 7}, str(path), str(tmp_path / name))
        used = {"masks": masks, "keypoints": keypoints}
        return SimpleNamespace(datasets=lambda *, train: [NAMES[not train]], **used)

    yield make
    for name in NAMES:
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def bare(content: dict[str, Any]) -> None:
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
        annotation["id"] = 0


def measured(name: str) -> float:
    """The AP of a data set's own objects."""
    evaluator = COCOEvaluator(name, tasks=("bbox",), distributed=False)
    evaluator.reset()
    for record in DatasetCatalog.get(name):
        own = [a for a in record["annotations"] if not a["iscrowd"]]
        boxes = torch.tensor([a["bbox"] for a in own]).reshape(-1, 4).double()
        boxes[:, 2:] += boxes[:, :2]
        found = Instances((record["height"], record["width"]))
        found.pred_boxes, found.scores = Boxes(boxes), torch.full((len(own),), 0.9)
        found.pred_classes = torch.tensor([a["category_id"] for a in own]).long()
        evaluator.process([record], [{"instances": found}])
    return evaluator.evaluate()["bbox"]["AP"]


def test_what_is_incomplete_is_read_from_a_copy(register: Callable[..., Any]) -> None:
    experiment, said = register(bare, bare), []
    check_annotations(experiment, train=True, say=silent, warn=silent)
    before = {name: MetadataCatalog.get(name).json_file for name in NAMES}
    use_completed(experiment, train=True, say=said.append, warn=silent)
    for name in NAMES:
        metadata = MetadataCatalog.get(name)
        assert metadata.mark == 7
        assert metadata.json_file != before[name]
        assert Path(metadata.json_file).parent == kept.folder()
        assert any(metadata.json_file in line and name in line for line in said)
        assert measured(name) == pytest.approx(100)
    # A second start, in another process.
    use_completed(experiment, train=True, say=silent, warn=silent)


def test_a_complete_file_is_read_itself(register: Callable[..., Any]) -> None:
    experiment = register(None, None)
    use_completed(experiment, train=True, say=silent, warn=silent)
    for name in NAMES:
        assert MetadataCatalog.get(name).json_file.endswith(f"{name}.json")
        assert measured(name) == pytest.approx(100)


def exchanged(content: dict[str, Any]) -> None:
    for category in content["categories"]:
        category["id"] = 100 - category["id"]
    for annotation in content["annotations"]:
        annotation["category_id"] = 100 - annotation["category_id"]


def first(**values: Any) -> Change:
    return lambda content: content["annotations"][0].update(values)


BAD: dict[str, tuple[Change | None, Change | None, str]] = {
    "a box": (first(bbox=[]), None, r"train.json: annotation 1"),
    "a mask": (None, first(segmentation="a.png"), r"val.json: annotation 1 .*has text"),
    "keypoints": (first(keypoints=["1", 2, 2]), None, r"train.json: annotation 1 .* keypoints"),
    "other ids": (None, exchanged, "are in another order; Detectron2 numbers them in"),
    "no objects": (lambda c: c["annotations"].clear(), None, "train.json: it has no annotation"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_would_be_taken_wrong_is_named(what: str, register: Callable[..., Any]) -> None:
    *changes, message = BAD[what]
    experiment = register(*changes, keypoints=True)
    with pytest.raises(InputError, match=message):
        check_annotations(experiment, train=True, say=silent, warn=silent)


def test_keypoints_that_are_not_learned_are_no_hindrance(register: Callable[..., Any]) -> None:
    experiment, warned = register(first(keypoints=["1", 2, 2]), None), []
    check_annotations(experiment, train=True, say=silent, warn=silent)
    use_completed(experiment, train=True, say=silent, warn=warned.append)
    assert "has keypoints that are not x, y and visibility" in warned[0]
    assert measured(NAMES[0]) == pytest.approx(100)


def test_a_function_of_its_own_must_read_a_complete_file(register: Callable[..., Any]) -> None:
    experiment = register(bare, None)
    metadata = MetadataCatalog.get(NAMES[0])
    path, images = metadata.json_file, metadata.image_root
    DatasetCatalog.remove(NAMES[0])
    DatasetCatalog.register(NAMES[0], lambda: load_coco_json(path, images, NAMES[0]))
    with pytest.raises(InputError, match=r"odd_train: .*no iscrowd.*register_coco_instances"):
        check_annotations(experiment, train=True, say=silent, warn=silent)


def test_images_in_both_and_images_that_are_missing(
    register: Callable[..., Any], tmp_path: Path
) -> None:
    experiment, said = register(None, None), []
    (tmp_path / NAMES[1] / "000.jpg").unlink()
    with pytest.raises(InputError, match="1 of its 3 images are missing"):
        check_annotations(experiment, train=True, say=silent, warn=silent)
    experiment.datasets = lambda *, train: [NAMES[0]]  # noqa: ARG005
    check_annotations(experiment, train=True, say=silent, warn=said.append)
    assert "3 images are trained on and evaluated with" in said[0]
