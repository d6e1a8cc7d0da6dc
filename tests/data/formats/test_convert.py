"""What YOLO, Pascal VOC and LabelMe say of real images is the same in COCO's format."""

from __future__ import annotations

import base64
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("supervision", reason="supervision is not installed")

from data.formats import trees
from pycocotools.coco import COCO

from resnext_backbones.data.formats.convert import Converted, to_coco
from resnext_backbones.data.formats.labels import Source
from resnext_backbones.data.image_check import check_images


def converted(
    kind: str, path: Path, out: Path, **options: Any
) -> tuple[Converted, dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The annotations of each file of an image, and all that was written."""
    done = to_coco(kind, Source(path, **options), out)
    content = json.loads(out.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    of = defaultdict(list)
    for a in content["annotations"]:
        of[Path(files[a["image_id"]]).name].append({**a, "name": names[a["category_id"]]})
        assert (done.images_root / files[a["image_id"]]).is_file()
    COCO(out)
    return done, of, content


@pytest.mark.parametrize("segment", [False, True])
def test_yolo(segment: bool, coco_tiny: Path, tmp_path: Path) -> None:
    path = trees.write_yolo(coco_tiny, tmp_path / "yolo", segment=segment)
    done, of, content = converted("yolo", path, tmp_path / "out.json")
    assert [c["name"] for c in content["categories"]] == trees.classes(coco_tiny)
    total = 0
    for image, objects in trees.truth(coco_tiny):
        found = of[image["file_name"]]
        total += len(found)
        half = 0.6e-6 * max(image["width"], image["height"])  # of six decimals
        for (name, a), b in zip(objects, found, strict=True):
            assert b["name"] == name
            assert b["iscrowd"] == 0
            if segment:
                (polygon,) = b["segmentation"]
                assert polygon == pytest.approx(a["segmentation"][0], abs=half + 1e-4)
                xs, ys = polygon[::2], polygon[1::2]
                wanted = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
                assert b["bbox"] == pytest.approx(wanted, abs=1e-3)
                if len(a["segmentation"]) == 1:  # the file's area is that of the mask's pixels
                    assert b["area"] == pytest.approx(a["area"], rel=0.1, abs=20)
            else:
                assert b["bbox"] == pytest.approx(a["bbox"], abs=2 * half + 1e-3)
                assert "segmentation" not in b
    assert total == done.account.labels == done.account.objects > 50


def test_voc(coco_tiny: Path, tmp_path: Path) -> None:
    done, of, _ = converted(
        "voc", trees.write_voc(coco_tiny, tmp_path / "voc"), tmp_path / "o.json"
    )
    difficult = 0
    for image, objects in trees.truth(coco_tiny):
        for number, ((name, a), b) in enumerate(zip(objects, of[image["file_name"]], strict=True)):
            assert b["name"] == name
            corners = [b["bbox"][0] + b["bbox"][2], b["bbox"][1] + b["bbox"][3]]
            x, y, w, h = a["bbox"]
            assert [*b["bbox"][:2], *corners] == pytest.approx([x, y, x + w, y + h], abs=0.501)
            assert b["difficult"] == b["iscrowd"] == number % 2
            assert b["occluded"] == (number % 3 == 0)
            difficult += b["difficult"]
    (noticed,) = [n for n in done.account.noticed if n.startswith("difficult")]
    assert done.account.noticed[noticed] == difficult > 10
    assert done.account.labels == done.account.objects > 50


def test_labelme(coco_tiny: Path, tmp_path: Path) -> None:
    path = trees.write_labelme(coco_tiny, tmp_path / "labelme")
    done, of, _ = converted("labelme", path, tmp_path / "out.json")
    assert done.images_root == tmp_path / "labelme" / "images"
    parts = 0
    for image, objects in trees.truth(coco_tiny):
        for number, ((name, a), b) in enumerate(zip(objects, of[image["file_name"]], strict=True)):
            assert b["name"] == name
            assert b["bbox"] == pytest.approx(a["bbox"], abs=0.01)
            if number % 3 == 2:
                assert "segmentation" not in b
                assert b["area"] == pytest.approx(a["bbox"][2] * a["bbox"][3], abs=0.1)
            else:
                assert len(b["segmentation"]) == len(a["segmentation"])
                for mine, theirs in zip(b["segmentation"], a["segmentation"], strict=True):
                    assert mine == pytest.approx(theirs, abs=1e-4)
                parts += len(a["segmentation"]) - 1
    assert done.account.joined == parts > 5
    assert done.account.labels == done.account.objects + parts


def test_shapes_of_labelme(tmp_path: Path) -> None:
    part = np.array([[1, 1, 0], [1, 0, 0]], "uint8") * 255
    Image.fromarray(part).save(data := io.BytesIO(), "PNG")
    shape = {"label": "x", "shape_type": "circle", "points": [[20, 20], [30, 20]]}
    mask = {
        "shape_type": "mask",
        "points": [[5, 7], [7, 8]],
        "mask": base64.b64encode(data.getvalue()).decode(),
    }
    shapes = [
        shape,
        {**shape, **mask},
        {**shape, **mask, "group_id": 3},
        {**shape, "shape_type": "polygon", "points": [[0, 0], [4, 0], [4, 4]], "group_id": 3},
        {**shape, "shape_type": "point", "points": [[3, 3]]},
        {**shape, "shape_type": "line", "points": [[3, 3], [4, 4]]},
    ]
    folder = trees.labelme_file(tmp_path / "shapes", shapes)
    done, of, _ = converted("labelme", folder, tmp_path / "out.json")
    circle, alone, both = of["a.png"]
    assert circle["bbox"] == pytest.approx([10, 10, 20, 20], abs=1e-3)
    assert circle["area"] == pytest.approx(np.pi * 100, rel=0.02)
    masks = COCO(tmp_path / "out.json")
    assert alone["bbox"] == [5, 7, 2, 2]
    assert (masks.annToMask(alone)[7:9, 5:8] == part // 255).all()
    assert masks.annToMask(alone).sum() == alone["area"] == 3
    assert both["bbox"] == [0, 0, 7, 9]
    assert masks.annToMask(both).sum() == both["area"] == 3 + 6
    assert done.account.labels == 6
    assert done.account.joined == 1
    assert done.account.left_out == {"point: has no area": 1, "line: has no area": 1}


def test_what_is_odd_is_kept_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "yolo"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (100, 50)).save(root / "images" / f"{name}.png")
    (root / "data.yaml").write_text("train: images\nnames: {0: x, 7: y}\nkpt_shape: [1, 3]\n")
    lines = "\ufeff7 .5 .5 .2 .2\n\n0.0 .5 .5 .2 .2 .9\n0 .5 .5 .2 .2 .1 .1 2\n0 .9 .9 .4 .4\n"
    (root / "labels" / "a.txt").write_text(lines)
    (root / "labels" / "classes.txt").write_text("x\ny\n")
    done, of, content = converted("yolo", root, tmp_path / "out.json")
    assert [a["bbox"] for a in of["a.png"]] == [
        *[pytest.approx([40, 20, 20, 10], abs=1e-3)] * 3,
        pytest.approx([70, 35, 40, 20], abs=1e-3),
    ]
    assert of["a.png"][0]["name"] == "y"
    assert [c["name"] for c in content["categories"]] == ["x", "y"]
    assert sorted(done.account.noticed.values()) == [1, 1, 1]
    assert "b.txt" in done.account.first["image without a label file: taken as one without objects"]


@pytest.mark.parametrize("listed", ["data.yaml", "classes.txt", "empty.yaml", ""])
def test_numbers_of_yolo_keep_their_names_in_another_order(listed: str, tmp_path: Path) -> None:
    """A list of classes orders names where the labels have them, and else gives them."""
    (root := tmp_path / "yolo").mkdir()
    Image.new("RGB", (100, 50)).save(root / "a.png")
    (root / "a.txt").write_text(trees.A_YOLO)
    text = {
        "data.yaml": "train: .\nnames: [cat, dog]\n", "classes.txt": "cat\ndog\n",
        "empty.yaml": "train: .\nnames:\n",
    }  # fmt: skip
    if listed:
        (root / listed).write_text(text[listed])
    (tmp_path / "here").mkdir()
    again = tmp_path / "here" / ".." / "yolo"
    _, of, content = converted("yolo", again, tmp_path / "out.json", classes=("dog", "cat"))
    assert [c["name"] for c in content["categories"]] == ["dog", "cat"]
    assert of["a.png"][0]["name"] == ("cat" if listed in ("data.yaml", "classes.txt") else "dog")


def test_a_data_yaml_may_lie_beside_its_images(tmp_path: Path) -> None:
    """As Ultralytics' own do, whose `path` begins with `..`."""
    for folder in ("settings", "mine/images", "mine/labels"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (100, 50)).save(tmp_path / "mine" / "images" / "a.png")
    (tmp_path / "mine" / "labels" / "a.txt").write_text(trees.A_YOLO)
    text = "path: ../mine\ntrain: images\nnames: [x]\n"
    (tmp_path / "settings" / "data.yaml").write_text(text)
    _, of, _ = converted("yolo", tmp_path / "settings" / "data.yaml", tmp_path / "out.json")
    assert len(of["a.png"]) == 1


def test_a_split_of_voc_is_a_list_with_blank_lines(tmp_path: Path) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (100, 50)).save(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations" / "a.xml").write_text(trees.VOC_FILE)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a  1\n \nb 1\n")
    Image.new("RGB", (100, 50)).save(tmp_path / "JPEGImages" / "b 1.png")
    (tmp_path / "Annotations" / "b 1.xml").write_text(trees.VOC_FILE.replace("a.png", "b 1.png"))
    done = to_coco("voc", Source(tmp_path, split="train"), tmp_path / "out.json")
    assert done.images == done.account.objects == 2


