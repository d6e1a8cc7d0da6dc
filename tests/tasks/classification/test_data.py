"""Samples, batches, losses and places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import FUNCTIONS
from PIL import Image
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import v2

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.adapters.registry import TRANSFORMS
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.data import (
    LabelledImages,
    RepeatedAugmentationSampler,
    collate,
)
from resnext_backbones.tasks.classification.evaluation import Accuracy
from resnext_backbones.tasks.classification.model import LOSSES, BatchPreprocessor, ImageClassifier
from resnext_backbones.tasks.classification.run import set_data_root

CONFIGS = Path(__file__).parents[3] / "configs"
MIDDLE = [
    {"type": "resnext_backbones.CenterCrop", "size": 32, "resize": 36},
    {"type": "resnext_backbones.PILToTensor"},
]
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def test_samples(coloured: Path) -> None:
    dataset = LabelledImages(str(coloured / "val"), MIDDLE)
    sample = dataset[7]
    assert sample["inputs"].shape == (3, 32, 32)
    assert sample["inputs"].dtype == torch.uint8
    assert dataset.metainfo["classes"][sample["labels"]] == "blue"
    # Noise around the colour: blue is (0, 0, 255).
    assert sample["inputs"].float().mean((1, 2)).round().argmax() == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_keep_the_order_of_pillows_pixels(coloured: Path, workers: int) -> None:
    dataset = LabelledImages(str(coloured / "val"), MIDDLE)
    expected = default_collate([dataset[i] for i in range(4)])
    wanted = Config.fromfile(CONFIGS / "_base_" / "pretraining.py").train_dataloader.collate_fn
    assert FUNCTIONS.get(wanted.type) is collate
    batch = next(iter(DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=collate)))
    assert batch["inputs"].is_contiguous(memory_format=torch.channels_last)
    assert batch["broken"] == expected["broken"]
    for name in ("inputs", "labels"):
        assert torch.equal(batch[name], expected[name]), name


def test_a_broken_image_is_replaced_in_training_and_black_in_evaluation(
    coloured: Path, tmp_path: Path
) -> None:
    for name in ("red", "blue"):
        (tmp_path / name).mkdir()
        content = (coloured / "val" / name / "0.jpg").read_bytes()
        (tmp_path / name / "0.jpg").write_bytes(content if name == "red" else content[:300])
    sample = LabelledImages(str(tmp_path), MIDDLE)[0]
    assert sample["labels"] == 1
    assert sample["broken"].startswith(f"image {tmp_path / 'blue' / '0.jpg'}: ")
    evaluated = LabelledImages(str(tmp_path), MIDDLE, train=False)[0]
    assert evaluated["labels"] == 0
    assert not evaluated["inputs"].any()
    assert evaluated["broken"] == sample["broken"]
    # It is as large as the others, which a pipeline may leave as they are.
    steps = [step for step in MIDDLE if "Crop" not in step["type"]]
    as_they_are = LabelledImages(str(tmp_path), steps, train=False)
    assert as_they_are[0]["inputs"].shape == as_they_are[1]["inputs"].shape
    assert not as_they_are[0]["inputs"].any()
    (tmp_path / "red" / "0.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"all others"):
        LabelledImages(str(tmp_path), MIDDLE)[0]


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return {"inputs": pixels, "labels": torch.tensor([0, 1, 2, 3])}


def test_batches_are_normalised() -> None:
    found = BatchPreprocessor(MEAN, STD)(batch(), training=True)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    assert torch.allclose(found["inputs"], (batch()["inputs"].float() - mean) / std)
    assert found["inputs"].is_contiguous(memory_format=torch.channels_last)
    assert found["labels"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 1, "cutmix": 1}])
def test_images_are_mixed_in_training_only(options: dict) -> None:
    preprocessor = BatchPreprocessor(MEAN, STD, num_classes=5, **options)
    mixed, plain = (preprocessor(batch(), training=flag) for flag in (True, False))
    assert mixed["labels"].shape == (4, 5)
    assert torch.allclose(mixed["labels"].sum(1), torch.ones(4))
    assert not torch.equal(mixed["inputs"], plain["inputs"])
    assert torch.equal(plain["labels"], batch()["labels"])


def test_a_classifier_mixes_labels_of_its_own_classes() -> None:
    """`model.num_classes` alone says how many there are."""
    mixes = {"type": "resnext_backbones.BatchPreprocessor", "mixup": 0.2, "num_classes": 1000}
    network = {"variant": "resnext29_8x64d", "base_channels": 8}
    model = ImageClassifier(
        network, num_classes=4, data_preprocessor={**mixes, "mean": MEAN, "std": STD}
    )
    assert model.data_preprocessor(batch(), training=True)["labels"].shape == (4, 4)
    by_class = {**mixes, "type": BatchPreprocessor, "mean": MEAN, "std": STD}
    model = ImageClassifier(network, num_classes=5, data_preprocessor=by_class)
    assert model.data_preprocessor(batch(), training=True)["labels"].shape == (4, 5)
    made = BatchPreprocessor(MEAN, STD)
    assert ImageClassifier(network, num_classes=3, data_preprocessor=made).data_preprocessor is made


def test_the_binary_loss_decides_on_each_class() -> None:
    logits = torch.randn(3, 4)
    targets = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    mixed = targets / targets.sum(1, keepdim=True)
    assert torch.allclose(LOSSES["binary"](logits, mixed, 0), expected)
    one_hot = F.one_hot(torch.tensor([0, 1, 3]), 4).float()
    expected = F.binary_cross_entropy_with_logits(logits, one_hot * 0.8 + 0.05)
    assert torch.allclose(LOSSES["binary"](logits, torch.tensor([0, 1, 3]), 0.2), expected)


def test_places_and_accuracies() -> None:
    model = ImageClassifier(
        {"blocks": (1,), "cardinality": 4, "base_width": 4, "base_channels": 8}, num_classes=8
    )
    logits = torch.tensor([[8.0, 7, 6, 5, 4, 3, 2, 1]]).repeat(4, 1)
    logits[3] = torch.nan
    model.network.forward = lambda _: logits
    places = model(torch.zeros(1), torch.tensor([0, 2, 7, 0]), mode="predict")
    assert [place["place"] for place in places] == [0, 2, 5, 5]
    metric = Accuracy()
    metric.process(None, places)
    assert metric.compute_metrics(metric.results) == {"top1": 0.25, "top5": 0.5}


def test_wrong_losses_are_named() -> None:
    for options in ({"loss": "mse"}, {"label_smoothing": 1.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ImageClassifier({"variant": "resnext26_32x4d"}, num_classes=8, **options)


def test_repeated_augmentations_lie_side_by_side() -> None:
    sampler = RepeatedAugmentationSampler(range(10), repeats=4, seed=1)
    draws = list(sampler)
    assert len(draws) == len(sampler) == 10
    assert [draw.copy for draw in draws] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert len(set(draws)) == 3
    sampler.set_epoch(1)
    assert list(sampler) != draws


def test_another_data_root_is_put_everywhere() -> None:
    cfg = Config.fromfile(CONFIGS / "imagenet" / "paper.py")
    cfg.val_dataloader.dataset.class_list = "data/imagenet/classes.txt"
    set_data_root(cfg, "data/imagenet")
    assert cfg.train_dataloader.dataset.root == "data/imagenet/train"
    set_data_root(cfg, "/other")
    assert cfg.train_dataloader.dataset.root == "/other/train"
    assert cfg.val_dataloader.dataset.class_list == "/other/classes.txt"
    assert "urls" not in cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = {"urls": "/other/{00..09}.tar", "class_list": None}
    set_data_root(cfg, "/third")
    assert cfg.train_dataloader.dataset.urls == "/third/{00..09}.tar"
    lists = {"urls": ["/third/a.tar", "/third/b/c.tar"], "sizes": "/third/sizes.json"}
    cfg.train_dataloader.dataset = {"type": "RepeatDataset", "dataset": lists}
    set_data_root(cfg, "/fourth/")
    assert cfg.train_dataloader.dataset.dataset.urls == ["/fourth/a.tar", "/fourth/b/c.tar"]
    assert cfg.train_dataloader.dataset.dataset.sizes == "/fourth/sizes.json"


def test_images_at_an_address_stay_and_those_of_the_evaluation_move() -> None:
    cfg = Config.fromfile(CONFIGS / "imagenet" / "paper.py")
    cfg.train_dataloader.dataset = {"urls": "https://host/{00..09}.tar", "class_list": "names"}
    set_data_root(cfg, "/other")
    assert cfg.train_dataloader.dataset.urls == "https://host/{00..09}.tar"
    assert cfg.val_dataloader.dataset.root == "/other/val"


OUTSIDE = {"_delete_": True, "root": "/mine", "class_list": "data/imagenet/names.txt"}


@pytest.mark.parametrize(
    "change",
    [
        {"data_root": None},
        {"data_root": "elsewhere"},
        {"train_dataloader.dataset.root": "data/imagenet22k/train"},
        {"train_dataloader.dataset": OUTSIDE},
    ],
)
def test_a_data_root_that_would_change_nothing_is_refused(change: dict[str, Any]) -> None:
    cfg = Config.fromfile(CONFIGS / "imagenet" / "paper.py")
    cfg.merge_from_dict(change)
    with pytest.raises(InputError, match=r"--data-root /other: no images of train_data"):
        set_data_root(cfg, "/other")


@pytest.mark.parametrize(
    "name", ["imagenet/paper", "imagenet/v2", "imagenet/a1", "imagenet/a3", "cifar/cifar10"]
)
def test_pipelines_make_bytes_of_photographs(name: str, coco_tiny: Path) -> None:
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    photograph = sorted((coco_tiny / "val2017").glob("*.jpg"))[0]
    for part in ("train", "val"):
        transforms = [TRANSFORMS.build(dict(s)) for s in cfg[f"{part}_dataloader"].dataset.pipeline]
        image = Image.open(photograph)
        if name.startswith("cifar"):
            image = image.resize((32, 32))
        for seed in range(10):
            torch.manual_seed(seed)
            found = v2.Compose(transforms)(image)
            assert found.dtype == torch.uint8
            assert found.shape in {(3, size, size) for size in (224, 176, 160, 32)}
