"""What is found in images without annotations, beside what an evaluation finds in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectors import DETECTOR
from PIL import Image

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS
from mmengine.structures import InstanceData
from pycocotools.coco import COCO

from resnext_backbones.cli import main
from resnext_backbones.data.coco_results import ImageList, own_categories
from resnext_backbones.data.find_images import find_images
from resnext_backbones.datasets import coco_subset
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection import predict as module
from resnext_backbones.tasks.mmdetection.config import load_config
from resnext_backbones.tasks.mmdetection.pictures import check_found, picture_of

ANNOTATIONS = "annotations/instances_val2017.json"


@pytest.fixture
def root(coco_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images of COCO, in a tree that the configs take; two folders have the same names."""
    monkeypatch.chdir(tmp_path)
    tree = coco_subset(coco_tiny, tmp_path / "coco", num_train=1, num_val=4)
    content = json.loads((tree / ANNOTATIONS).read_text())
    names = ("a/1.jpg", "b/1.jpg", "a/2.jpg", "b/2.jpg")
    for image, name in zip(content["images"], names, strict=True):
        path = tree / "val2017" / name
        path.parent.mkdir(exist_ok=True)
        (tree / "val2017" / image["file_name"]).rename(path)
        image["file_name"] = name
    (tree / ANNOTATIONS).write_text(json.dumps(content))
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
    main(
        ["test", "demo_coco", str(detector), "--work-dir", "run", "--show-dir", "shown",
         "--cfg-options", *options]
    )  # fmt: skip
    boxes, masks = (json.loads(Path(f"{prefix}.{kind}.json").read_text()) for kind in KINDS)
    names = [image["file_name"] for image in json.loads((root / ANNOTATIONS).read_text())["images"]]
    images = [root / "val2017" / name for name in names]
    shown = [path.relative_to("shown").as_posix() for path in Path("shown").rglob("*.jpg")]
    assert sorted(shown) == sorted(names)
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


def test_a_picture_shows_what_there_is(tmp_path: Path) -> None:
    """Without `LoadAnnotations`, as for a test set whose truth is secret, there is no truth."""
    path = tmp_path / "a.png"
    Image.new("RGB", (640, 480)).save(path)
    found = InstanceData(bboxes=torch.tensor([[9.0, 9, 60, 60]]), labels=torch.tensor([0]))
    found.scores = torch.tensor([0.9])
    packed = PackDetInputs(meta_keys=("img_path", "ori_shape"))
    image = np.zeros((480, 640, 3), np.uint8)
    made = packed({"img": image, "img_path": str(path), "ori_shape": (480, 640)})
    sample = made["data_samples"]
    with pytest.raises(InputError, match="model MaskFormer: finds no boxes"):
        check_found(sample, {"type": "MaskFormer"})
    sample.pred_instances = found
    check_found(sample, {"type": "MaskRCNN"})
    alone = picture_of(sample, ["x"], [(255, 0, 0)], truth=True)
    assert alone.shape == (480, 640, 3)
    sample.gt_instances = found
    assert picture_of(sample, ["x"], [(255, 0, 0)], truth=True).shape[1] > 2 * 640


def test_folders_as_people_have_them(detector: Path, root: Path, capsys) -> None:
    first, second, third, fourth = sorted((root / "val2017").rglob("*.jpg"))
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
    assert f"image {root / 'in' / 'b' / 'cut.jpg'}: cannot be read: it is truncated" in printed.err

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


