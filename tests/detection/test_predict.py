"""What is found in images without annotations, beside what an evaluation finds in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from detectors import DETECTOR
from PIL import Image

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from pycocotools.coco import COCO

from resnext_backbones.cli import main
from resnext_backbones.datasets import coco_subset
from resnext_backbones.detection.coco_results import ImageList, own_categories
from resnext_backbones.detection.find_images import find_images
from resnext_backbones.runs.errors import InputError

ANNOTATIONS = "annotations/instances_val2017.json"


@pytest.fixture
def root(coco_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images of COCO, in a tree that the configs take."""
    monkeypatch.chdir(tmp_path)
    tree = coco_subset(coco_tiny, tmp_path / "coco", num_train=1, num_val=4)
    monkeypatch.setenv("COCO_ROOT", str(tree))
    return tree


def predict(*arguments: object) -> tuple[list[dict], dict]:
    """Run the command; predictions.json and images.json."""
    main(["predict", "demo_coco", *map(str, arguments), "--cfg-options", *DETECTOR])
    out = Path(str(arguments[arguments.index("--out") + 1]))
    return json.loads((out / "predictions.json").read_bytes()), json.loads(
        (out / "images.json").read_bytes()
    )


def test_predictions_are_those_of_an_evaluation(detector: Path, root: Path, capsys) -> None:
    prefix = root.parent / "tested"
    options = [*DETECTOR, f"test_evaluator.outfile_prefix={prefix}"]
    main(["test", "demo_coco", str(detector), "--work-dir", "run", "--cfg-options", *options])
    boxes, masks = (json.loads(Path(f"{prefix}.{kind}.json").read_text()) for kind in KINDS)
    names = [image["file_name"] for image in json.loads((root / ANNOTATIONS).read_text())["images"]]
    images = [root / "val2017" / name for name in names]
    shared = [detector, *images, "--batch-size", 4, "--no-pictures"]

    listed, _ = predict(*shared, "--out", "listed", "--image-list", root / ANNOTATIONS)
    assert len(listed) == 80
    assert [{k: v for k, v in one.items() if k != "segmentation"} for one in listed] == boxes
    assert [one["segmentation"] for one in listed] == [one["segmentation"] for one in masks]

    counted, written = predict(*shared, "--out", "counted")
    assert [image["file_name"] for image in written["images"]] == names
    sizes = [Image.open(path).size for path in images]
    assert [(image["width"], image["height"]) for image in written["images"]] == sizes
    ids = {image["file_name"]: image["id"] for image in written["images"]}
    assert list(ids.values()) == [1, 2, 3, 4]
    truth = {image["id"]: image["file_name"] for image in COCO(root / ANNOTATIONS).imgs.values()}
    assert counted == [one | {"image_id": ids[truth[one["image_id"]]]} for one in listed]
    read = COCO("counted/images.json").loadRes("counted/predictions.json")
    assert len(read.anns) == 80
    assert read.annToMask(read.anns[1]).shape == sizes[0][::-1]
    assert "done: 80 detections in 4 images: counted" in capsys.readouterr().out


KINDS = ("bbox", "segm")


