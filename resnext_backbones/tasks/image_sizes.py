"""A config says to which sizes its images are made, and in which precision its steps are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnext_backbones.engine.memory import HALVED
from resnext_backbones.engine.walk import dicts_with, value_at
from resnext_backbones.tasks.engines import MMDETECTION, OWN_MODELS, PRETRAINING

MULTIPLE = 32
"""Detectors pad the sides of images to this."""


def largest_size(cfg: Any) -> tuple[int, int] | None:
    """Returns the largest size (H, W) of a config's images in training; None where it does not say.

    Raises:
        InputError: one is no size.
    """
    engine = OWN_MODELS.get(str(cfg.model.type), MMDETECTION)
    sizes = {MMDETECTION: _padded, PRETRAINING: _cropped}.get(engine, _of_torchvision)(cfg)
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def precision_of(cfg: Any) -> str:
    """Returns the mixed precision that a config asks for, bf16 or fp16; "" for none."""
    return HALVED.get(value_at(cfg, "optim_wrapper.type") or "", "")


def is_grouped(cfg: Any) -> bool:
    """Returns whether a batch has upright images alone, or wide ones. Else it is padded to squares,
    where its images are no crops.
    """
    return "AspectRatio" in str(value_at(cfg, "train_dataloader.batch_sampler.type"))


def to_multiple(side: int) -> int:
    """Returns a side as detectors pad it."""
    return -(-side // MULTIPLE) * MULTIPLE


def _padded(cfg: Any) -> Iterator[tuple[int, int]]:
    """Yields the sizes (H, W) of MMDetection's images that are wider than high, as most are."""
    from resnext_backbones.tasks.mmdetection.sizes import largest_sizes

    for dataset in dicts_with(cfg.get("train_dataloader"), lambda d: "pipeline" in d):
        for sides in largest_sizes(dataset["pipeline"]):
            yield to_multiple(min(sides)), to_multiple(max(sides))


def _cropped(cfg: Any) -> Iterator[tuple[int, int]]:
    """Yields the sizes of a classifier's crops."""
    loader = cfg.get("train_dataloader")
    for crop in dicts_with(loader, lambda d: "Crop" in str(d.get("type")) and "size" in d):
        if isinstance(side := crop["size"], int):
            yield side, side


def _of_torchvision(cfg: Any) -> Iterator[tuple[int, int]]:
    """Yields the sizes to which torchvision's detectors resize, and those of segmenters' crops."""
    from resnext_backbones.tasks.torchvision.pixels import CROP

    loader = cfg.get("train_dataloader")
    for masks in dicts_with(loader, lambda d: str(d.get("type")).endswith("ClassMasks")):
        yield (round(masks["size"] * CROP),) * 2
    if cfg.model.type == "resnext_backbones.TorchvisionDetector":
        given = cfg.model.get("min_size", 800)
        shorter = given if isinstance(given, int) else max(given)
        yield to_multiple(shorter), to_multiple(cfg.model.get("max_size", 1333))
