"""The folder of a run, as one leaves it, without training: made-up curves, and real images."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from pycocotools import mask

from resnext_backbones.datasets import generate_shapes
from resnext_backbones.engine import record
from resnext_backbones.engine.checkpoints import Entry, write_journal

STEPS, EPOCHS = 400, 4
HOSTILE = "<script>document.title = 'taken'</script>"
"""The name of a category, which is to be read and not to be run."""

METRICS = {
    f"coco/{kind}_{name}": value
    for kind in ("bbox", "segm")
    for name, value in {
        "mAP": 0.41, "mAP_50": 0.62, "mAP_75": 0.44, "mAP_s": 0.2, "mAP_m": 0.5, "mAP_l": -1.0,
    }.items()
}  # fmt: skip


def make_run(folder: Path, *, images: int = 12, detections: bool = True) -> Path:
    """A run of `STEPS` steps that was resumed once, its data beside it; returns its work dir."""
    draw = random.Random(0)
    data, work_dir = folder / "data", folder / "run"
    generate_shapes(data, num_train=1, num_val=images)
    truth = data / "annotations" / "instances_val2017.json"
    content = json.loads(truth.read_text())
    content["categories"][0]["name"] = HOSTILE
    truth.write_text(json.dumps(content))
    logs = work_dir / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    rows = []
    for step in range(5, STEPS + 1, 5):
        loss = 3 / (1 + step / 60) + 0.1 * draw.random()
        rows.append({
            "lr": 0.02 if step < 300 else 0.002, "loss": loss, "loss_cls": 0.6 * loss,
            "loss_bbox": 0.4 * loss, "time": 0.5 + 0.05 * draw.random(), "data_time": 0.02,
            "memory": 7600, "epoch": 1 + step // 101, "iter": step, "step": step,
        })  # fmt: skip
    for part in (1 / 4, 1 / 2, 3 / 4, 1):
        measured = {name: value * part if value > 0 else value for name, value in METRICS.items()}
        rows.append({**measured, "step": round(EPOCHS * part)})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (logs / "scalars.json").write_text(lines + '{"loss": 1.')  # it was killed once
    (work_dir / "mask_rcnn_shapes.py").write_text("model = dict(type='MaskRCNN')  # <b>\n")
    write_journal(work_dir, [Entry(f"epoch_{EPOCHS}.pth", "ab" * 32, STEPS, METRICS)])
    begun = {
        "facts": [("backbone", "resnext50_32x4d"), ("frozen", "stem, stage 1")],
        "weights": {"source": "torchvision/resnext50_32x4d.v2", "sha256": "cd" * 32},
        "data": found_in(truth),
    }
    for start in (0, STEPS // 2):
        record.begin(work_dir, from_step=start, **begun)
    (work_dir / record.PLAN).write_text(json.dumps({"planned_bytes": 8 * 2**30}))
    record.note_end(work_dir, STEPS, (7600 * 2**20, "GPU"))
    evaluated: dict[str, Any] = {"split": "val", "step": STEPS, "metrics": METRICS}
    if detections:
        found = [made_up(each, content["categories"], draw) for each in content["annotations"]]
        (work_dir / "detections.json").write_text(json.dumps([f for f in found if f]))
        evaluated |= {
            "annotations": str(truth),
            "images": str(data / "val2017"),
            "results": {"bbox": "detections.json", "segm": "detections.json"},
        }
    record.note_evaluation(work_dir, **evaluated)
    return work_dir


def found_in(path: Path) -> dict[str, Any]:
    from resnext_backbones.data.annotations import inspect_annotations
    from resnext_backbones.data.rules import Use

    found = inspect_annotations(path, Use(evaluate=True, masks=True))
    return record.data_of({"train": [found], "val": [found]})


def rle(polygons: list[list[float]]) -> dict[str, Any]:
    code = mask.merge(mask.frPyObjects(polygons, 128, 128))
    return {"size": code["size"], "counts": code["counts"].decode()}


def made_up(truth: dict[str, Any], categories: list[dict[str, Any]], draw: random.Random) -> Any:
    """What a detector makes of an object: most are found, some as another class, some are not."""
    if draw.random() < 0.1:
        return None
    wrong = draw.random() < 0.15
    category = draw.choice(categories)["id"] if wrong else truth["category_id"]
    return {
        "image_id": truth["image_id"],
        "category_id": category,
        "bbox": [value + draw.uniform(-2, 2) for value in truth["bbox"]],
        "segmentation": rle(truth["segmentation"]),
        "score": draw.uniform(0.1, 0.7) if wrong else draw.uniform(0.3, 1),
    }
