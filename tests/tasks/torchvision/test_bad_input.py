"""What a run refuses before its first step, or names in it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from resnext_backbones import build_backbone
from resnext_backbones.commands.arguments import REPORTED
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision import Settings, train
from resnext_backbones.tasks.torchvision.instances import TRAIN, VAL
from resnext_backbones.weights.preprocessing import BGR, RGB

CPU = torch.device("cpu")


def bgr_weights(run: Settings, folder: Path) -> dict[str, Any]:
    state = {k: v.contiguous() for k, v in build_backbone(run.backbone).state_dict().items()}
    save_file(state, folder / "weights.safetensors", metadata=BGR.to_metadata())
    return {"weights": str(folder / "weights.safetensors")}


def other_weights(_: Settings, folder: Path) -> dict[str, Any]:
    state = build_backbone("resnext26_32x4d").state_dict()
    state = {k: v.contiguous() for k, v in state.items()}
    save_file(state, folder / "weights.safetensors", metadata=RGB.to_metadata())
    return {"weights": str(folder / "weights.safetensors")}


def no_annotations(_: Settings, folder: Path) -> dict[str, Any]:
    (folder / "coco").mkdir()
    return {"coco_root": folder / "coco"}


def no_images(run: Settings, folder: Path) -> dict[str, Any]:
    assert run.coco_root
    shutil.copytree(run.coco_root / "annotations", folder / "coco/annotations")
    return {"coco_root": folder / "coco"}


def empty(_: Settings, folder: Path) -> dict[str, Any]:
    (folder / "coco/annotations").mkdir(parents=True)
    for split in (TRAIN, VAL):
        text = json.dumps({"images": [], "annotations": [], "categories": []})
        (folder / f"coco/annotations/instances_{split}.json").write_text(text)
    return {"coco_root": folder / "coco"}


def unknown_category(run: Settings, folder: Path) -> dict[str, Any]:
    shutil.copytree(run.coco_root / "annotations", folder / "coco" / "annotations")
    path = folder / "coco" / "annotations" / f"instances_{TRAIN}.json"
    content = json.loads(path.read_text())
    content["annotations"][0].update(id=77, category_id=9999)
    path.write_text(json.dumps(content))
    return {"coco_root": folder / "coco"}


BAD = {
    "category": (unknown_category, "annotation 77 has a category_id that is not listed"),
    "sizes": (lambda *_: {"min_size": (90,)}, "--min-size 90: .* --max-size, which is 80"),
    "log": (lambda *_: {"log_every": 0}, "--log-every 0: must be at least 1"),
    "steps": (lambda *_: {"lr_steps": (11, 8)}, "--lr-steps 11 8: must be increasing epochs"),
    "classes": (
        lambda _, f: {"mask_root": f, "num_classes": 300, "model": "fcn"},
        "--num-classes 300: at most 255",
    ),
    "model": (lambda *_: {"model": "yolo"}, "--model yolo: unknown; choose from faster_rcnn"),
    "backbone": (lambda *_: {"backbone": "x101"}, "--backbone x101: unknown"),
    "three stages": (
        lambda *_: {"backbone": "resnext29_8x64d", "model": "fcn", "model_options": {}},
        "--backbone resnext29_8x64d: name must be a network of 4 stages",
    ),
    "root": (lambda _, f: {"coco_root": f / "absent"}, "--coco-root .*absent: .*annotations/"),
    "annotations": (no_annotations, "annotation file .*instances_train2017.json: there is no"),
    "images": (no_images, "80 of its 80 images are missing"),
    "empty": (empty, "lists no images"),
    "few": (lambda *_: {"batch_size": 7}, "a step takes 7 images, and there are 6"),
    "voc": (
        lambda _, f: {"coco_root": None, "voc_root": f, "model": "fcn"},
        "--voc-root .*VOCdevkit",
    ),
    "two roots": (lambda _, f: {"voc_root": f, "model": "fcn"}, "--coco-root or --voc-root"),
    "masks of a detector": (lambda _, f: {"mask_root": f}, "not masks of classes"),
    "one of a batch": (
        lambda *_: {"batch_size": 1, "model": "fcn"},
        "--batch-size 1: must be at least 2, since",
    ),
    "frozen": (
        lambda *_: {"trainable_layers": 3, "weights": "none"},
        "--trainable-layers 3: without --weights",
    ),
    "bgr": (bgr_weights, "expect BGR pixels"),
    "other weights": (other_weights, "the file holds resnext26_32x4d; the network is tiny_4x4d"),
    "no weights": (lambda _, f: {"weights": str(f / "a.pth")}, "a.pth: there is no such file"),
    "no network": (
        lambda *_: {"weights": "http://127.0.0.1:9/a.pth"},  # nothing listens there
        "put it at .*a.pth, or name it where it lies: --weights FILE$",
    ),
    "learning rate": (lambda *_: {"lr": 1e30}, "epoch 1, step 2: the loss is not finite"),
    "checkpoint": (
        lambda run, f: {"resume": other_weights(run, f)["weights"]},
        "has no network, model, optimizer",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named(
    what: str, settings: Callable[..., Settings], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    breaks, message = BAD[what]
    with pytest.raises(REPORTED, match=message):
        train(dataclasses.replace(settings(), **breaks(settings(), tmp_path)), CPU)
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_broken_image_is_named(
    settings: Callable[..., Settings], coco_tiny: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(coco_tiny, tmp_path / "coco"))
    for path in (root / TRAIN).iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"image .*train2017/\d+.jpg: cannot be read"):
        train(settings(coco_root=root), CPU)
