"""The generated dataset is read back with COCO's own reader."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from resnext_backbones.datasets import SHAPES, generate_shapes, shapes

COCO = pytest.importorskip("pycocotools.coco").COCO

NUM_TRAIN, NUM_VAL, HEIGHT, WIDTH = 40, 20, 96, 128
SPLITS = ("train2017", "val2017")


def generate(root, **changes):
    sizes = {"num_train": NUM_TRAIN, "num_val": NUM_VAL, "image_size": (HEIGHT, WIDTH)}
    return generate_shapes(root, **{**sizes, "seed": 3, **changes})


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("shapes") / "coco")


@pytest.fixture(scope="module", params=SPLITS)
def split(request, root):
    """(COCO reader, directory of the images) of one split."""
    coco = COCO(str(root / "annotations" / f"instances_{request.param}.json"))
    return coco, root / request.param


def scenes(split):
    """For every image: its pixels (H, W, 3) in BGR, its annotations and their masks."""
    coco, directory = split
    for image in coco.loadImgs(coco.getImgIds()):
        pixels = cv2.imread(str(directory / image["file_name"]))
        annotations = coco.imgToAnns[image["id"]]
        yield pixels, annotations, [coco.annToMask(a).astype(bool) for a in annotations]


def saturation(pixels):
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV)[..., 1]


def test_layout_and_images(root, split):
    coco, directory = split
    count = NUM_TRAIN if directory.name == "train2017" else NUM_VAL
    assert sorted(path.name for path in root.iterdir()) == ["annotations", *SPLITS]
    assert sorted(path.name for path in directory.iterdir()) == sorted(
        image["file_name"] for image in coco.dataset["images"]
    )
    assert len(coco.imgs) == count
    for image in coco.dataset["images"]:
        assert image["file_name"] == f"{image['id']:012d}.jpg"
        assert (image["height"], image["width"]) == (HEIGHT, WIDTH)
        assert cv2.imread(str(directory / image["file_name"])).shape == (HEIGHT, WIDTH, 3)
    licenses = {entry["id"] for entry in coco.dataset["licenses"]}
    assert {image["license"] for image in coco.dataset["images"]} <= licenses
    assert coco.dataset["info"]["description"]


def test_categories(split):
    coco, _ = split
    assert [
        (category["id"], category["name"], category["supercategory"])
        for category in coco.dataset["categories"]
    ] == [(number, name, "shape") for number, name in enumerate(SHAPES, start=1)]
    assert {a["category_id"] for a in coco.dataset["annotations"]} == set(coco.cats)
    assert len(coco.anns) == len(coco.dataset["annotations"]), "ids are not unique"
    assert {a["iscrowd"] for a in coco.dataset["annotations"]} == {0}


def test_masks_agree_with_boxes_and_areas(split):
    for _, annotations, masks in scenes(split):
        assert annotations
        for annotation, mask in zip(annotations, masks, strict=True):
            ys, xs = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert (x, y) == (xs.min(), ys.min())
            assert (x + width, y + height) == (xs.max() + 1, ys.max() + 1)
            assert annotation["area"] == mask.sum() >= 50
            for polygon in annotation["segmentation"]:
                assert len(polygon) >= 8
                assert min(polygon) >= 0
                assert max(polygon[::2]) <= WIDTH
                assert max(polygon[1::2]) <= HEIGHT


def test_instances_do_not_overlap_but_hide_each_other(split):
    contacts = []
    for _, _, masks in scenes(split):
        assert np.sum(masks, axis=0).max() == 1
        grown = [cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) for mask in masks]
        contacts.append(int((np.sum(grown, axis=0) > 1).sum()))
    # One shape cuts into another along more than the point where two could touch.
    assert np.mean(np.array(contacts) > 30) > 0.3


def test_no_shape_has_a_hole():
    """A polygon around a hole would decode to what covers the hole as well."""
    disc = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (40, 40), 30, 1, -1)
    ring = cv2.circle(disc.copy(), (40, 40), 5, 0, -1)
    assert shapes._acceptable(disc.astype(bool), int(disc.sum()))
    assert not shapes._acceptable(ring.astype(bool), int(disc.sum()))


def test_pixels_inside_a_mask_are_the_drawn_shape(split):
    """Shapes are saturated and of one hue, what surrounds them all is greyish."""
    core = np.ones((5, 5))
    for pixels, _, masks in scenes(split):
        inside = saturation(pixels)
        background = cv2.erode((~np.any(masks, axis=0)).astype(np.uint8), core).astype(bool)
        assert np.mean(inside[background] < 110) > 0.97
        for mask in masks:
            inner = cv2.erode(mask.astype(np.uint8), core).astype(bool)
            if inner.sum() < 20:
                continue
            assert np.mean(inside[inner] > 130) > 0.97
            bgr = pixels[inner].astype(float)
            chroma = bgr / bgr.sum(axis=1, keepdims=True)  # shading cancels
            assert chroma.std(axis=0).max() < 0.06


def test_outlines_are_those_of_the_category(split):
    """On average a whole shape fills its smallest circle and its hull as its name says."""
    expected = {  # less than the ideal shape does, as the outlines are steps of whole pixels
        "circle": (0.91, 0.96),
        "square": (0.63, 0.93),
        "triangle": (0.42, 0.91),
        "star": (0.41, 0.54),
        "cross": (0.64, 0.73),
    }
    found = {name: [] for name in SHAPES}
    coco, _ = split
    frame = np.pad(np.zeros((HEIGHT - 2, WIDTH - 2), bool), 1, constant_values=True)
    for _, annotations, masks in scenes(split):
        for annotation, mask in zip(annotations, masks, strict=True):
            others = np.any([frame, *(other for other in masks if other is not mask)], axis=0)
            if (cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))).astype(bool) & others).any():
                continue  # perhaps not whole
            outline = np.reshape(annotation["segmentation"][0], (-1, 2)).astype(np.float32)
            _, radius = cv2.minEnclosingCircle(outline)
            hull = cv2.contourArea(cv2.convexHull(outline))
            name = coco.cats[annotation["category_id"]]["name"]
            found[name].append((mask.sum() / (np.pi * radius**2), mask.sum() / hull))
    for name, fills in found.items():
        assert np.mean(fills, axis=0) == pytest.approx(expected[name], abs=0.04), name


def test_same_arguments_write_same_bytes(root, tmp_path):
    assert digests(generate(tmp_path / "again")) == digests(root)
    other = digests(generate(tmp_path / "other", seed=4))
    assert not set(other.values()) & set(digests(root).values())


def test_splits_have_nothing_in_common(root, tmp_path):
    files = digests(root)
    assert len(set(files.values())) == len(files), "an image occurs twice"
    # The random streams are apart: the val images stay what they are.
    more = digests(generate(tmp_path / "more", num_train=NUM_TRAIN + 1))
    assert [d for name, d in files.items() if name.startswith("val")] == [
        d for name, d in more.items() if name.startswith("val")
    ]
    train, val = (
        json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        for split in SPLITS
    )
    assert not {i["id"] for i in train["images"]} & {i["id"] for i in val["images"]}


def test_does_not_overwrite(tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="taken"):
        generate(taken)
    with pytest.raises(FileExistsError, match=r"mine\.txt"):
        generate(taken / "mine.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "mine.txt"]
    assert (taken / "mine.txt").read_text() == "keep"


def test_fills_an_empty_directory_and_makes_parents(tmp_path):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert generate(root, num_train=1, num_val=1) == root
        assert (root / "val2017" / "000000000002.jpg").is_file()


def test_writes_nothing_if_it_fails(tmp_path, monkeypatch):
    written = []

    def fail(path, _):
        if len(written) == 3:
            raise OSError("disk full")
        written.append(path)

    monkeypatch.setattr(shapes, "_write_jpeg", fail)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path / "coco")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_train", 0),
        ("num_train", 2.0),
        ("num_val", -1),
        ("image_size", (128,)),
        ("image_size", (31, 128)),
        ("image_size", (128, 64.5)),
        ("seed", -1),
    ],
)
def test_bad_arguments_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match="at least") as error:
        generate(tmp_path / "coco", **{name: value})
    assert str(error.value).startswith(name)
    assert repr(value) in str(error.value)
    assert not list(tmp_path.iterdir())