def test_folders_as_people_have_them(detector: Path, root: Path, capsys) -> None:
    first, second, third, fourth = sorted((root / "val2017").iterdir())
    for name in ("a", "b", ".hidden"):
        (root / "in" / name).mkdir(parents=True)
    (root / "in" / "a" / "x.jpg").write_bytes(first.read_bytes())
    (root / "in" / "b" / "x.jpg").write_bytes(second.read_bytes())
    (root / "in" / "b" / "cut.jpg").write_bytes(third.read_bytes()[:3000])
    (root / "in" / "b" / "readme.txt").write_text("no image")
    (root / "in" / ".hidden" / "y.jpg").write_text("no image")
    Image.open(first).save(root / "in" / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    Image.open(fourth).save(root / "in" / "turned.jpg", exif=turned)

    command = (detector, root / "in", "--out", "found", "--batch-size", 2, "--score-thr", 0.01)
    with pytest.raises(SystemExit) as ended:
        predict(*command)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert "skipped, as their names are not images': readme.txt" in printed.out
    assert "1 of 5 images cannot be read; the results of the others are in found" in printed.err
    assert f"image {root / 'in' / 'b' / 'cut.jpg'}: corrupt or truncated" in printed.err

    found = {image["file_name"]: image for image in json.loads(IMAGES.read_bytes())["images"]}
    assert list(found) == ["grey.png", "turned.jpg", "a/x.jpg", "b/x.jpg"]
    turned_size = found["turned.jpg"]["width"], found["turned.jpg"]["height"]
    assert turned_size == Image.open(fourth).size[::-1]
    predictions = json.loads(Path("found/predictions.json").read_bytes())
    assert {one["image_id"] for one in predictions} == {image["id"] for image in found.values()}
    for name in found:
        assert Image.open(Path("found/pictures") / name).size[0] > 0
    pictures = [Path(f"found/pictures/{name}/x.jpg").read_bytes() for name in ("a", "b")]
    assert pictures[0] != pictures[1]

    with pytest.raises(SystemExit):
        predict(detector, first, "--out", "found")
    assert "--out found: has files; name a new folder" in capsys.readouterr().err
    predict(detector, first, "--out", "found", "--overwrite")
    left = [path for path in Path("found").rglob("*") if path.is_file()]
    assert {path.name for path in left} == {"predictions.json", "images.json", first.name}
    with pytest.raises(SystemExit):
        predict(detector, first, "--out", root, "--overwrite")
    assert "has no images.json, so its files are of something else" in capsys.readouterr().err


IMAGES = Path("found/images.json")


def test_what_names_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/b/2.PNG", "a/b/note.txt", "a/.cache/3.jpg", "c/1.jpg", "odd"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_images(["a", "a/1.jpg"]).names == ("1.jpg", "b/2.PNG")
    assert find_images(["a"]).skipped == (tmp_path / "a/b/note.txt",)
    assert find_images(["a/**/*.jpg", "c"]).names == ("a/1.jpg", "c/1.jpg")
    assert find_images([str(tmp_path / "*" / "1.jpg")]).names == ("a/1.jpg", "c/1.jpg")
    assert find_images(["a/*"]).names == ("1.jpg", "b/2.PNG")
    found = find_images(["odd", "c/1.jpg"])
    assert (found.root, found.names) == (tmp_path, ("odd", "c/1.jpg"))
    for argument, message in {
        "none.jpg": "images none.jpg: there is no such file",
        "*.gif": r"images \*.gif: there is no such file",
        "a/b/*.txt": "none of its 1 files is an image",
    }.items():
        with pytest.raises(InputError, match=message):
            find_images(["a", argument])


def test_ids_are_cocos_or_the_lists(tmp_path: Path) -> None:
    assert own_categories(["person", "toothbrush"]) == [
        {"id": 1, "name": "person"},
        {"id": 90, "name": "toothbrush"},
    ]
    assert [kind["id"] for kind in own_categories(["person", "crate"])] == [1, 2]
    path = tmp_path / "list.json"
    images = [{"id": 7, "file_name": "1.jpg"}, {"id": 8, "file_name": "b/1.jpg"}]
    kinds = [{"id": 4, "name": "crate"}, {"id": 9, "name": "person"}]
    path.write_text(json.dumps({"images": images, "categories": kinds}))
    listed = ImageList(path)
    assert listed.image_ids(tmp_path, ["a/1.jpg", "b/1.jpg"]) == [7, 8]
    assert listed.category_list(["person"]) == [{"id": 9, "name": "person"}]
    with pytest.raises(InputError, match=r"does not list 2\.jpg"):
        listed.image_ids(tmp_path, ["1.jpg", "2.jpg"])
    with pytest.raises(InputError, match="has no category for cat"):
        listed.category_list(["cat", "person"])
