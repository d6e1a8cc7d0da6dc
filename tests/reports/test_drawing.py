"""Pictures of detections can be read: labels beside the objects, colours apart, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import matplotlib
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
from matplotlib.font_manager import findfont, fontManager, get_font, ttfFontProperty

from resnext_backbones.reports import drawing
from resnext_backbones.reports.drawing import (
    LEAST_WIDTH,
    Detections,
    class_colours,
    draw_detections,
    place_labels,
)

RED, BLACK = (255, 0, 0), (0, 0, 0)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def objects(*boxes: tuple[int, int, int, int], masks: np.ndarray | None = None) -> Detections:
    return Detections(np.array(boxes, float), np.zeros(len(boxes), int), masks)


@pytest.mark.parametrize(("width", "factor"), [(128, 4), (300, 512 / 300), (512, 1), (640, 1)])
def test_boxes_and_masks_grow_with_a_small_image(width: int, factor: float) -> None:
    mask = np.zeros((1, 90, width), bool)
    mask[0, 30:60, 40:90] = True
    found = objects((40, 30, 90, 60), masks=mask)
    picture = draw_detections(grey(90, width), found, ["thing"], [RED])
    assert picture.shape == (round(90 * factor), max(width, LEAST_WIDTH), 3)
    # Within the box the red is the mask's fill, and the box's line is red all around it.
    inside = picture[round(45 * factor), round(65 * factor)].astype(int)
    assert inside[0] > inside[1] + 20
    red = (picture == RED).all(axis=2)
    for x in (40, 90):
        line = red[round(38 * factor) : round(55 * factor), round(x * factor) - 3 :][:, :6]
        assert line.any(axis=1).all()
    outside = picture[round(75 * factor) :]
    assert (outside == 128).all()


def test_names_of_any_script_are_drawn_by_a_font_that_has_them(
    monkeypatch, caplog, tmp_path: Path
) -> None:
    """Else each of their characters is the same empty box."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    has = get_font(folder / "STIXGeneral.ttf").get_charmap().keys()
    first, second = sorted(has - get_font(findfont("DejaVu Sans")).get_charmap().keys())[-2:]

    def drawn(*names: str) -> list[bytes]:
        return [draw_detections(grey(90, 90), objects((9, 9, 60, 60)), [name], [RED]).tobytes()
                for name in names]  # fmt: skip

    for fonts, differ in (([], False), (["LastResortHE-Regular", "STIXGeneral"], True)):
        entries = [ttfFontProperty(get_font(folder / f"{font}.ttf")) for font in fonts]
        monkeypatch.setattr(fontManager, "ttflist", entries)
        drawing._font_file.cache_clear()
        caplog.clear()
        one, other = drawn(chr(first), chr(second))
        assert (one != other) == differ
        assert ("install a font of that script" in caplog.text) == (not differ)
    # One that has no letters and digits would draw all others, and scores, as the same boxes.
    subset = Subsetter()
    subset.populate(unicodes=[first, second])
    subset.subset(font := TTFont(folder / "STIXGeneral.ttf"))
    font.save(tmp_path / "script.ttf")
    entry = ttfFontProperty(get_font(tmp_path / "script.ttf"))
    monkeypatch.setattr(fontManager, "ttflist", [entry])
    drawing._font_file.cache_clear()
    box, label = np.array([[9.0, 9, 60, 60]]), np.array([0])
    scored = [Detections(box, label, None, np.array([score])) for score in (0.12, 0.98)]
    one, other = (draw_detections(grey(90, 90), each, [chr(first)], [RED]) for each in scored)
    assert not np.array_equal(one, other)


def test_no_pixel_of_a_mask_is_lost() -> None:
    mask = np.zeros((1, 128, 128), bool)
    mask[0, 64, 64] = True
    picture = draw_detections(grey(128, 128), objects((0, 0, 9, 9), masks=mask), ["thing"], [RED])
    assert (picture[256:260, 256:260] != 128).any()


def test_labels_hide_no_shape_where_there_is_room(shapes_root: Path) -> None:
    """Of the drawn shapes' labels nine in ten hide nothing, and none lies on another."""
    content = json.loads((shapes_root / "annotations/instances_train2017.json").read_text())
    hidden, count = 0, 0
    for image in content["images"]:
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        shown = np.zeros((512, 512), np.uint8)
        for a in own:
            for polygon in a["segmentation"]:
                cv2.fillPoly(shown, [4 * np.reshape(polygon, (-1, 2)).astype(int)], 1)
        boxes = [
            [4 * x, 4 * y, 4 * (x + w), 4 * (y + h)] for x, y, w, h in (a["bbox"] for a in own)
        ]
        places = place_labels(boxes, [(90, 20)] * len(boxes), shown.astype(bool))
        labels = np.zeros_like(shown)
        for (left, top, right, bottom), box in zip(places, boxes, strict=True):
            assert (right - left, bottom - top) == (90, 20)
            assert left >= 0
            assert top >= 0
            assert right <= 512
            assert bottom <= 512
            assert left <= box[2]
            assert right >= box[0]
            assert top <= box[3]
            assert bottom >= box[1]
            hidden += shown[top:bottom, left:right].sum() > 0
            labels[top:bottom, left:right] += 1
            count += 1
        assert labels.max() == 1
    assert hidden <= count / 10


def test_a_label_goes_around_what_is_in_its_way() -> None:
    box, size = [[40, 40, 80, 80]], [(30, 10)]
    free = np.zeros((120, 120), bool)
    assert place_labels(box, size, free) == [(40, 30, 70, 40)]
    free[:40] = True
    assert place_labels(box, size, free) == [(40, 80, 70, 90)]
    free[80:] = True
    assert place_labels(box, size, free) == [(80, 40, 110, 50)]
    corner = np.zeros((120, 120), bool)
    corner[:20, 100:] = True
    assert place_labels([[100, 0, 120, 20]], size, corner) == [(90, 20, 120, 30)]


def test_every_class_has_its_colour() -> None:
    colours = np.array(class_colours(["name"] * 20), int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 1000 * np.eye(20, dtype=int)
    assert distances.min() > 30
    assert class_colours(["a", "b"], [RED, BLACK]) == [RED, BLACK]
    for other in ([RED], [RED, RED, RED], "none"):
        first, second = class_colours(["a", "b"], other)
        assert first != second
    # The name of a palette of MMDetection's, as long as there are classes.
    assert len(set(class_colours([*"abcdef"], "random"))) == 6


def test_without_objects_the_image_is_as_it_was() -> None:
    empty = Detections(
        np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 60, 600), bool), np.zeros(0)
    )
    assert (draw_detections(grey(60, 600), empty, ["thing"], [RED]) == 128).all()
