"""Training torchvision's networks: data, scores, and runs that end and go on."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import randomise
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import save_file
from torch import nn

from resnext_backbones import build_backbone
from resnext_backbones.detection.torchvision import Settings, evaluate, loop, train
from resnext_backbones.detection.torchvision.data import load_data
from resnext_backbones.detection.torchvision.instances import TRAIN, VAL, coco_split
from resnext_backbones.detection.torchvision.network import Network
from resnext_backbones.detection.torchvision.pixels import VOC_OF_COCO
from resnext_backbones.detection.torchvision.scores import as_results, coco_scores, pixel_scores
from resnext_backbones.detection.torchvision.settings import IGNORED
from resnext_backbones.runs.cli import REPORTED
from resnext_backbones.runs.errors import InputError
from resnext_backbones.runs.journal import TERMINATED, read_journal
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.registry import BGR, RGB

CPU = torch.device("cpu")
FEW_BOXES = {
    "box_batch_size_per_image": 8,
    "rpn_post_nms_top_n_train": 16,
    "rpn_post_nms_top_n_test": 16,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 4,
}


@pytest.fixture
def settings(coco_tiny: Path, tiny: str, tmp_path: Path) -> Callable[..., Settings]:
    """Those of a quick run."""

    def make(model: str = "faster_rcnn", **changes: Any) -> Settings:
        quick: dict[str, Any] = {
            "backbone": tiny,
            "work_dir": tmp_path / "run",
            "coco_root": coco_tiny,
            "epochs": 2,
            "limit_images": 6,
            "min_size": (64,),
            "max_size": 80,
            "workers": 0,
            "eval_every": 9,
            "model_options": FEW_BOXES if "rcnn" in model else {},
        }
        return Settings(model=model, **quick | changes)

    return make


def network_of(settings: Settings) -> Network:
    return Network.of(settings, load_data(settings, train=False).classes)


def test_the_learning_rate_follows_batch_and_epoch(settings: Callable[..., Settings]) -> None:
    run = settings(epochs=12)
    assert run.base_lr(16) == pytest.approx(0.02)
    assert run.base_lr(4) == pytest.approx(0.005)
    steps, lr = 2000, [run.lr_at(step, 2000, 16) for step in range(12 * 2000)]
    assert lr[0] == pytest.approx(0.02 / 1000)
    assert lr[499] == pytest.approx(0.01)
    assert lr[1000] == lr[8 * steps - 1] == pytest.approx(0.02)
    assert lr[8 * steps] == lr[11 * steps - 1] == pytest.approx(0.002)
    assert lr[11 * steps] == lr[-1] == pytest.approx(0.0002)
    longer = settings(epochs=26)
    assert [longer.lr_at(e * steps, steps, 16) for e in (15, 16, 22)] == pytest.approx(
        [0.02, 0.002, 0.0002]
    )
    segmentation = settings("fcn", epochs=30)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    peer = torch.optim.lr_scheduler.PolynomialLR(optimizer, 30 * 4, power=0.9)
    for step in range(30 * 4):
        assert segmentation.lr_at(step, 4, 32) == pytest.approx(peer.get_last_lr()[0])
        optimizer.step()
        peer.step()


def test_instances_are_those_of_the_annotations(
    settings: Callable[..., Settings], coco_tiny: Path
) -> None:
    """Crowds are no targets; images without instances are left out in training alone."""
    run = settings("mask_rcnn", limit_images=None)
    data = load_data(run, train=True)
    network = network_of(run)
    content = json.loads((coco_tiny / "annotations/instances_train2017.json").read_text())
    ids = sorted(category["id"] for category in content["categories"])
    plain = [a for a in content["annotations"] if not a["iscrowd"] and min(a["bbox"][2:]) > 1]
    samples = data.split(network, train=True)
    assert len(samples) == len({a["image_id"] for a in plain})
    crowded = {a["image_id"] for a in content["annotations"] if a["iscrowd"]}
    assert crowded, "the data show nothing of crowds"
    shown = next(i for i, image in enumerate(samples.image_ids) if image in crowded)
    for index in (0, 1, shown):
        image, target = samples[index]
        own = [a for a in plain if a["image_id"] == target["image_id"]]
        assert type(image) is torch.Tensor
        assert [ids[label - 1] for label in target["labels"]] == [a["category_id"] for a in own]
        sizes = target["boxes"][:, 2:] - target["boxes"][:, :2]
        expected = torch.tensor([a["bbox"][2:] for a in own])
        torch.testing.assert_close(sizes, expected, rtol=0, atol=1e-3)
        areas = target["masks"].flatten(1).sum(1)
        assert areas.tolist() == pytest.approx([a["area"] for a in own], rel=0.2, abs=30)
    images = json.loads((coco_tiny / "annotations/instances_val2017.json").read_text())["images"]
    assert len(data.split(network, train=False)) == len(images)


def test_an_image_without_instances_is_evaluated(
    settings: Callable[..., Settings], coco_tiny: Path, tmp_path: Path
) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in (TRAIN, VAL):
        (root / split).symlink_to(coco_tiny / split)
        path = f"annotations/instances_{split}.json"
        content = json.loads((coco_tiny / path).read_text())
        first = min(image["id"] for image in content["images"])
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != first]
        (root / path).write_text(json.dumps(content))
    run = settings(coco_root=root)
    data, network = load_data(run, train=True), network_of(run)
    assert len(data.split(network, train=True)) == 5
    samples = data.split(network, train=False)
    assert len(samples) == 6
    assert samples[0][1] == {"image_id": samples.image_ids[0]}


def test_perfect_detections_are_worth_100(settings: Callable[..., Settings]) -> None:
    """On the images that were looked at, with the categories' own ids."""
    data = load_data(settings("mask_rcnn", limit_images=20), train=False)
    coco, image_ids = data.splits[VAL].coco, data.splits[VAL].ids
    results = []
    for image_id in image_ids:
        own = [a for a in coco.imgToAnns[image_id] if not a["iscrowd"]]
        boxes = torch.tensor([a["bbox"] for a in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([data.ids.index(a["category_id"]) + 1 for a in own])
        masks = np.array([coco.annToMask(a) for a in own])
        output = {"boxes": boxes, "labels": labels, "scores": torch.ones(len(own))}
        if own:
            output["masks"] = torch.from_numpy(masks)[:, None].float()
        results += as_results(image_id, output, data.ids)
    assert {r["category_id"] for r in results} <= set(coco.cats)
    assert max(r["category_id"] for r in results) > 80, "ids are not labels"
    json.dumps(results)
    scores = coco_scores(coco, results, image_ids, ("bbox", "segm"))
    assert scores["coco/bbox_mAP"] == pytest.approx(1)
    assert scores["coco/segm_mAP"] == pytest.approx(1)
    fewer = [r for r in results if r["image_id"] != image_ids[0]]
    assert coco_scores(coco, fewer, image_ids, ("bbox",))["coco/bbox_mAP"] < 1
    assert coco_scores(coco, fewer, image_ids[1:], ("bbox",))["coco/bbox_mAP"] == pytest.approx(1)
    assert coco_scores(coco, [], image_ids, ("bbox",))["coco/bbox_mAP"] == 0


def test_instances_drawn_as_classes(settings: Callable[..., Settings], coco_tiny: Path) -> None:
    run = settings("fcn", limit_images=None)
    data, network = load_data(run, train=True), network_of(run)
    coco = COCO(coco_tiny / "annotations/instances_val2017.json")
    assert len(data.split(network, train=False)) == len(coco.imgs)
    assert 0 < len(data.split(network, train=True)) < 80
    names = ["background", *VOC_OF_COCO.values()]
    image_id = max(coco.imgs, key=lambda i: len(coco.imgToAnns[i]))
    index = sorted(coco.imgs).index(image_id)
    image, mask = data.split(network, train=False)[index]
    assert min(image.shape[1:]) == 64
    assert mask.shape == (coco.imgs[image_id]["height"], coco.imgs[image_id]["width"])
    drawn = [
        (names.index(coco.cats[a["category_id"]]["name"]), coco.annToMask(a) > 0)
        for a in coco.imgToAnns[image_id]
        if coco.cats[a["category_id"]]["name"] in names
    ]
    covered = sum(pixels.astype(int) for _, pixels in drawn)
    assert len(drawn) > 1
    assert (mask.numpy()[covered == 0] == 0).all()
    assert (mask.numpy()[covered > 1] == IGNORED).all()
    for label, pixels in drawn:
        assert (mask.numpy()[pixels & (covered == 1)] == label).all()
    cropped, target = data.split(network, train=True)[0]
    assert cropped.shape == (3, 59, 59)
    assert target.shape == (59, 59)


def masks_of(folder: Path, images: list[Path], highest: int) -> None:
    folder.mkdir(parents=True)
    for path in images:
        width, height = Image.open(path).size
        mask = np.arange(width * height).reshape(height, width) * 11 % (highest + 1)
        mask[:5] = IGNORED
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"{path.stem}.png")


def voc_tree(coco_tiny: Path, root: Path) -> Path:
    """VOC's layout, with images of COCO and masks of stripes."""
    voc = root / "VOCdevkit/VOC2012"
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    for split, name in ((TRAIN, "train"), (VAL, "val")):
        images = sorted((coco_tiny / split).iterdir())[:4]
        (voc / f"ImageSets/Segmentation/{name}.txt").write_text(
            "".join(f"{path.stem}\n" for path in images)
        )
        for path in images:
            (voc / "JPEGImages").mkdir(exist_ok=True)
            shutil.copy(path, voc / "JPEGImages")
        masks_of(root / name, images, 20)
    shutil.copytree(root / "train", voc / "SegmentationClass")
    shutil.copytree(root / "val", voc / "SegmentationClass", dirs_exist_ok=True)
    return root


def test_masks_in_files(settings: Callable[..., Settings], coco_tiny: Path, tmp_path: Path) -> None:
    """VOC's layout, and a folder of PNGs beside COCO's images; a class that is too high."""
    voc = settings("fcn", coco_root=None, voc_root=voc_tree(coco_tiny, tmp_path / "voc"))
    data, network = load_data(voc, train=True), network_of(voc)
    _, mask = data.split(network, train=False)[0]
    assert len(data.split(network, train=True)) == 4
    assert (mask[:5] == IGNORED).all()
    assert mask[5:].max() == 20

    stuff = tmp_path / "stuff"
    for split in (TRAIN, VAL):
        masks_of(stuff / split, sorted((coco_tiny / split).iterdir())[:6], 181)
    run = settings("fcn", mask_root=stuff, num_classes=182)
    data = load_data(run, train=True)
    assert len(data.classes) == 182
    assert data.split(network, train=False)[0][1][5:].max() == 181
    few = load_data(settings("fcn", mask_root=stuff, num_classes=90), train=True)
    with pytest.raises(InputError, match=r"mask .*png: has class 181, but there are 90"):
        few.split(network, train=True)[0]
    with pytest.raises(InputError, match="74 files are missing"):
        load_data(settings("fcn", mask_root=stuff, num_classes=182, limit_images=None), train=True)


def test_scores_of_pixels() -> None:
    counts = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    scores = pixel_scores(counts, ("a", "b", "c"))
    assert scores["IoU"] == pytest.approx({"a": 6 / 9, "b": 3 / 6})
    assert scores["mIoU"] == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(9 / 12)
    assert scores["mean_accuracy"] == pytest.approx((6 / 8 + 3 / 4) / 2)


def state_of(work_dir: Path, name: str) -> dict[str, torch.Tensor]:
    content = read_file(work_dir / name)
    momenta = {f"{k}": v["momentum_buffer"] for k, v in content["optimizer"]["state"].items()}
    return {**content["model"], **momenta}


def test_a_run_that_ended_goes_on_to_the_same_weights(
    settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: ended within the second epoch, and one without an end; whatever the workers."""
    whole = settings("mask_rcnn", keep=1)
    metrics = json.loads((train(whole, CPU) / "coco_metrics.json").read_text())
    assert [path.name for path in whole.work_dir.glob("*.pth")] == ["epoch_2.pth"]
    part = dataclasses.replace(whole, work_dir=tmp_path / "part", workers=1, keep=2)
    log = loop.Trainer._log

    def end_in_the_second(trainer: loop.Trainer, *args: Any) -> None:
        log(trainer, *args)
        if trainer.progress.done == trainer.progress.steps + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_log", end_in_the_second)
        with pytest.raises(SystemExit) as raised:
            train(part, CPU)
    assert raised.value.code == TERMINATED
    files = [entry.file for entry in read_journal(part.work_dir)]
    assert files == ["epoch_1.pth", "iter_5.pth"]
    start = state_of(part.work_dir, "epoch_1.pth")

    with pytest.raises(InputError, match=r"holds the checkpoints of an earlier run.*--resume"):
        train(part, CPU)
    other = dataclasses.replace(part, resume="auto", model="faster_rcnn")
    with pytest.raises(InputError, match="--model faster_rcnn: the checkpoint has mask_rcnn"):
        train(other, CPU)

    train(dataclasses.replace(part, resume="auto"), CPU)
    expected, found = (state_of(path, "epoch_2.pth") for path in (whole.work_dir, part.work_dir))
    assert expected.keys() == found.keys()
    assert all(value.equal(found[key]) for key, value in expected.items())
    assert not all(value.equal(start[key]) for key, value in expected.items())
    results = json.loads((part.work_dir / "detections.json").read_text())
    assert results
    assert all(set(result["segmentation"]) == {"size", "counts"} for result in results)
    again = dataclasses.replace(whole, work_dir=tmp_path / "test")
    assert evaluate(again, CPU, str(part.work_dir / "epoch_2.pth")) == metrics


def test_weights_set_pixels_norms_and_what_is_frozen(
    settings: Callable[..., Settings], tiny: str, tmp_path: Path
) -> None:
    """And the checkpoint alone says it again."""
    file = tmp_path / "weights.safetensors"
    trunk = randomise(build_backbone(tiny))
    state = {key: value.contiguous() for key, value in trunk.state_dict().items()}
    metadata = {"pixel_order": "RGB", "pixel_mean": "[51, 51, 51]", "pixel_std": "[51, 51, 51]"}
    save_file(state, file, metadata=metadata)
    run = settings(weights=str(file), epochs=1, limit_images=2)
    train(run, CPU)
    content = read_file(run.work_dir / "epoch_1.pth")
    assert content["network"]["image_mean"] == [0.2] * 3
    assert content["network"]["norm"] == "FrozenBN"
    moved = {
        key.removeprefix("backbone.body.")
        for key, value in content["model"].items()
        if key.startswith("backbone.body.")
        and not value.equal(state[key.removeprefix("backbone.body.")])
    }
    assert moved
    assert all(key.startswith(("layer2", "layer3", "layer4")) and "bn" not in key for key in moved)
    file.unlink()
    evaluate(run, CPU, "auto")
    again = Network.from_checkpoint(content["network"], run).build(run)
    assert again.transform.image_mean == [0.2] * 3


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
    "log": (lambda *_: {"log_every": 0}, "--log-every 0: must be at least 1"),
    "steps": (lambda *_: {"lr_steps": (11, 8)}, "--lr-steps 11 8: must be increasing epochs"),
    "classes": (
        lambda _, f: {"mask_root": f, "num_classes": 300, "model": "fcn"},
        "--num-classes 300: at most 255",
    ),
    "model": (lambda *_: {"model": "yolo"}, "--model yolo: there is none; use one of faster_rcnn"),
    "backbone": (lambda *_: {"backbone": "x101"}, "--backbone x101: there is none"),
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
    "frozen": (lambda *_: {"trainable_layers": 3}, "--trainable-layers 3: without --weights"),
    "bgr": (bgr_weights, "expect BGR pixels"),
    "other weights": (other_weights, "this file is resnext26_32x4d; the network is tiny_4x4d"),
    "no weights": (lambda _, f: {"weights": str(f / "a.pth")}, "a.pth: there is no such file"),
    "learning rate": (lambda *_: {"lr": 1e30}, "epoch 1, step 2: the loss is not finite"),
    "checkpoint": (
        lambda run, f: {"resume": other_weights(run, f)["weights"]},
        "has no network, model, optimizer",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named(what: str, settings: Callable[..., Settings], tmp_path: Path) -> None:
    breaks, message = BAD[what]
    with pytest.raises(REPORTED, match=message):
        train(dataclasses.replace(settings(), **breaks(settings(), tmp_path)), CPU)
    assert not list((tmp_path / "run").glob("*.pth"))


def test_annotations_without_area_and_iscrowd_are_evaluated(
    coco_tiny: Path, tmp_path: Path
) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / VAL).symlink_to(coco_tiny / VAL)
    content = json.loads((coco_tiny / "annotations" / f"instances_{VAL}.json").read_text())
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    (root / "annotations" / f"instances_{VAL}.json").write_text(json.dumps(content))
    split = coco_split(root, VAL, limit=2, check=True)
    metrics = coco_scores(split.coco, [], split.ids, ("bbox",))
    assert metrics["coco/bbox_mAP"] == 0


def test_a_full_disk_does_not_end_a_run(
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = settings(epochs=1)
    save = torch.save

    def limited(content: Any, path: Path) -> None:  # what a process can be given for a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            save(content, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    monkeypatch.setattr(torch, "save", limited)
    assert (train(run, CPU) / "coco_metrics.json").is_file()
    assert not list(run.work_dir.glob("*.pth"))
    assert "epoch_1.pth: not written" in (run.work_dir / "log.txt").read_text()


def test_a_broken_image_is_named(
    settings: Callable[..., Settings], coco_tiny: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(coco_tiny, tmp_path / "coco"))
    for path in (root / TRAIN).iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"image .*train2017/\d+.jpg: cannot be read"):
        train(settings(coco_root=root), CPU)