def test_turned_boxes_and_parts_of_voc(tmp_path: Path) -> None:
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    box = "<bndbox><xmin>{}</xmin><ymin>5</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    polygon = "<polygon><x1>2</x1><y1>2</y1><x2>9</x2><y2>2</y2><x3>9</x3><y3>9</y3></polygon>"
    turned = "<cx>50</cx><cy>40</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle>"
    text = (
        f"<object><name>x</name>{box.format(0)}</object>"
        f"<object><name>x</name>{box.format(4)}{polygon}"
        f"<part><name>hand</name>{box.format(9)}</part></object>"
        f"<object><name> y\n</name><robndbox>{turned}</robndbox></object>"
    )
    (tmp_path / "a.xml").write_text(f"<annotation><filename>other</filename>{text}</annotation>")
    done, of, _ = converted("voc", tmp_path, tmp_path / "out.json")
    first, second, third = of["a.png"]
    assert first["bbox"] == [0, 4, 20, 26]
    assert second["bbox"] == [3, 4, 17, 26]
    assert second["segmentation"] == [[1, 1, 8, 1, 8, 8]]
    assert third["name"] == "y"
    assert third["bbox"] == [45, 30, 10, 20]
    assert third["area"] == 200
    assert done.account.noticed.total() == 5  # name, size, edge, part, turned
    assert done.account.labels == 3