def refused(capsys, *arguments: object) -> str:
    """Run the command; the message of exit status 2."""
    with pytest.raises(SystemExit) as ended:
        predict(*arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_what_an_interrupted_call_left_is_replaced_and_no_other_file(
    detector: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    drawn = []

    def interrupted(*args: object, **options: object) -> object:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(args)
        return picture_of(*args, **options)

    picture_of = module.picture_of
    folder = root / "val2017"
    images, out = folder / "*" / "*.jpg", folder / "a" / "found"
    command = (detector, images, folder, "--out", out, "--score-thr", 0.01)
    monkeypatch.setattr(module, "picture_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(*command)
    names = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]
    listed = json.loads((out / "images.json").read_text())["images"]
    assert [image["file_name"] for image in listed] == names
    # The folder contains the pictures, which are no images to look at.
    monkeypatch.setattr(module, "picture_of", picture_of)
    _, written = predict(*command, "--overwrite")
    assert [image["file_name"] for image in written["images"]] == names
    drawn.clear()
    monkeypatch.setattr(module, "picture_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(*command, "--overwrite")
    assert len(list((out / "pictures").rglob("*.jpg"))) == 2
    assert not (out / "predictions.json").exists()

    again = (detector, folder, "--out", out, "--overwrite")
    mine = root / "mine.jpg"
    mine.touch()
    outside = json.dumps({"images": [{"file_name": str(mine)}]})
    up = json.dumps({"images": [{"file_name": "../../../../mine.jpg"}]})
    for text, message in {
        '{"images": [': "its images.json is damaged or of something else",
        "[]": "its images.json is damaged or of something else",
        outside: "its images.json names images outside pictures/",
        up: "its images.json names images outside pictures/",
    }.items():
        (out / "images.json").write_text(text)
        assert message in refused(capsys, *again)
    assert mine.exists()
    assert len(list((out / "pictures").rglob("*.jpg"))) == 2
    message = refused(capsys, detector, out / "pictures" / "a" / "1.jpg", "--out", out)
    assert "whose pictures are replaced; write to another folder" in message
    assert "-1: use a whole number, zero or more" in refused(capsys, *again, "--workers", -1)


def test_pixels_are_those_of_the_run(detector: Path, root: Path, capsys) -> None:
    cfg = load_config("demo_coco", DETECTOR)
    saved = torch.load(detector, weights_only=False)
    for mean, pixels in ((cfg.model.data_preprocessor.mean, "same"), ([1.0, 2.0, 3.0], "other")):
        cfg.model.data_preprocessor.mean = mean
        meta = saved["meta"] | {"cfg": cfg.pretty_text}
        torch.save(saved | {"meta": meta}, f"{pixels}.pth")
    image = root / "val2017/a/1.jpg"
    assert predict("same.pth", image, "--out", "same")[0]
    message = refused(capsys, "other.pth", image, "--out", "other")
    assert "checkpoint other.pth: its run had pixels" in message
    assert not Path("other").exists()


def test_transforms_may_be_classes(detector: Path, root: Path) -> None:
    cfg = load_config("demo_coco", DETECTOR)
    images = find_images([str(root / "val2017/a/1.jpg")])
    expected = module.predict(cfg, str(detector), images, Path("names"), score_thr=None)
    for step in cfg.test_dataloader.dataset.pipeline:
        step.type = TRANSFORMS.get(step.type)
        assert isinstance(step.type, type)
    assert module.predict(cfg, str(detector), images, Path("classes"), score_thr=None) == expected
    results = [Path(name, "predictions.json").read_bytes() for name in ("names", "classes")]
    assert results[0] == results[1]


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
    above = ["odd", "c/../a/1.jpg", "a/b/../../c", "c/../a/*.jpg"]
    found = find_images(above)
    assert (found.root, found.names) == (tmp_path, ("odd", "a/1.jpg", "c/1.jpg"))
    (tmp_path / "link").symlink_to("a/b")
    assert find_images(["link/../1.jpg"]).root == tmp_path / "a"
    assert find_images(["link/2.PNG"]).root == tmp_path / "link"
    assert find_images(["a", "**/*.jpg"], Path("link")).names == ("a/1.jpg", "c/1.jpg")
    with pytest.raises(InputError, match="images a/b: in link, whose pictures are replaced"):
        find_images(["a/b"], Path("link"))
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
