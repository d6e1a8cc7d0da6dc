"""Valid files with random damage: each is refused in one message, or measured right."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import annotated
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.data.annotations import completed_copy, read_annotations
from resnext_backbones.data.rules import Use
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision.instances import read_index
from resnext_backbones.tasks.torchvision.metrics import coco_scores

NAN, INF = float("nan"), float("inf")
ODD = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 3, 10, 0.5, 1.0, -0.0, 72, 96.0, 1e-9, 1e12, 10**30, -(10**9),
        NAN, INF, -INF, "", "1", "10", "circle", "mask.png", "none", "\ud800", "\0", [], {}, [[]],
        [1], [1, 2, 3, 4], ["1", "2", "3", "4"], [NAN] * 4, [0, 0, 0, 0], [5, 5, -3, 4],
        [0.1, 0.1, 0.3, 0.2], [90, 70, 30, 30], [-50, -50, 10, 10], [1e9, 0, 5, 5], [5, 5, 1e9, 5],
        [[5, 5, 9, 5, 9, 9]], [[5, 5, 9, 5, 9]], [[5, 5, 9, 9]], [[1e9, 5, 9, 5, 9, -1e9]],
        [[NAN, 5, 9, 5, 9, 9]], [[True, 5, 9, 5, 9, 9]], [["5", 5, 9, 5, 9, 9]], [5, 5, 9, 5, 9, 9],
        [[5, 5, 5, 5, 5, 5]], [[5, 5, 9, 5, 9, 9], [1]], [[9.1, 9.1, 9.2, 9.1, 9.2, 9.2], []],
        {"size": [72, 96], "counts": [6912]}, {"size": [72, 96], "counts": [0, 6912]},
        {"size": [72, 96], "counts": "0oYh"}, {"size": [72, 96], "counts": ""},
        {"size": [72, 96], "counts": [-5, 6917]}, {"size": [96, 72], "counts": [6912]},
        {"size": [72, 96], "counts": [10**30]}, {"size": [72], "counts": [72]},
        {"size": None, "counts": None}, {"counts": [6912]},
        {"size": [72.0, 96.0], "counts": [6912]},
        {"size": [72, 96], "counts": ["6912"]}, {"size": [72, 96], "counts": "\x7f"},
    ]
)  # fmt: skip
"""Values of all kinds, many of which are right in one place."""

KEYS = {
    "annotations": (
        "id", "image_id", "category_id", "iscrowd", "bbox", "area", "segmentation", "ignore",
        "keypoints", "num_keypoints",
    ),
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name", "supercategory", "keypoints"),
}  # fmt: skip

PLACE = st.integers(0, 5)


@st.composite
def damage(draw: Any) -> tuple[Any, ...]:
    """One change: a value of one thing or of all, a key that is gone, a thing twice, gone, or in
    another place, numbers a little other, or a whole list.
    """
    part = draw(st.sampled_from([*KEYS, "annotations", "annotations"]))
    key = draw(st.sampled_from(KEYS[part]))
    how = draw(
        st.sampled_from(["set", "set", "all", "lose", "twice", "drop", "swap", "nudge", "whole"])
    )
    return how, part, key, draw(PLACE), draw(PLACE), draw(ODD), draw(st.floats(-80, 80))


def apply(content: dict[str, Any], change: tuple[Any, ...]) -> None:
    how, part, key, place, other, value, shift = change
    if how == "whole":
        if value is None or isinstance(value, list | dict):
            content[part] = copy.deepcopy(value)
        return
    things = content.get(part)
    if not isinstance(things, list) or not things or not all(isinstance(t, dict) for t in things):
        return
    thing, second = things[place % len(things)], things[other % len(things)]
    if how == "set":
        thing[key] = copy.deepcopy(value)
    elif how == "all":
        for each in things:
            each[key] = copy.deepcopy(value)
    elif how == "lose":
        for each in things if other % 2 else [thing]:
            each.pop(key, None)
    elif how == "twice":
        things.append({**copy.deepcopy(thing), "id": value if other % 2 else thing.get("id")})
    elif how == "drop":
        things.remove(thing)
    elif how == "swap":
        thing[key], second[key] = second.get(key), thing.get(key)
    elif isinstance(thing.get(key), list) and thing[key]:
        index = other % len(thing[key])
        if isinstance(thing[key][index], int | float):
            thing[key][index] += shift


def check(folder: Path, changes: list[tuple[Any, ...]], masks: bool) -> bool:
    """Damages a file, and reads it for all uses; tells whether it was accepted."""
    content = annotated.content()
    for change in changes:
        apply(content, change)
    path = annotated.write(folder, content)
    try:
        found = read_annotations(path, Use(train=True, evaluate=True, masks=masks))
    except InputError as error:
        return _is_named(path, error)
    assert measured_here(path, masks) > 0.999
    if found.is_complete:
        assert completed_copy(found) == path
        assert json.loads(path.read_text(), parse_constant=str) == json.loads(
            json.dumps(found.content), parse_constant=str
        )
    return True


def _is_named(path: Path, error: InputError) -> bool:
    assert str(path) in str(error)
    return False


def measured_here(path: Path, masks: bool) -> float:
    """The least AP of torchvision's metric, and of MMDetection's where that is installed."""
    kinds = ("bbox", "segm") if masks else ("bbox",)
    coco = read_index(path, Use(evaluate=True, masks=masks))
    results = annotated.perfect(coco)
    scores = coco_scores(coco, results, sorted(coco.imgs), kinds)
    found = [scores[f"{kind}_mAP"] for kind in kinds]
    try:
        from resnext_backbones.tasks.mmdetection.completed import CompletedCOCO
    except ImportError:
        return min(found)
    return min(*found, *by_mmdetection(path, masks, CompletedCOCO))


def by_mmdetection(path: Path, masks: bool, coco_class: Any) -> list[float]:
    from mmdet.evaluation.metrics import CocoMetric

    from resnext_backbones.tasks.mmdetection.completed import MeasuresCompleted, _twin

    kinds = ["bbox", "segm"] if masks else ["bbox"]
    metric = _twin(MeasuresCompleted, CocoMetric)(str(path), metric=kinds)
    coco = metric._coco_api
    assert isinstance(coco, coco_class)
    classes = sorted(category["name"] for category in coco.dataset["categories"])
    scores = annotated.measured(metric, classes, coco.dataset["images"])
    return [scores[f"coco/{kind}_mAP"] for kind in kinds]


QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LONG = settings(QUICK, max_examples=1500, derandomize=False)


def fuzz(folder: Path, profile: settings) -> None:
    accepted = []

    @profile
    @given(st.lists(damage(), min_size=1, max_size=4), st.booleans())
    def run(changes: list[tuple[Any, ...]], masks: bool) -> None:
        accepted.append(check(folder, changes, masks))

    run()
    share = np.mean(accepted)
    assert 0.05 < share < 0.95, f"{share:.0%} were accepted: the damage is too great or too small"


def test_damaged_files_are_refused_or_measured_right(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    fuzz(tmp_path, QUICK)


@pytest.mark.whole
def test_many_damaged_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    fuzz(tmp_path, LONG)
