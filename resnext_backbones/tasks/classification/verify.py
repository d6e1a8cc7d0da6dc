"""A published classifier's accuracy, measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper

from resnext_backbones.engine import runner
from resnext_backbones.errors import InputError

# They register what the config below names.
from resnext_backbones.tasks.classification import evaluation, hooks, model, transforms  # noqa: F401
from resnext_backbones.tasks.classification.data import LabelledImages
from resnext_backbones.verdict import TOP1, Number
from resnext_backbones.weights import WeightsError, load_weights
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.registry import CROP, Published
from resnext_backbones.weights.sources import locate


def verify_classifier(
    row: Published,
    root: Path,
    work_dir: Path,
    *,
    ground_truth: Mapping[str, str] | None = None,
    batch_size: int = 64,
    workers: int = 4,
    tolerance: float | None = None,
    launcher: str = "none",
) -> list[Number]:
    """Measure the top-1 accuracy of published weights, on the crop that it was published for.

    Args:
        root: the validation images, in a folder a class, or a folder with val/ in it.
        work_dir: for the log.
        ground_truth: for images in one folder, `ground_truth` and `ground_truth_classes` of
            `LabelledImages`.
        tolerance: None is that of `TOP1`.

    Raises:
        InputError: no accuracy is published, the images are not there, are of other classes, or
            are others than those of the published number and no `tolerance` was given.
        WeightsError: the weights cannot be had, or hold no classifier.
    """
    if row.top1 is None:
        raise InputError(f"{row.alias}: no accuracy is published in {row.source.reference}")
    folder = root / "val" if (root / "val").is_dir() else root
    dataset: dict[str, Any] = {
        "root": str(folder),
        "train": False,
        "pipeline": _pipeline(row),
        **(ground_truth or {}),
    }
    images = LabelledImages(**dataset).images
    allowed = TOP1.chosen_tolerance(len(images), tolerance)
    classes = _classes(row)
    if len(images.classes) != classes:
        raise InputError(
            f"images {folder}: are of {len(images.classes)} classes, and {row.alias} tells "
            f"{classes} apart; it takes a folder for each"
        )
    cfg = Config(
        {
            "default_scope": "mmengine",
            "work_dir": str(work_dir),
            "launcher": launcher,
            "model": {
                "type": "resnext_backbones.ImageClassifier",
                "network": row.architecture.to_dict(),
                "num_classes": classes,
                "data_preprocessor": {
                    "type": "resnext_backbones.BatchPreprocessor",
                    "mean": list(row.source.preprocessing.mean),
                    "std": list(row.source.preprocessing.std),
                    "num_classes": classes,
                },
            },
            "val_dataloader": {
                "batch_size": batch_size,
                "num_workers": workers,
                "dataset": {"type": "resnext_backbones.LabelledImages", **dataset},
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "collate_fn": {"type": "resnext_backbones.collate"},
            },
            "val_evaluator": {"type": "resnext_backbones.Accuracy"},
            "val_cfg": {"type": "resnext_backbones.ValLoop"},
            # Names images that cannot be read, and stops where there are many.
            "custom_hooks": [{"type": "resnext_backbones.BrokenImagesHook"}],
        }
    )
    built = runner.build_runner(cfg, "val_loop")
    classifier = built.model.module if is_model_wrapper(built.model) else built.model
    load_weights(classifier.network, row.alias)
    metrics = built.val()
    return [Number("top-1", row.top1, 100 * metrics["accuracy/top1"], allowed)]


def _pipeline(row: Published) -> list[dict[str, Any]]:
    return [
        {
            "type": "resnext_backbones.CenterCrop",
            "size": CROP,
            "resize": row.source.resize,
            "interpolation": row.source.interpolation,
        },
        {"type": "resnext_backbones.PILToTensor"},
    ]


def _classes(row: Published) -> int:
    """Returns how many classes the file tells apart."""
    bias = Checkpoint.of(read_file(locate(row.alias))).state.get("fc.bias")
    if bias is None:
        raise WeightsError(f"weights {row.alias}: have no classification head")
    return len(bias)
