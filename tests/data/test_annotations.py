"""Every rule of annotation files, broken: what is refused, filled in, left out and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated
import pytest
from pycocotools.coco import COCO

from resnext_backbones.data.annotations import (
    completed_copy,
    inspect_annotations,
    read_annotations,
)
from resnext_backbones.data.rules import RULES, Outcome, Use
from resnext_backbones.data.rules.table import rules_table
from resnext_backbones.errors import InputError

Change = Callable[[dict[str, Any]], Any]
USE = Use(train=True, evaluate=True, masks=True, keypoints=True)
NAN = float("nan")


def of(kind: str, place: int = 0, **values: Any) -> Change:
    """Changes one thing of a list; `...` takes a key out."""

    def change(content: dict[str, Any]) -> None:
        thing = content[kind][place]
        for key, value in values.items():
            thing.pop(key, None) if value is ... else thing.update({key: value})

    return change


def one(**values: Any) -> Change:
    return of("annotations", **values)


def each(**values: Any) -> Change:
    """Changes all annotations, to values or what functions make of them."""

    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            made = {k: v(annotation) if callable(v) else v for k, v in values.items()}
            annotation.update(made)

    return change


def again(kind: str, **values: Any) -> Change:
    """Lists the first thing of a list once more."""
    return lambda content: content[kind].append({**content[kind][0], **values})


def without(*kinds: str) -> Change:
    return lambda content: [content[kind].clear() for kind in kinds]


def root_category(content: dict[str, Any]) -> None:
    content["categories"].insert(0, {"id": 0, "name": "circle", "supercategory": "none"})
    content["categories"][1]["supercategory"] = "circle"


def same_file(content: dict[str, Any]) -> None:
    content["images"].append({**content["images"][0], "id": 99})
    first, second = content["annotations"][:2]  # those of this image
    content["annotations"] += [
        {**first, "id": 90, "image_id": 99},
        {**second, "id": 91, "image_id": 99},
    ]


def many_objects(content: dict[str, Any]) -> None:
    boxes = [[5, 4, 20, 30 + i / 9] for i in range(60)] * 2
    first = content["annotations"][0]
    content["annotations"] += [{**first, "id": 100 + i, "bbox": b} for i, b in enumerate(boxes)]


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
    "boxes as corners": each(bbox=[50, 40, 80, 65], segmentation=[[50, 40, 80, 40, 80, 65]]),
    "bbox without size": one(bbox=[5, 5, 0, 10], segmentation=[[5, 5, 5, 15, 5.2, 15]]),
    "bbox outside": one(bbox=[200, 5, 10, 10], segmentation=[[100, 5, 110, 5, 110, 15]]),
    "bbox partly outside": one(bbox=[-5, 4, 30, 30]),
    "bbox below a pixel": one(bbox=[5, 4, 0.5, 30], area=15),
    "object twice": lambda c: c["annotations"].append({**c["annotations"][0], "id": 50}),
    "image of more than 100 objects": many_objects,
    "crowd": lambda _: None,
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
    "area": one(area=0),
    "area larger than the bbox": one(area=1e12),
    "keypoints": one(keypoints=[1, 2, 2, 3, 4]),
    "num_keypoints": one(keypoints=[1, 2, 2, 3, 4, 0]),
    "nothing to learn from": each(iscrowd=1),
    "background alone": each(iscrowd=1),
    "nothing to measure with": without("annotations"),
    "masks of nothing": each(segmentation=[[9.1, 9.1, 9.2, 9.1, 9.2, 9.2]]),
    "no images": without("images", "annotations"),
    "no categories": without("categories", "annotations"),
    "byte order mark": lambda _: None,
    "info": lambda c: c.update(info=None),
}
"""What breaks each rule."""

RULE = {rule.name: rule for rule in RULES}
USES = {"background alone": Use(train=True, part=True)}


def broken(folder: Path, name: str) -> Path:
    content = annotated.content()
    BROKEN[name](content)
    path = annotated.write(folder, content)
    if name == "byte order mark":
        path.write_text("\ufeff" + path.read_text())
    return path


def test_each_rule_has_what_breaks_it_and_a_name_of_its_own() -> None:
    assert list(BROKEN) == [rule.name for rule in RULES]
    filled = {Outcome.FILLED, Outcome.TAKEN_OUT}
    without_mend = {r.name for r in RULES if filled & {r.outcome, r.otherwise} and not r.mend}
    assert without_mend == {"byte order mark"}, "which is gone when a file is written again"


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
    path, rule, use = broken(tmp_path, name), RULE[name], USES.get(name, USE)
    found = inspect_annotations(path, use)
    finding = next(f for f in found.findings if f.rule == name)
    assert finding.outcome is rule.outcome
    others = {f.rule: f.message for f in found.refused if f.rule != name}
    if rule.outcome is Outcome.REFUSED:
        with pytest.raises(InputError) as error:
            read_annotations(path, use)
        for word in (str(path), finding.message, *others.values()):
            assert word in str(error.value)
        return
    assert not others
    # pycocotools sees what was completed, and a file that is complete breaks nothing.
    copy = completed_copy(found)
    assert COCO(str(copy)).dataset == found.content
    left = read_annotations(copy, use).findings
    assert {f.outcome for f in left} <= {Outcome.COUNTED}, "the completed copy is complete"
    assert (copy == path) is (rule.outcome is Outcome.COUNTED)


MEANINGS: dict[str, tuple[Change, Change]] = {
    "no iscrowd": (each(iscrowd=None), each(iscrowd=0)),
    "iscrowd as true": (one(iscrowd=True), one(iscrowd=1)),
    "area of run lengths": (of("annotations", 1, area=...), of("annotations", 1, area=20 * 29)),
    "area of the box": (one(area=NAN, segmentation=[[1, 2, 9, 9]]), one(area=600)),
    "area of the box where the mask is of another scale": (
        each(area=None, segmentation=[[0.1, 0.1, 0.4, 0.1, 0.4, 0.4]]),
        lambda c: [a.update(area=a["bbox"][2] * a["bbox"][3]) for a in c["annotations"]],
    ),
    "ids as text": (each(id="a"), lambda _: None),
    "ids again": (each(id=7), lambda _: None),
    "ids that are large": (one(id=10**30), lambda _: None),
    "no info": (lambda c: c.pop("info"), lambda c: c.pop("info")),
    "a root": (root_category, of("categories", supercategory="circle")),
    "names that look the same": (
        of("categories", name="cercle\u0301\u00a0rond "),
        of("categories", name="cercl\u00e9 rond"),
    ),
    "left out": (one(bbox=[200, 5, 10, 10]), lambda c: c["annotations"].pop(0)),
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


@pytest.mark.parametrize("name", ["./000.jpg", "a/../000.jpg", ".//000.jpg"])
def test_a_file_is_known_by_any_of_its_names(name: str, tmp_path: Path) -> None:
    content = annotated.content()
    again("images", id=99, file_name=name)(content)
    refused = inspect_annotations(annotated.write(tmp_path, content), USE).refused
    assert [f.rule for f in refused] == ["file under several ids, other objects"]


def test_plain_names_are_counted(tmp_path: Path) -> None:
    content = annotated.content()
    content["categories"][0]["name"] = " cir  cle "
    found = read_annotations(annotated.write(tmp_path, content), USE)
    assert found.names[0] == found.summary["categories"][0][0] == "cir cle"


def test_a_root_is_no_other_spelling_of_its_class(tmp_path: Path) -> None:
    content = annotated.content()
    root_category(content)
    content["categories"][1]["name"] += " "
    found = inspect_annotations(annotated.write(tmp_path, content), USE)
    assert not found.refused
    assert "category name by case" not in [f.rule for f in found.findings]


def test_classes_that_look_like_a_files_are_shown_as_they_are(tmp_path: Path) -> None:
    found = read_annotations(annotated.write(tmp_path, annotated.content()), USE)
    with pytest.raises(InputError, match="lack 1 of the 1 classes: 'circle '"):
        found.in_order_of(["circle "])


def test_what_cannot_be_read_is_taken_out_where_it_is_not_used(tmp_path: Path) -> None:
    for name in ("segmentation that is text", "run lengths", "polygon far outside"):
        found = read_annotations(broken(tmp_path, name), Use(train=True))
        assert not found.is_complete
        assert "segmentation" not in found.content["annotations"][0]
        assert "segmentation" in found.content["annotations"][1]
    assert read_annotations(broken(tmp_path, "segmentation"), Use(train=True)).is_complete
    found = read_annotations(broken(tmp_path, "keypoints"), Use(train=True, masks=True))
    assert {"keypoints", "num_keypoints"}.isdisjoint(found.content["annotations"][0])


def test_a_list_of_images_needs_no_annotations(tmp_path: Path) -> None:
    content = annotated.content()
    del content["annotations"]
    path = annotated.write(tmp_path, content)
    assert read_annotations(path, Use(annotated=False)).content["annotations"] == []


def test_categories_are_ordered_by_name(tmp_path: Path) -> None:
    found = read_annotations(annotated.write(tmp_path, annotated.content()), USE)
    ordered = found.in_order_of(("star", "circle"))
    assert ordered.names == ["star", "circle", "square"]
    of_file, of_config = (each.content["categories"] for each in (found, ordered))
    assert of_config == [of_file[place] for place in (2, 0, 1)]
    assert not ordered.is_complete
    assert found.in_order_of(["circle", "square"]) is found
    with pytest.raises(InputError, match=r"its 3 categories .* lack 1 of the 2 classes: moon"):
        found.in_order_of(["circle", "moon"])
