"""A published classifier's accuracy is measured, as the recipes evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from resnext_backbones.engine import runner
from resnext_backbones.engine.config import read_config
from resnext_backbones.engine.handover import share_weights
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.data import LabelledImages
from resnext_backbones.verdict import TOP1, Number
from resnext_backbones.weights import WeightsError, load_weights
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.registry import Published
from resnext_backbones.weights.sources import locate

RECIPES = "_base_/imagenet"  # the config that all recipes share, with their evaluation
TRAINING_ALONE = ("train_dataloader", "default_hooks", "visualizer")


def verify_classifier(
    row: Published,
    root: Path,
    work_dir: Path,
    *,
    ground_truth: Mapping[str, str] | None = None,
    batch_size: int = 64,
    tolerance: float | None = None,
    launcher: str = "none",
) -> list[Number]:
    """Measures the top-1 accuracy of published weights, on the crop that it was published for.

    Args:
        root: the validation images, in a folder a class, or a folder with val/ in it.
        ground_truth: for images in one folder, `ground_truth` and `ground_truth_classes` of
            `LabelledImages`.
        tolerance: None is that of `TOP1`.

    Raises:
        InputError: no accuracy is published, or the images are not those of the published number.
        WeightsError: the weights cannot be had, or hold no classifier.
    """
    if row.top1 is None or row.crop is None:
        raise InputError(f"{row.alias}: no accuracy is published in {row.source.reference}")
    cfg = read_config(RECIPES, work_dir=str(work_dir), launcher=launcher)
    folder = root / "val" if (root / "val").is_dir() else root
    dataset: dict[str, Any] = dict(ground_truth or {}, root=str(folder), train=False)
    dataset["pipeline"] = [
        {"type": "resnext_backbones.CenterCrop", **row.crop._asdict()},
        {"type": "resnext_backbones.PILToTensor"},
    ]
    images = LabelledImages(**dataset).images
    allowed = TOP1.chosen_tolerance(len(images), tolerance)
    for key in TRAINING_ALONE:
        cfg.pop(key)
    cfg.val_dataloader.update(batch_size=batch_size, num_workers=4)
    cfg.val_dataloader.dataset.update(dataset)
    with runner.watched(cfg):
        runner.start(cfg, ("val_dataloader",))
        share_weights(row.alias)
        top1 = _measure(cfg, row, len(images.classes))
    return [Number("top-1", row.top1, top1, allowed)]


def _measure(cfg: Config, row: Published, classes: int) -> float:
    """Returns the top-1 accuracy of published weights, in percent, on the images of a config."""
    bias = Checkpoint.of(read_file(locate(row.alias))).state.get("fc.bias")
    if bias is None:
        raise WeightsError(f"weights {row.alias}: have no classification head")
    if classes != len(bias):
        raise InputError(
            f"images {cfg.val_dataloader.dataset.root}: are of {classes} classes, and {row.alias} "
            f"tells {len(bias)} apart; it takes a folder for each"
        )
    cfg.model.update(num_classes=len(bias), network=row.architecture.to_dict())
    pixels = row.source.preprocessing
    cfg.model.data_preprocessor.update(mean=list(pixels.mean), std=list(pixels.std))
    built = runner.build_runner(cfg, "val_loop")
    classifier: Any = getattr(built.model, "module", built.model)
    load_weights(classifier.network, row.alias)
    return 100 * built.val()["accuracy/top1"]
