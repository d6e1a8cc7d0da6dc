"""What a run refuses before its first step, or names in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from resnext_backbones import build_backbone
from resnext_backbones.cli import REPORTED
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision.run import TASK, check_thin
from resnext_backbones.weights.preprocessing import RGB

train, evaluate = TASK.train, TASK.evaluate
TRAIN, VAL = "train2017", "val2017"
FCN, VOC, STUFF = "fcn_x50_32x4d_coco", "deeplabv3_x50_32x4d_voc", "fcn_x50_32x4d_cocostuff"

Changes = tuple[tuple[str, ...], dict[str, Any]]
"""Arguments of `config`: the name and settings, and options."""


def given(*settings: str, name: str = "faster_rcnn_x50_32x4d_fpn_coco", **options: Any) -> Any:
    """A fault that is in the settings alone."""
    return lambda *_: ((name, *settings), options)


def weights_of(name: str, folder: Path) -> str:
    state = {k: v.contiguous() for k, v in build_backbone(name).state_dict().items()}
    save_file(state, folder / "weights.safetensors", metadata=RGB.to_metadata())
    return str(folder / "weights.safetensors")


def data_at(root: Path) -> Changes:
    """A detector whose images are elsewhere."""
    loaders = (f"{split}_dataloader.dataset.data_root={root}" for split in ("train", "val"))
    return ("faster_rcnn_x50_32x4d_fpn_coco", *loaders), {}


def copied(coco: Path, folder: Path, change: Callable[[dict], None]) -> Changes:
    """Annotations with a fault, and the real images."""
    root = folder / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in (TRAIN, VAL):
        (root / split).symlink_to(coco / split)
        content = json.loads((coco / f"annotations/instances_{split}.json").read_text())
        if split == TRAIN:
            change(content)
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return data_at(root)


def no_images(coco: Path, folder: Path) -> Changes:
    shutil.copytree(coco / "annotations", folder / "coco/annotations")
    return data_at(folder / "coco")


def empty(coco: Path, folder: Path) -> Changes:
    return copied(coco, folder, lambda content: content.update(images=[], annotations=[]))


def unknown_category(coco: Path, folder: Path) -> Changes:
    def change(content: dict) -> None:
        content["annotations"][0].update(id=77, category_id=9999)

    return copied(coco, folder, change)


def other_categories(coco: Path, folder: Path) -> Changes:
    def change(content: dict) -> None:
        content["categories"][0]["name"] = "somebody"

    return copied(coco, folder, change)


BAD: dict[str, tuple[Callable[[Path, Path], Changes], str]] = {
    "category": (
        unknown_category,
        r"annotation 77 \(annotations.0.\) has a category_id that is not listed: 9999",
    ),
    "categories": (other_categories, "differ in classes: .'person', 'somebody'"),
    "sizes": (given("model.min_size=90"), "min_size 90: must be .* to max_size, which is 80"),
    "number": (given("model.num_classes=7"), "images have 80 classes, and model.num_classes is 7"),
    "classes": (
        given(*(f"{s}_dataloader.dataset.num_classes=300" for s in ("train", "val")), name=STUFF),
        "num_classes 300: must be from 2 to 255",
    ),
    "network": (given("model.network=yolo"), "network must be one of faster_rcnn, .* got 'yolo'"),
    "backbone": (given("model.backbone.variant=x101"), "x101"),
    "argument": (given("model.backbone.nrom=BN"), "nrom"),
    "said twice": (
        given("model.options.max_size=10"),
        "options.max_size cannot be given: the model's max_size settles it",
    ),
    "said twice of masks": (
        given("model.backbone.num_classes=9", name=FCN),
        "backbone.num_classes cannot be given: the model's num_classes settles it",
    ),
    "three stages": (
        given("model.backbone.variant=resnext29_8x64d", name=FCN),
        "name must be a network of 4 stages",
    ),
    "root": (lambda _, f: data_at(f / "absent"), "data root .*absent: .*COCO_ROOT.*annotations/"),
    "annotations": (lambda _, f: data_at(f), "annotation file .*instances_val2017.json: there is"),
    "images": (no_images, "80 of its 80 images are missing"),
    "empty": (empty, "it lists no images; name some"),
    "few": (given("train_dataloader.batch_size=7"), "a step takes 7 images, and there are 6"),
    "voc": (given(name=VOC), "VOCdevkit/VOC2012 .*VOC_ROOT"),
    "masks": (given(name=STUFF), "masks of the data set: there is no folder .*val2017"),
    "one of a batch": (
        given("train_dataloader.batch_size=1", name=FCN),
        "batch_size 1: must be at least 2, since",  # of one process; several have all their images
    ),
    "frozen": (
        given("model.backbone.weights=None", weights=None),
        r"^trainable_layers=3, norm=FrozenBN, but the backbone has no weights: .*random values.*"
        r"set model.backbone.trainable_layers=5 model.backbone.norm=BN\)",
    ),
    "frozen norms": (
        given("model.backbone.weights=None", "model.backbone.trainable_layers=5", weights=None),
        r"^norm=FrozenBN, but the backbone has no weights: .*set model.backbone.norm=BN\)",
    ),
    "no pixels": (
        given("model.data_preprocessor=None"),
        "^model.data_preprocessor: has no mean and std",
    ),
    "no numbers": (given("model.min_size=x"), "min_size x: must be whole numbers from 32"),
    "not for training": (
        given("train_cfg=None", "optim_wrapper=None"),
        "faster_rcnn.*py: has no train_cfg, optim_wrapper, which training needs",
    ),
    "other weights": (
        lambda _, f: (given()()[0], {"weights": weights_of("resnext26_32x4d", f)}),
        "the file holds resnext26_32x4d; the network is tiny_4x4d",
    ),
    "no weights": (
        lambda _, f: (given()()[0], {"weights": str(f / "a.pth")}),
        "a.pth: there is no such file",
    ),
    "no network": (
        given("model.backbone.weights=http://127.0.0.1:9/a.pth", weights=None),  # no one listens
        "put it at .*a.pth",
    ),
    "learning rate": (
        given("optim_wrapper.optimizer.lr=1e30"),
        r"loss of step \d is .*\(loss_.*lower the learning rate",
    ),
    "checkpoint": (
        lambda _, f: (given()()[0], {"resume": weights_of("resnext26_32x4d", f)}),
        "has no meta, message_hub, optimizer, so it cannot be resumed; .*--weights",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named(
    what: str, config: Callable[..., Config], coco_tiny: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MASK_ROOT", str(tmp_path))
    monkeypatch.setenv("VOC_ROOT", str(tmp_path))
    breaks, message = BAD[what]
    positional, options = breaks(coco_tiny.absolute(), tmp_path)
    with pytest.raises(REPORTED, match=message):
        train(config(*positional, **options))
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_broken_image_is_named(
    config: Callable[..., Config], coco_tiny: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(coco_tiny, tmp_path / "coco"))
    for path in (root / TRAIN).iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    positional, _ = data_at(root)
    with pytest.raises(InputError, match=r"image .*train2017/\d+.jpg: cannot be read"):
        train(config(*positional))


def test_pictures_are_of_other_detectors(config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--show-dir: .*MMDetection's"):
        evaluate(config(), "epoch_1.pth", show_dir=tmp_path)


@pytest.mark.parametrize(("width", "height"), [(4000, 8), (4000, 42), (4000, 41), (3, 900)])
def test_images_of_which_nothing_would_be_left(width: int, height: int) -> None:
    """torchvision cuts sizes off, and ends where one is 0."""
    model = {"type": "resnext_backbones.TorchvisionDetector", "min_size": (64, 80), "max_size": 96}
    images = [{"width": width, "height": height, "file_name": "ribbon.png"}]
    dataset = SimpleNamespace(annotations=SimpleNamespace(path=Path("a.json"), images=images))
    resize = GeneralizedRCNNTransform(64, 96, [0.0] * 3, [1.0] * 3).resize
    try:
        resize(torch.zeros(3, height, width))
    except RuntimeError:
        with pytest.raises(InputError, match=rf"a.json: 1 .*ribbon.png \({width} x {height}\)"):
            check_thin(dataset, model)
    else:
        check_thin(dataset, model)
    check_thin(dataset, {"type": "resnext_backbones.TorchvisionSegmenter"})


def test_a_config_may_be_for_training_alone(config: Callable[..., Config]) -> None:
    cfg = config("faster_rcnn_x50_32x4d_fpn_coco")
    for part in ("test_dataloader", "test_evaluator", "test_cfg"):
        cfg.pop(part)
    assert len(TASK.check_data(cfg, "train")) == 80
    with pytest.raises(InputError, match=r"has no test_dataloader, test_evaluator, which an eval"):
        evaluate(cfg, "any.pth")