VOC = (
    "<annotation><filename>a.jpg</filename><size><width>{}</width><height>{}</height></size>"
    "<object><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object></annotation>"
)


def test_a_turned_photograph_has_the_size_that_is_shown(coco_tiny: Path, tmp_path: Path) -> None:
    source = next((coco_tiny / "val2017").glob("*.jpg"))
    with Image.open(source) as image:
        width, height = image.size
        exif = image.getexif()
        exif[0x0112] = 6
        (tmp_path / "classes.txt").write_text("x\n")
        image.save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "a.txt").write_text("0 .5 .5 1 1\n")
    _, of, content = converted("yolo", tmp_path, tmp_path / "out.json")
    assert [content["images"][0][side] for side in ("width", "height")] == [height, width]
    assert of["a.jpg"][0]["bbox"] == [0, 0, height, width]
    # A size in the file says which way it was labelled, as in COCO's format.
    for said, noticed in (((height, width), 0), ((width, height), 1)):
        text = VOC.format(*said, *said)
        (tmp_path / "a.xml").write_text(text)
        done, of, content = converted("voc", tmp_path, tmp_path / "out.json")
        assert tuple(content["images"][0][side] for side in ("width", "height")) == said
        assert of["a.jpg"][0]["bbox"] == [0, 0, *said]
        assert sum(n for what, n in done.account.noticed.items() if "EXIF" in what) == noticed
        check_images(tmp_path / "out.json", content["images"], tmp_path, warn=lambda _: None)
