"""Small runs of a few seconds, of pretraining and of detectors, that the soak kills."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config
from yapf.yapflib import yapf_api

from resnext_backbones.datasets import generate_shapes, object_crops
from resnext_backbones.engine.catalogue import INSTALLED_CONFIGS
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.variants import VARIANTS

TINY = "tiny_4x4d"
"""A network of this name, one block a stage, is there while the soak runs."""

EPOCHS = 2

LOGGED = "default_hooks.logger.interval=1"

BASE = """
_base_ = {base!r}
custom_hooks = _base_.custom_hooks + [
    dict(type="EMAHook", momentum=0.1, update_buffers=True, priority="ABOVE_NORMAL")
]
model = dict(
    network=dict(
        _delete_=True, blocks=(1, 1, 1), cardinality=4, base_width=4, base_channels=8, stem="3x3"
    )
)
"""

DETECTOR = (f"model.backbone.variant={TINY}", "train_dataloader.batch_size=1")

MMDETECTION = (
    "model.train_cfg.rpn_proposal.max_per_img=20",
    "model.train_cfg.rcnn.sampler.num=8",
    "model.test_cfg.rpn.max_per_img=20",
    "train_cfg.val_interval=1",
    "default_hooks.checkpoint.interval=1",
    *(f"{split}_dataloader.dataset.pipeline.{step}.scale=(64,64)"
      for split, step in (("train", 2), ("val", 1))),
)  # fmt: skip

TORCHVISION = (
    "model.min_size=64",
    "model.max_size=64",
    "model.options.box_batch_size_per_image=8",
    "model.options.rpn_post_nms_top_n_train=16",
    "model.options.rpn_post_nms_top_n_test=16",
    "model.options.box_detections_per_img=4",
    "train_dataloader.pin_memory=False",
    "val_dataloader.pin_memory=False",
)


@dataclass(frozen=True)
class Run:
    """Describes a training run that is started again and again until it is done.

    Attributes:
        task: its folder in `tasks`.
        processes: how many train together.
        arguments: of the command `resnext`, but for where it goes on and its work directory.
    """

    task: str
    processes: int
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.task}/{self.processes}"


def _workers(count: int) -> list[str]:
    return [
        f"{split}_dataloader.{option}"
        for split in ("train", "val")
        for option in (f"num_workers={count}", f"persistent_workers={bool(count)}")
    ]


def _pretraining(folder: Path) -> list[str]:
    config = folder / "tiny_crops.py"
    config.write_text(BASE.format(base=str((INSTALLED_CONFIGS / "demo_crops.py").resolve())))
    crops = folder / "crops"
    if not crops.exists():
        object_crops(folder / "coco", crops)
    return ["pretrain", str(config), "--data-root", str(crops), "--cfg-options",
            "train_dataloader.batch_size=8", *_workers(2)]  # fmt: skip


def _mmdetection(folder: Path) -> list[str]:
    config = folder / "shapes.py"
    # What it inherits is found by way of hundreds of YAML files.
    Config.fromfile(INSTALLED_CONFIGS / "demo_shapes.py").dump(config)
    return ["train", str(config), "--cfg-options", *_workers(1), *DETECTOR, *MMDETECTION]


def _torchvision(_: Path) -> list[str]:
    config = "torchvision/faster_rcnn_x50_32x4d_fpn_coco"
    return [
        "train",
        config,
        "--weights",
        "none",
        "--cfg-options",
        *_workers(1),
        *DETECTOR,
        *TORCHVISION,
    ]


TASKS: dict[str, Callable[[Path], list[str]]] = {
    "classification": _pretraining,
    "mmdetection": _mmdetection,
    "torchvision": _torchvision,
}
"""Each gives the arguments of its command, and makes what that reads."""


def prepare(folder: Path) -> list[Run]:
    """Returns the runs, once their images are drawn, and all that they import is."""
    coco = folder / "coco"
    if not coco.exists():
        generate_shapes(coco, num_train=8, num_val=2)
    os.environ["COCO_ROOT"] = str(coco)
    # Half of what a small run takes would be to set its config in columns, for each place it goes.
    yapf_api.FormatCode = lambda text, **_: (text, True)
    VARIANTS[TINY] = Architecture(blocks=(1, 1, 1, 1), cardinality=4, base_width=4)
    import torch.utils.tensorboard  # noqa: F401

    import resnext_backbones.tasks.classification.run
    import resnext_backbones.tasks.mmdetection.run
    import resnext_backbones.tasks.torchvision.run  # noqa: F401

    last = (f"train_cfg.max_epochs={EPOCHS}", LOGGED)
    return [
        Run(task, processes, (*arguments(folder), *last))
        for task, arguments in TASKS.items()
        for processes in (1, 2)
    ]
