"""Every rule of annotation files, broken: what is refused, filled in, left out and counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated
import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask
from pycocotools.coco import COCO

from resnext_backbones.data import annotations as module
from resnext_backbones.data import kept
from resnext_backbones.data.annotations import (
    completed_copy,
    inspect_annotations,
    read_annotations,
)
from resnext_backbones.data.rules import RULES, Outcome, Use
from resnext_backbones.data.rules.table import rules_table
from resnext_backbones.data.run_lengths import decode_counts
from resnext_backbones.errors import InputError

Change = Callable[[dict[str, Any]], Any]
USE = Use(train=True, evaluate=True, masks=True)
NAN = float("nan")


def of(kind: str, place: int = 0, **values: Any) -> Change:
    """Changes one thing of a list; `...` takes a key out."""

    def change(content: dict[str, Any]) -> None:
        thing = content[kind][place]
        for key, value in values.items():
            thing.pop(key, None) if value is ... else thing.update({key: value})

    return change


def each(**values: Any) -> Change:
    """Changes all annotations, to values or what functions make of them."""

    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            for key, value in values.items():
                annotation[key] = value(annotation) if callable(value) else value

    return change


def again(kind: str, **values: Any) -> Change:
    """Lists the first thing of a list once more."""
    return lambda content: content[kind].append({**content[kind][0], **values})


def both(*changes: Change) -> Change:
    return lambda content: [change(content) for change in changes]


def one(**values: Any) -> Change:
    return of("annotations", **values)


def root_category(content: dict[str, Any]) -> None:
    content["categories"].insert(0, {"id": 0, "name": "circle", "supercategory": "none"})
    content["categories"][1]["supercategory"] = "circle"


def same_file(content: dict[str, Any]) -> None:
    content["images"].append({**content["images"][0], "id": 99})
    objects = [a for a in content["annotations"] if a["image_id"] == 10]
    content["annotations"] += [{**a, "id": 90 + i, "image_id": 99} for i, a in enumerate(objects)]


def many_objects(content: dict[str, Any]) -> None:
    first = content["annotations"][0]
    rows = [{**first, "id": 100 + i, "bbox": [5, 4, 20, 30 + i / 9]} for i in range(60)]
    content["annotations"] += rows + [{**row, "id": row["id"] + 100} for row in rows]


def corners(annotation: dict[str, Any]) -> list[float]:
    x, y, w, h = annotation["bbox"]
    return [x, y, x + w, y + h]


def moved(content: dict[str, Any]) -> None:
    content["annotations"] = [
        {**a, "bbox": [50, 40, 30, 25], "segmentation": [[50, 40, 80, 40, 80, 65, 50, 65]]}
        for a in content["annotations"]
    ]


BROKEN: dict[str, Change] = {
    "category id": of("categories", id="3"),
    "category id as 1.0": of("categories", id=3.0),
    "category id twice": of("categories", 1, id=3),
    "category name": of("categories", name=...),
    "root category of the same name": root_category,
    "category name twice": of("categories", 1, name="circle"),
    "category name by case": of("categories", 1, name="Circle"),
    "category name with spaces": of("categories", name=" cir  cle "),
    "image id": of("images", id="10"),
    "image id as 1.0": of("images", id=10.0),
    "image listed twice": again("images"),
    "image id twice": again("images", file_name="other.jpg"),
    "file_name": of("images", file_name=None),
    "width and height": of("images", width=0),
    "width and height as 640.0": of("images", height=72.0),
    "file under several ids, other objects": again("images", id=99),
    "file under several ids": same_file,
    "image_id not listed": one(image_id=11),
    "image_id as 1.0": one(image_id=10.0),
    "category_id not listed": one(category_id=77),
    "category_id as 1.0": one(category_id=3.0),
    "no annotation id": one(id=...),
    "annotation id": one(id=0),
    "iscrowd of another kind": one(iscrowd="0"),
    "iscrowd": one(iscrowd=...),
    "ignore": one(ignore=1),
    "image without annotations": again("images", id=99, file_name="empty.jpg"),
    "category without annotations": again("categories", id=99, name="moon"),
    "bbox": one(bbox=[1, 2, NAN, 4]),
    "bbox of negative size": one(bbox=[30, 30, -20, -20]),
    "boxes in units of the image": each(bbox=lambda a: [v / 100 for v in a["bbox"]]),
    "boxes as corners": both(moved, each(bbox=corners)),
    "bbox without size": one(bbox=[5, 5, 0, 10], segmentation=[[5, 5, 5, 15, 5.2, 15]]),
    "bbox outside": one(bbox=[200, 5, 10, 10], segmentation=[[100, 5, 110, 5, 110, 15]]),
    "bbox partly outside": one(bbox=[-5, 4, 30, 30]),
    "bbox below a pixel": one(bbox=[5, 4, 0.5, 30], area=15),
    "area": one(area=0),
    "area larger than the bbox": one(area=1e12),
    "object twice": lambda c: c["annotations"].append({**c["annotations"][0], "id": 50}),
    "image of more than 100 objects": many_objects,
    "crowd": lambda _: None,
    "nothing to learn from": each(iscrowd=1),
    "nothing to measure with": lambda c: c["annotations"].clear(),
    "segmentation": one(segmentation=[]),
    "segmentation that is text": one(segmentation="mask.png"),
    "segmentation in one list": one(segmentation=[5, 5, 9, 5, 9, 9]),
    "segmentation of another kind": one(segmentation=[["5", 5, 9, 5, 9, 9]]),
    "odd number of coordinates": one(segmentation=[[5, 5, 9, 5, 9, 9, 3]]),
    "polygon without area": one(segmentation=[[5, 5, 9, 9]]),
    "polygon of two points": one(segmentation=[[5, 5, 9, 9], [5, 5, 9, 5, 9, 9]]),
    "polygon far outside": one(segmentation=[[5, 5, 1e9, 5, 9, 9]]),
    "size of run lengths": one(segmentation={"size": [96, 72], "counts": [6000, 912]}),
    "run lengths": one(segmentation={"size": [72, 96], "counts": [1000, 500, 100000]}),
    "masks elsewhere": each(segmentation=[[90, 69, 95, 69, 95, 71]]),
    "mask elsewhere": one(segmentation=[[90, 69, 95, 69, 95, 71]]),
    "mask without a pixel": one(segmentation=[[9.1, 9.1, 9.2, 9.1, 9.2, 9.2]]),
    "keypoints": one(keypoints=[1, 2, 2, 3, 4]),
    "num_keypoints": one(keypoints=[1, 2, 2, 3, 4, 0]),
    "no images": lambda c: [c[key].clear() for key in ("images", "annotations")],
    "no categories": lambda c: [c[key].clear() for key in ("categories", "annotations")],
    "byte order mark": lambda _: None,
    "info": lambda c: c.update(info=None),
}
"""What breaks each rule."""

RULE = {rule.name: rule for rule in RULES}


def broken(folder: Path, name: str) -> Path:
    content = annotated.content()
    BROKEN[name](content)
    path = annotated.write(folder, content)
    if name == "byte order mark":
        path.write_text("\ufeff" + path.read_text())
    return path


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
    assert [f.rule for f in inspect_annotations(path, USE).refused] == ["masks elsewhere"]


def test_each_rule_has_what_breaks_it_and_a_name_of_its_own() -> None:
    assert list(BROKEN) == [rule.name for rule in RULES]
    filled = {Outcome.FILLED, Outcome.TAKEN_OUT}
    assert all(rule.mend for rule in RULES if filled & {rule.outcome, rule.otherwise})


def test_the_document_lists_the_rules() -> None:
    text = (Path(__file__).parents[2] / "docs" / "annotations.md").read_text(encoding="utf-8")
    listed = text.split("<!-- rules -->")[1].split("<!-- /rules -->")[0]
    assert listed.strip() == rules_table()


def test_a_valid_file_breaks_none(tmp_path: Path) -> None:
    content = annotated.content()
    found = read_annotations(annotated.write(tmp_path, content), USE)
    assert [finding.rule for finding in found.findings] == ["crowd"]
    assert found.is_complete
    assert found.content == content
    assert completed_copy(found) == found.path


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_rule_is_named_or_filled_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    path, rule = broken(tmp_path, name), RULE[name]
    found = inspect_annotations(path, USE)
    finding = next(f for f in found.findings if f.rule == name)
    assert finding.outcome is rule.outcome
    others = {f.rule: f.message for f in found.refused if f.rule != name}
    if rule.outcome is Outcome.REFUSED:
        with pytest.raises(InputError) as error:
            read_annotations(path, USE)
        for word in (str(path), finding.message, *others.values()):
            assert word in str(error.value)
        return
    assert not others
    # pycocotools sees what was completed, and a file that is complete breaks nothing.
    copy = completed_copy(found)
    assert COCO(str(copy)).dataset == found.content
    left = read_annotations(copy, USE).findings
    assert {f.outcome for f in left} <= {Outcome.COUNTED}, "the completed copy is complete"
    assert (copy == path) is (rule.outcome is Outcome.COUNTED)


MEANINGS: dict[str, tuple[Change, Change]] = {
    "no iscrowd": (each(iscrowd=None), each(iscrowd=0)),
    "iscrowd as true": (one(iscrowd=True), one(iscrowd=1)),
    "area of run lengths": (
        of("annotations", 1, area=...),
        of("annotations", 1, area=20 * 29),
    ),
    "area of the box": (one(area=NAN, segmentation=[[1, 2, 9, 9]]), one(area=600)),
    "ids as text": (each(id="a"), lambda _: None),
    "ids again": (each(id=7), lambda _: None),
    "ids that are large": (one(id=10**30), lambda _: None),
    "no info": (lambda c: c.pop("info"), lambda c: c.pop("info")),
    "a root": (root_category, of("categories", supercategory="circle")),
    "names that look the same": (
        of("categories", name="cercle\u0301\u00a0rond "),
        of("categories", name="cercl\u00e9 rond"),
    ),
    "left out": (
        one(bbox=[200, 5, 10, 10]),
        lambda c: (c["annotations"].pop(0), [a.update(id=a["id"]) for a in c["annotations"]]),
    ),
}
"""Files, and what they mean."""


@pytest.mark.parametrize("what", MEANINGS)
def test_what_is_filled_in_has_one_meaning(what: str, tmp_path: Path) -> None:
    change, means = MEANINGS[what]
    content, meant = annotated.content(), annotated.content()
    change(content)
    means(meant)
    found = read_annotations(annotated.write(tmp_path, content), Use(evaluate=True)).content
    for each_ in (*found["annotations"], *meant["annotations"]):
        each_.pop("segmentation", None)
    assert found == meant


OTHER_FORMATS = {
    "panoptic": ({"segments_info": []}, "panoptic"),
    "captions": ({"caption": "a cat"}, "captions"),
    "stuff": ({"segm_file": "a.png"}, "segm_file"),
}
WHOLE = {
    "LabelMe": ({"shapes": [], "imagePath": "a.jpg"}, "--from labelme"),
    "VIA": ({"_via_settings": {}}, "VGG Image Annotator"),
    "GeoJSON": ({"type": "FeatureCollection", "features": []}, "GeoJSON"),
    "results": ([{"image_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4]}], "list of detections"),
    "a list": ([], "no list 'images'"),
    "null": (None, "no list 'images'"),
    "no annotations": ({"images": [], "categories": []}, "no list 'annotations'"),
    "a dictionary of images": (
        {"images": {}, "annotations": [], "categories": []},
        "'images' is no list",
    ),
    "a number": ({"images": [7], "annotations": [], "categories": []}, "images[0] is 7"),
}


@pytest.mark.parametrize("what", [*OTHER_FORMATS, *WHOLE])
def test_other_formats_are_named(what: str, tmp_path: Path) -> None:
    if what in WHOLE:
        content, words = WHOLE[what]
    else:
        keys, words = OTHER_FORMATS[what]
        content = annotated.content()
        content["annotations"] = [{"image_id": 10, **keys} for _ in content["annotations"]]
    path = annotated.write(tmp_path, content)
    with pytest.raises(InputError, match=f"annotation file {path}: ") as error:
        read_annotations(path, USE)
    assert words in str(error.value)


def test_files_that_are_no_json_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content, words in (
        (b"{'", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\0", "not JSON"),
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (gzip.compress(b"{}"), "a gzip archive"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"annotation file {path}: is {words}"):
            read_annotations(path, USE)
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "b.json", USE)
    path.write_bytes(json.dumps(annotated.content()).encode("utf-16"))
    assert read_annotations(path, USE).content == annotated.content()


@pytest.mark.parametrize("name", ["./000.jpg", "a/../000.jpg", ".//000.jpg"])
def test_a_file_is_known_by_any_of_its_names(name: str, tmp_path: Path) -> None:
    content = annotated.content()
    again("images", id=99, file_name=name)(content)
    refused = inspect_annotations(annotated.write(tmp_path, content), USE).refused
    assert [f.rule for f in refused] == ["file under several ids, other objects"]


def test_classes_that_look_like_a_files_are_shown_as_they_are(tmp_path: Path) -> None:
    found = read_annotations(annotated.write(tmp_path, annotated.content()), USE)
    with pytest.raises(InputError, match="lack 1 of the 1 classes: 'circle '"):
        found.in_order_of(["circle "])


def test_without_masks_what_cannot_be_read_is_taken_out(tmp_path: Path) -> None:
    for name in ("segmentation that is text", "run lengths", "polygon far outside"):
        found = read_annotations(broken(tmp_path, name), Use(train=True))
        assert not found.is_complete
        assert "segmentation" not in found.content["annotations"][0]
        assert "segmentation" in found.content["annotations"][1]
    assert read_annotations(broken(tmp_path, "segmentation"), Use(train=True)).is_complete


def test_a_list_of_images_needs_no_annotations(tmp_path: Path) -> None:
    content = annotated.content()
    del content["annotations"]
    path = annotated.write(tmp_path, content)
    assert read_annotations(path, Use(annotated=False)).content["annotations"] == []


def test_categories_are_ordered_by_name(tmp_path: Path) -> None:
    found = read_annotations(annotated.write(tmp_path, annotated.content()), USE)
    classes = ("star", "circle")
    ordered = found.in_order_of(classes)
    assert ordered.names == ["star", "circle", "square"]
    assert {c["id"]: c["name"] for c in ordered.content["categories"]} == {
        c["id"]: c["name"] for c in found.content["categories"]
    }
    assert not ordered.is_complete
    assert found.in_order_of(["circle", "square"]) is found
    with pytest.raises(InputError, match=r"its 3 categories .* lack 1 of the 2 classes: moon"):
        found.in_order_of(["circle", "moon"])


def test_run_lengths_are_added_up_as_pycocotools_draws_them(coco_tiny: Path) -> None:
    """Compressed and not, of real masks."""
    coco = COCO(str(coco_tiny / "annotations/instances_train2017.json"))
    codes = [coco.annToRLE(a) for a in coco.anns.values()]
    texts = [code["counts"].decode() for code in codes]
    totals, areas = decode_counts([*texts, "", "\x7f", texts[0] + "o", None, ["1"], [True]])
    count = len(codes)
    assert totals[:count].tolist() == [h * w for h, w in (code["size"] for code in codes)]
    assert areas[:count].tolist() == [int(pycocotools_mask.area(code)) for code in codes]
    assert not (totals[count:] >= 0).any()
    plain = [a["segmentation"] for a in coco.anns.values() if a["iscrowd"]]
    totals, areas = decode_counts([code["counts"] for code in plain])
    drawn = [pycocotools_mask.frPyObjects(code, *code["size"]) for code in plain]
    assert totals.tolist() == [h * w for h, w in (code["size"] for code in plain)]
    assert areas.tolist() == [int(pycocotools_mask.area(code)) for code in drawn]


def test_what_was_found_in_a_large_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "LARGE", 0)
    path, said = broken(tmp_path, "iscrowd"), []
    first = read_annotations(path, USE, said.append)
    assert "read and checked, once" in said[0]
    assert "checked 6 of 6 annotations" in said[1]
    monkeypatch.setattr(module, "_inspected", None)  # nobody looks again
    second = read_annotations(path, USE, said.append)
    assert len(said) == 2
    assert (second.findings, second.images) == (first.findings, first.images)
    assert second.content == first.content
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (kept.folder() / "renamed").symlink_to("elsewhere")  # as another process does meanwhile
    copy = completed_copy(second)
    assert copy.parent == kept.folder()
    written = copy.stat().st_mtime_ns
    monkeypatch.setattr(kept, "atomic_write", None)  # as in a folder that is read-only now
    monkeypatch.setattr(kept, "FileLock", None)
    assert completed_copy(first) == copy
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    assert json.loads(copy.read_text()) == first.content
    path.write_text(path.read_text() + " ")
    assert completed_copy(read_annotations(path, USE)) != copy
    assert written


def test_a_folder_that_takes_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "LARGE", 0)
    found = read_annotations(broken(tmp_path, "iscrowd"), USE)
    with pytest.raises(InputError, match=r"completed copy .* cannot be written: .*TORCH_HOME"):
        completed_copy(found)
