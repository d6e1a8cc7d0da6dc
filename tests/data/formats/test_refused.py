"""Labels that are wrong are named with their place, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("supervision", reason="supervision is not installed")

from data.formats import trees

from resnext_backbones.data.formats.convert import to_coco
from resnext_backbones.data.formats.labels import Source
from resnext_backbones.errors import InputError

Damage = Callable[[Path], object]


def rewrite(name: str, old: str, new: str) -> Damage:
    """Changes a file of a tree, where the text is there."""

    def change(root: Path) -> None:
        path = next(iter(sorted(root.rglob(name))))
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def remove(name: str) -> Damage:
    return lambda root: next(iter(sorted(root.rglob(name)))).unlink()


def write(name: str, data: bytes) -> Damage:
    return lambda root: (root / name).write_bytes(data)


REFUSED: dict[str, tuple[str, Damage, str]] = {
    "four numbers": (
        "yolo",
        rewrite("a.txt", trees.A_YOLO, "0 .5 .5 .2\n"),
        r"a\.txt line 1: .*5 tokens",
    ),
    "a word": ("yolo", rewrite("a.txt", trees.A_YOLO, "0 .5 x .2 .2\n"), r"a\.txt line 1: .*'x'"),
    "nan": ("yolo", rewrite("a.txt", trees.A_YOLO, "0 .1 .1 nan .2 .3 .3\n"), r"line 1: .*finite"),
    "pixels": (
        "yolo",
        rewrite("a.txt", trees.A_YOLO, "0 50 25 20 10\n"),
        r"line 1: 50 is no fraction",
    ),
    "negative width": (
        "yolo",
        rewrite("a.txt", trees.A_YOLO, "0 .5 .5 -.2 .2"),
        r"line 1: .*non-negative",
    ),
    "odd polygon": (
        "yolo",
        rewrite("a.txt", trees.A_YOLO, "0 .1 .1 .2 .2 .3 .3 .4"),
        r"1: its 7 coord",
    ),
    "unlisted class": (
        "yolo",
        rewrite("a.txt", trees.A_YOLO, "1 .5 .5 .2 .2"),
        r"1: class 1 has no name",
    ),
    "half a class": ("yolo", rewrite("a.txt", trees.A_YOLO, "0.5 .5 .5 .2 .2"), r"line 1: .*'0.5'"),
    "no such image": ("yolo", remove("a.png"), r"a\.txt: there is no image of these labels"),
    "not text": ("yolo", write("labels/a.txt", b"\xff\xfe0"), r"a\.txt: cannot be read as text"),
    "names": ("yolo", rewrite("data.yaml", "[x]", "[no]"), r"data\.yaml: `names` is \[False\]"),
    "a number of names": ("yolo", rewrite("data.yaml", "[x]", "5"), r"data\.yaml: `names` is 5"),
    "a name twice": ("yolo", rewrite("data.yaml", "nc: 1\nnames: [x]", "names: [x, x]"), r"'x' mo"),
    "keypoints": (
        "yolo",
        rewrite("a.txt", trees.A_YOLO, "0 .5 .5 .2 .2 .5 .5 2 .6 .6 2"),
        r"kpt_shape",
    ),
    "count": ("yolo", rewrite("data.yaml", "nc: 1", "nc: 2"), r"nc: 2, and has 1 names"),
    "split": (
        "yolo",
        rewrite("data.yaml", "train:", "val:"),
        r"no split 'train'; --split takes val",
    ),
    "yaml": ("yolo", write("data.yaml", b"names: [x\n: {"), r"data\.yaml: is not YAML"),
    "no image": ("yolo", write("images/a.png", b"GIF89a"), r"a\.png: cannot be read"),
    "half a polygon": (
        "voc",
        rewrite("a.xml", "<bndbox>", "<polygon><x1>1</x1></polygon><bndbox>"),
        r"object 1 \(x\): its polygon has 1 coordinates",
    ),
    "broken XML": (
        "voc",
        rewrite("a.xml", "</name>", ""),
        r"a\.xml: cannot be read .* line 1, column",
    ),
    "entities": (
        "voc",
        write("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
        r"a\.xml: cann",
    ),
    "no box": ("voc", rewrite("a.xml", "bndbox>", "box>"), r"a\.xml"),
    "a word in XML": (
        "voc",
        rewrite("a.xml", trees.A_VOC, "<xmin>a</xmin>"),
        r"object 1 \(x\): .*'a'",
    ),
    "far outside": (
        "voc",
        rewrite("a.xml", trees.A_VOC, "<xmin>4e9</xmin>"),
        r"object 1 \(x\): is from",
    ),
    "another size": ("voc", rewrite("a.xml", "width>100", "width>50"), r"says 50 x 50 .* has 100"),
    "no name": ("voc", rewrite("a.xml", ">x<", "><"), r"object 1 \(\): "),
    "XML without image": ("voc", remove("a.png"), r"a\.xml: its image a\.png is not in"),
    "half a circle": (
        "labelme",
        rewrite("a.json", trees.A_LABELME, '"points": [[2, 2]]'),
        r"two points",
    ),
    "no points": (
        "labelme",
        rewrite("a.json", '"points"', '"dots"'),
        r"shape 1 \(x\): a circle has",
    ),
    "two corners": ("labelme", rewrite("a.json", "circle", "polygon"), r"at least 3"),
    "star": ("labelme", rewrite("a.json", "circle", "star"), r"shape_type 'star' is not known"),
    "no label": ("labelme", rewrite("a.json", '"x"', "null"), r"shape 1 \(None\): has no label"),
    "elsewhere": (
        "labelme",
        rewrite("a.json", "a.png", "C:\\\\\\\\b.png"),
        r"imagePath 'C:.*IMAGES",
    ),
    "broken JSON": ("labelme", write("a.json", b'{"a": ['), r"a\.json: cannot be read as JSON"),
    "far away": ("labelme", rewrite("a.json", "[30, 20]", "[3e9, 20]"), r"far outside the image"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_named_with_its_place(what: str, tmp_path: Path) -> None:
    kind, damage, message = REFUSED[what]
    root = tmp_path / kind
    if kind == "labelme":
        shape = {"label": "x", "shape_type": "circle", "points": [[20, 20], [30, 20]]}
        trees.labelme_file(root, [shape])
    else:
        images, labels = (root / name for name in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir()
        Image.new("RGB", (100, 50)).save((images if kind == "yolo" else root) / "a.png")
    if kind == "yolo":
        (root / "data.yaml").write_text("train: images\nnc: 1\nnames: [x]\n")
        (labels / "a.txt").write_text(trees.A_YOLO)
        Image.new("RGB", (100, 50)).save(images / "b.png")
    if kind == "voc":
        (root / "a.xml").write_text(trees.VOC_FILE)
    to_coco(kind, Source(root), tmp_path / "good.json")
    damage(root)
    with pytest.raises(InputError, match=message):
        to_coco(kind, Source(root), tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
