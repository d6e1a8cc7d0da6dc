"""The backbone of a variant or of a config stands alone, to be measured with images of its size."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from resnext_backbones.build import build_backbone
from resnext_backbones.engine.catalogue import closest, config_names
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.errors import BUILD_ERRORS, NO_GPU_FOR_FP16, InputError
from resnext_backbones.models import ResNeXt
from resnext_backbones.tasks.engines import DETECTRON2, engine_of
from resnext_backbones.tasks.image_sizes import largest_size, precision_of, to_multiple
from resnext_backbones.variants import list_variants

IMAGES, SIZE = 2, (800, 1344)
"""A variant is measured with these, as detectors train it."""

DTYPES = {"": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Tunable(NamedTuple):
    """Says what is measured; the values of its weights do not matter."""

    trunk: ResNeXt
    shape: tuple[int, int, int, int]
    """(N, C, H, W) of the images."""
    amp: str
    """The mixed precision that the config asks for; "" for none."""
    device: str


def tunable(
    name: str, *, batch: int | None, size: tuple[int, int] | None, frozen: int | None
) -> Tunable:
    """Returns what is measured by a name.

    Args:
        name: a variant, or a config as `find_config` takes.
        batch, size: of the images, (H, W); None is the config's, or what detectors train with.
        frozen: stages of a variant that are not trained; None trains all of it.

    Raises:
        InputError: there is no such network, it is not this package's, or the config does not say
            the size.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if name in list_variants():
        images, sides, amp = IMAGES, SIZE, ""
        try:
            trunk = build_backbone(name, frozen_stages=-1 if frozen is None else frozen)
        except BUILD_ERRORS as error:
            raise InputError(f"{name}: {error}") from error
    else:
        model, images, found, amp = _of_config(name)
        trunks = [module for module in model.modules() if isinstance(module, ResNeXt)]
        if not trunks:
            raise InputError(f"config {name}: its backbone is none of this package's")
        trunk = trunks[0]
        if not (found or size):
            raise InputError(f"config {name}: does not say how large its images are; give --size")
        sides = found or SIZE
    trunk = trunk.to_empty(device=device)
    height, width = size or sides
    channels = trunk.architecture.in_channels
    return Tunable(trunk, (batch or images, channels, height, width), amp, device)


def dtype_of(amp: str, device: str) -> torch.dtype:
    """Returns the type in which convolutions are computed; without a GPU fp16 only warns, as in
    training.
    """
    if amp == "fp16" and device != "cuda":
        log_warning(NO_GPU_FOR_FP16)
        amp = ""
    return DTYPES[amp]


def _of_config(name: str) -> tuple[nn.Module, int, tuple[int, int] | None, str]:
    """Returns a config's network without memory, and images, size and precision of its steps."""
    try:
        engine = engine_of(name)
    except InputError as error:
        if "no such file" not in str(error):
            raise
        near = closest(name, [*list_variants(), *config_names()])
        raise InputError(f"{name}: no variant and no config of this name; try {near}") from error
    if engine == DETECTRON2:
        return _of_detectron2(name)
    from resnext_backbones.engine.checks.network import build_on_meta
    from resnext_backbones.tasks.counted import without_data

    cfg = without_data(name, engine)
    loader = cfg.get("train_dataloader") or {}
    images = loader.get("batch_size", IMAGES)
    return build_on_meta(cfg), images, largest_size(cfg), precision_of(cfg)


def _of_detectron2(name: str) -> tuple[nn.Module, int, tuple[int, int] | None, str]:
    try:
        from resnext_backbones.tasks.detectron2.experiments import read_experiment
    except ImportError as error:
        raise InputError(str(error)) from error
    experiment = read_experiment(name)
    found = experiment.backbone()
    if (inputs := experiment.cfg.get("INPUT")) is not None:
        edges = [(max(inputs.MIN_SIZE_TRAIN), inputs.MAX_SIZE_TRAIN)]
    else:
        resizing = [each for each in experiment.sizes or () if "short_edge_length" in each]
        edges = [(max(_list(r.short_edge_length)), r.get("max_size", 0)) for r in resizing]
    sizes = [(to_multiple(shorter), to_multiple(longer)) for shorter, longer in edges if longer]
    amp = "fp16" if experiment.amp else ""
    return nn.ModuleList([found] if found else []), experiment.batch, max(sizes, default=None), amp


def _list(given: Any) -> list[int]:
    return [given] if isinstance(given, int) else list(given)
