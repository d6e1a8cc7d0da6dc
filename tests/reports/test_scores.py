"""Scores of a page, against COCO's own and supervision's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")
pytest.importorskip("jinja2", reason="jinja2 is not installed")
pytest.importorskip("plotly", reason="plotly is not installed")

from resnext_backbones.engine import record
from resnext_backbones.reports.page.scores import Evaluated, matches
from resnext_backbones.tasks.torchvision.metrics import coco_scores


def test_precision_is_cocos(work_dir: Path) -> None:
    evaluation = record.read_json(work_dir / record.EVALUATION)
    results = {kind: work_dir / name for kind, name in evaluation["results"].items()}
    evaluated = Evaluated(Path(evaluation["annotations"]), results)
    found = evaluated.results["bbox"]
    expected = coco_scores(evaluated.truth, found, evaluated.image_ids, ("bbox", "segm"))
    for kind in ("bbox", "segm"):
        own = evaluated.precision(kind)
        assert own is not None
        assert np.mean(own.ap) == pytest.approx(expected[f"{kind}_mAP"])
        assert np.mean(own.ap50) == pytest.approx(expected[f"{kind}_mAP_50"])


def test_which_class_is_found_as_which(work_dir: Path) -> None:
    """Against supervision's matrix, where each object has one detection near it."""
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    evaluation = record.read_json(work_dir / record.EVALUATION)
    evaluated = Evaluated(Path(evaluation["annotations"]), {"bbox": work_dir / "detections.json"})
    own, scores = evaluated.compare(0.5)

    def of(objects: list[dict[str, Any]]) -> Any:
        boxes = np.array([o["bbox"] for o in objects], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        ids = np.array([evaluated.category_ids.index(o["category_id"]) for o in objects], int)
        return supervision.Detections(
            xyxy=boxes, class_id=ids, confidence=np.array([o.get("score", 1) for o in objects])
        )

    images, found = evaluated.image_ids, evaluated.results["bbox"]
    theirs = supervision.ConfusionMatrix.from_detections(
        predictions=[of([f for f in found if f["image_id"] == i]) for i in images],
        targets=[of(evaluated.truth.imgToAnns[i]) for i in images],
        classes=evaluated.names,
        conf_threshold=0.5,
        iou_threshold=0.5,
    )
    assert own.tolist() == theirs.matrix.astype(int).tolist()
    assert own.sum() == sum(s.right + s.wrong + s.missed for s in scores)
    assert own[:-1].sum() == evaluated.objects().sum()


A, B = [0, 0, 10, 10], [40, 40, 10, 10]


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([(1, A)], [(1, A, 0.9)], [(1, 1)]),
        ([(1, A)], [(1, B, 0.9)], [(None, 1), (1, None)]),
        ([(1, A)], [(2, A, 0.9)], [(1, 2)]),
        # Its own class takes an object from a surer one of another class.
        ([(1, A)], [(2, A, 0.9), (1, A, 0.3)], [(None, 2), (1, 1)]),
        # One object is found once.
        ([(1, A)], [(1, A, 0.9), (1, A, 0.8)], [(1, 1), (None, 1)]),
        # The one that it overlaps most.
        ([(1, A), (1, [2, 0, 10, 10])], [(1, [2, 0, 10, 10], 0.9)], [(1, 1), (1, None)]),
        # On a crowd it is neither right nor wrong, and a crowd is not missed.
        ([(1, [0, 0, 100, 100], 1)], [(1, A, 0.9)], []),
        ([], [], []),
    ],
)
def test_matches(truth: list, found: list, expected: list) -> None:
    objects = [
        {"category_id": each[0], "bbox": each[1], "iscrowd": int(len(each) > 2)} for each in truth
    ]
    detections = [{"category_id": c, "bbox": box, "score": score} for c, box, score in found]
    assert list(matches(objects, detections)) == expected
