"""Masks are looked at as pycocotools draws them, without drawing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import annotated
import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask
from pycocotools.coco import COCO

from resnext_backbones.data.annotations import inspect_annotations
from resnext_backbones.data.rules import Use
from resnext_backbones.data.run_lengths import decode_counts


def test_run_lengths_are_added_up_as_pycocotools_draws_them(coco_tiny: Path) -> None:
    """Compressed and not, of real masks."""
    coco = COCO(str(coco_tiny / "annotations/instances_train2017.json"))
    codes = [coco.annToRLE(a) for a in coco.anns.values()]
    texts = [code["counts"].decode() for code in codes]
    plain = [a["segmentation"]["counts"] for a in coco.anns.values() if a["iscrowd"]]
    drawn = [*codes, *(coco.annToRLE(a) for a in coco.anns.values() if a["iscrowd"])]
    none = ["", "\x7f", texts[0] + "o", None, ["1"], [True]]
    totals, areas = decode_counts([*texts, *plain, *none])
    assert totals[: -len(none)].tolist() == [code["size"][0] * code["size"][1] for code in drawn]
    assert areas[: -len(none)].tolist() == [int(pycocotools_mask.area(code)) for code in drawn]
    assert np.isnan(totals[-len(none) :]).all()


def rows_first(annotation: dict[str, Any]) -> dict[str, Any]:
    """Run lengths of a rectangle in the order of numpy's memory."""
    x, y, w, h = annotation["bbox"]
    pixels = np.zeros((72, 96), bool)
    pixels[y : y + h, x : x + w] = True
    changes = np.flatnonzero(np.diff(pixels.ravel())) + 1
    return {"size": [72, 96], "counts": np.diff([0, *changes, pixels.size]).tolist()}


def not_set(annotation: dict[str, Any]) -> dict[str, Any]:
    """Compressed run lengths of all but the object."""
    runs = annotated.run_lengths(*annotation["bbox"])
    found = pycocotools_mask.frPyObjects({**runs, "counts": [0, *runs["counts"]]}, 72, 96)
    return {**found, "counts": found["counts"].decode()}


@pytest.mark.parametrize("mask", [rows_first, not_set])
def test_masks_that_most_boxes_do_not_hold_are_refused(tmp_path: Path, mask: Any) -> None:
    content = annotated.content()
    for annotation in content["annotations"]:
        annotation["segmentation"] = mask(annotation)
    path = annotated.write(tmp_path, content)
    assert [f.rule for f in inspect_annotations(path, Use(train=True, masks=True)).refused] == [
        "masks elsewhere"
    ]
