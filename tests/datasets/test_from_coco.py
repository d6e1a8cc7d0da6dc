"""A part of a COCO tree is a COCO tree, and its objects are crops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from pycocotools.coco import COCO

from resnext_backbones.data.image_files import ORIENTATION
from resnext_backbones.datasets import SHAPES, coco_subset, object_crops
from resnext_backbones.datasets.from_coco import MARGIN, SMALLEST


def annotations(root: Path, part: str) -> dict:
    return json.loads((root / "annotations" / f"instances_{part}2017.json").read_text())


def test_each_object_is_in_the_folder_of_its_category(shapes_root: Path, tmp_path: Path) -> None:
    assert object_crops(shapes_root, tmp_path / "crops") == sorted(SHAPES)
    for part in ("train", "val"):
        content = annotations(shapes_root, part)
        names = {category["id"]: category["name"] for category in content["categories"]}
        large = [a for a in content["annotations"] if max(a["bbox"][2:]) >= SMALLEST]
        wanted = {f"{names[a['category_id']]}/{a['id']}.jpg" for a in large}
        folder = tmp_path / "crops" / part
        assert {str(path.relative_to(folder)) for path in folder.rglob("*.jpg")} == wanted


def test_a_crop_shows_the_object_in_its_middle(coco_tiny: Path, tmp_path: Path) -> None:
    names = object_crops(coco_tiny, tmp_path / "crops")
    content = annotations(coco_tiny, "val")
    files = {image["id"]: image["file_name"] for image in content["images"]}
    category = {c["id"]: c["name"] for c in content["categories"]}
    a = next(
        a for a in content["annotations"]
        if category[a["category_id"]] in names and not a["iscrowd"] and min(a["bbox"]) > 60
    )  # fmt: skip
    x, y, width, height = a["bbox"]
    with Image.open(coco_tiny / "val2017" / files[a["image_id"]]) as image:
        expected = _around(image.convert("RGB"), x + width / 2, y + height / 2)
    path = tmp_path / "crops" / "val" / category[a["category_id"]] / f"{a['id']}.jpg"
    crop = Image.open(path)
    assert crop.size == (pytest.approx(MARGIN * max(width, height), abs=1),) * 2
    assert np.abs(_around(crop, crop.size[0] / 2, crop.size[1] / 2) - expected).mean() < 12
    crowds = {a["id"] for a in content["annotations"] if a["iscrowd"]}
    assert not crowds & {int(path.stem) for path in (tmp_path / "crops" / "val").rglob("*.jpg")}


def _around(image: Image.Image, x: float, y: float) -> np.ndarray:
    """16 x 16 pixels around a place."""
    patch = image.crop((round(x) - 8, round(y) - 8, round(x) + 8, round(y) + 8))
    return np.asarray(patch.reduce(4), "float32")


def test_a_turned_photograph_gives_the_same_crops(shapes_root: Path, tmp_path: Path) -> None:
    """Boxes are of the image as it is shown."""
    turned = Path(shutil.copytree(shapes_root, tmp_path / "turned"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for path in turned.rglob("*.jpg"):
        with Image.open(path) as image:
            stored = image.transpose(Image.Transpose.ROTATE_90)
        stored.save(path, quality=95, exif=exif)
    of_shown, of_turned = tmp_path / "of_shown", tmp_path / "of_turned"
    object_crops(shapes_root, of_shown)
    object_crops(turned, of_turned)
    for path in of_shown.rglob("*.jpg"):
        both = (path, of_turned / path.relative_to(of_shown))
        shown, again = (np.asarray(Image.open(each), "float32") for each in both)
        assert np.abs(shown - again).mean() < 12, path


def test_one_category_is_too_few(shapes_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "one"
    (root / "annotations").mkdir(parents=True)
    for part in ("train", "val"):
        content = annotations(shapes_root, part)
        content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 1]
        path = root / "annotations" / f"instances_{part}2017.json"
        path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"fewer than two categories are in both parts: \['circle'\]"
    ):
        object_crops(root, tmp_path / "crops")
    assert not (tmp_path / "crops").exists()


@pytest.mark.parametrize(("num_train", "num_val"), [(5, 3), (100, 100)])
def test_subset(shapes_root: Path, tmp_path: Path, num_train: int, num_val: int) -> None:
    root = coco_subset(shapes_root, tmp_path / "part", num_train=num_train, num_val=num_val)
    for split, count in (("train2017", min(num_train, 16)), ("val2017", min(num_val, 8))):
        whole = COCO(shapes_root / "annotations" / f"instances_{split}.json")
        part = COCO(root / "annotations" / f"instances_{split}.json")
        assert len(part.imgs) == count
        for image in part.imgs.values():
            assert (root / split / image["file_name"]).read_bytes()
            assert part.imgToAnns[image["id"]] == whole.imgToAnns[image["id"]]
        assert part.cats == whole.cats
        assert len(list((root / split).iterdir())) == count


def test_a_subset_of_images_in_folders(shapes_root: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        content = annotations(shapes_root, part)
        for image in content["images"]:
            image["file_name"] = f"a/{image['file_name']}"
        (tmp_path / f"{part}2017").mkdir()
        (tmp_path / f"{part}2017" / "a").symlink_to(shapes_root / f"{part}2017")
        path = tmp_path / "annotations" / f"instances_{part}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    root = coco_subset(tmp_path, tmp_path / "part", num_train=2, num_val=1)
    assert len([*(root / "train2017" / "a").iterdir()]) == 2


def test_nothing_is_overwritten_and_nothing_is_left(shapes_root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match=str(tmp_path)):
        coco_subset(shapes_root, tmp_path, num_train=1, num_val=1)
    with pytest.raises(FileNotFoundError, match=r"is .* a COCO tree\?"):
        coco_subset(tmp_path, tmp_path / "part", num_train=1, num_val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
