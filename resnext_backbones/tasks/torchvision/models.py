"""torchvision's networks give MMEngine's runner their losses, and what they find."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.model import BaseModel, ImgDataPreprocessor
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from resnext_backbones.adapters.registry import MODELS
from resnext_backbones.adapters.torchvision import (
    NamedResNeXt,
    deeplabv3,
    fcn,
    resnext_fpn,
    segmentation_network,
)
from resnext_backbones.adapters.torchvision_detectors import aligned_options
from resnext_backbones.engine.norms import synchronise_norms
from resnext_backbones.engine.optim import in_float32
from resnext_backbones.models.freezing import RandomStagesWarning
from resnext_backbones.models.options import check_one_of, check_range
from resnext_backbones.tasks.torchvision.pixels import IGNORED
from resnext_backbones.weights import load_weights

DETECTOR, SEGMENTER = (f"resnext_backbones.Torchvision{kind}" for kind in ("Detector", "Segmenter"))
"""Types of the models."""

DETECTORS = {"faster_rcnn": FasterRCNN, "mask_rcnn": MaskRCNN}
SEGMENTERS = {"deeplabv3": deeplabv3, "fcn": fcn}

EVERYTHING = 5
"""Trainable layers: the stem and four stages."""

DEFAULTS: dict[str, dict[str, Any]] = {
    kind: {name: given.default for name, given in signature(build).parameters.items()}
    for kind, build in ((DETECTOR, resnext_fpn), (SEGMENTER, segmentation_network))
}
DEFAULTS[SEGMENTER]["trainable_layers"] = EVERYTHING
"""A network of each type is built with these where a config does not say."""

PIXELS = "the data_preprocessor"
DETECTOR_SETTLES = {
    "min_size": "the model's min_size",
    "max_size": "the model's max_size",
    "image_mean": PIXELS,
    "image_std": PIXELS,
}
SEGMENTER_SETTLES = {
    "network": "the model's network",
    "num_classes": "the model's num_classes",
    "output_stride": "the model's output_stride",
    "aux_classifier": "training",
    "frozen_stages": "trainable_layers",
}
"""A config may not say these a second time; what it says them by."""

AUX_WEIGHT = 0.5
"""The weight of the auxiliary classifier in the loss."""


def _check_unsettled(name: str, given: Mapping[str, Any], settled: Mapping[str, str]) -> None:
    for key in settled.keys() & given.keys():
        raise ValueError(f"{name}.{key} cannot be given: {settled[key]} settles it")


@MODELS.register_module()
class ImagesPreprocessor(ImgDataPreprocessor):
    """Normalises images (3, H, W) of bytes in RGB, which stay apart, each of its own size.

    Args:
        mean, std: of each channel, for values from 0 to 255, in the order that the network takes.
        turned: `rgb_to_bgr=True` where the network takes BGR.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **turned: bool) -> None:
        super().__init__(mean, std, non_blocking=True, **turned)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:  # noqa: ARG002
        """Moves a batch to the device, its `inputs` as normalised floats."""
        cast = self.cast_data(data)
        turned = [2, 1, 0] if self._channel_conversion else slice(None)
        images = [(image[turned].float() - self.mean) / self.std for image in cast["inputs"]]
        return {**cast, "inputs": images}


class _Model(BaseModel):
    """Holds a network, whose keys are torchvision's behind `network.`, and its trunk's weights."""

    def __init__(
        self,
        build: Callable[..., nn.Module],
        backbone: Mapping[str, Any],
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        named = dict(backbone)
        self.weights = named.pop("weights", None)
        with warnings.catch_warnings():
            # The weights come later, or a checkpoint with them; what is frozen was checked.
            warnings.simplefilter("ignore", RandomStagesWarning)
            self.network = build(named.pop("variant"), **named)
        if get_world_size() > 1:
            synchronise_norms(self.network)

    def init_weights(self) -> None:
        """Loads the trunk's weights, or raises as `load_weights`; called before the first step."""
        if self.weights is not None:
            trunk = find_trunk(self)
            trunk.loaded_weights = load_weights(trunk, self.weights)


@MODELS.register_module()
class TorchvisionDetector(_Model):
    """Holds a detector of torchvision; ValueError: a name or an argument is wrong.

    Args:
        network: of `DETECTORS`.
        backbone: `variant`, a name of `list_variants()`; `weights`, any source of `load_weights`;
            and further arguments of `resnext_fpn`.
        num_classes: without the background.
        min_size: of the shorter side of an image, in pixels; of several, one is drawn for each
            image in training, and the last one is taken in evaluation.
        max_size: of the longer side.
        aligned: take the pools and anchors of MMDetection and Detectron2, as detectors that
            `resnext convert` wrote from theirs need them.
        options: further arguments of torchvision's class.
        shared: `data_preprocessor`, of `ImagesPreprocessor`.
    """

    def __init__(
        self,
        network: str,
        backbone: Mapping[str, Any],
        num_classes: int,
        *,
        min_size: int | Sequence[int] = 800,
        max_size: int = 1333,
        aligned: bool = False,
        options: Mapping[str, Any] | None = None,
        **shared: Any,
    ) -> None:
        sizes = tuple(min_size) if isinstance(min_size, Sequence) else (min_size,)
        whole = all(isinstance(size, int) for size in (*sizes, max_size))
        if not sizes or not whole or min(sizes) < 32 or max(sizes) > max_size:
            raise ValueError(
                f"min_size {min_size}: must be whole numbers from 32 to max_size, which is "
                f"{max_size}"
            )
        check_one_of("network", network, DETECTORS)
        _check_unsettled("options", options or {}, DETECTOR_SETTLES)
        given: dict[str, Any] = {"min_size": sizes, "max_size": max_size, **(options or {})}
        given |= {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}  # the pixels come normalised

        def build(variant: str, **named: Any) -> nn.Module:
            pyramid = resnext_fpn(variant, **named)
            strides = pyramid.body.strides
            own: dict[str, Any] = {"rpn_anchor_generator": anchors(strides)}
            if aligned:
                own = aligned_options(strides=strides, masks=network == "mask_rcnn")
            return DETECTORS[network](pyramid, num_classes + 1, **{**own, **given})

        super().__init__(build, backbone, **shared)
        for module in self.network.modules():
            if isinstance(module, RPNHead | FastRCNNPredictor):
                module.register_forward_hook(lambda _, __, outputs: in_float32(outputs))

    def forward(
        self, inputs: list[Tensor], targets: Sequence[Any] = (), mode: str = "tensor"
    ) -> Any:
        """Returns losses by torchvision's names in `loss` mode, else what was found in each image.

        Args:
            inputs: (3, H, W) each.
            targets: what torchvision's detectors take in training; `image_id` in evaluation.
        """
        if mode == "loss":
            return self.network(inputs, targets)
        found = self.network(inputs)
        if mode == "tensor":
            return found
        ids = ({"image_id": target["image_id"]} for target in targets)
        return [each | one for each, one in zip(ids, found, strict=True)]


@MODELS.register_module()
class TorchvisionSegmenter(_Model):
    """Holds a segmentation network of torchvision with its auxiliary classifier; ValueError: a name
    or an argument is wrong.

    Args:
        network: of `SEGMENTERS`.
        backbone: `variant` and `weights` as a detector's, with four stages; `trainable_layers`, as
            of `resnext_fpn`; and further arguments of `deeplabv3` and `fcn`.
        num_classes: with the background.
        output_stride: 8 or 16.
    """

    def __init__(
        self,
        network: str,
        backbone: Mapping[str, Any],
        num_classes: int,
        *,
        output_stride: int = 8,
        **shared: Any,
    ) -> None:
        check_one_of("network", network, SEGMENTERS)
        check_range("num_classes", num_classes, 2, IGNORED)
        _check_unsettled("backbone", backbone, SEGMENTER_SETTLES)
        named = dict(backbone)
        layers = named.pop("trainable_layers", EVERYTHING)
        check_range("trainable_layers", layers, 0, EVERYTHING)
        build = partial(
            SEGMENTERS[network],
            output_stride=output_stride,
            num_classes=num_classes,
            aux_classifier=True,
            frozen_stages=EVERYTHING - 1 - layers,
        )
        super().__init__(build, named, **shared)

    def forward(
        self, inputs: list[Tensor], targets: Sequence[Any] = (), mode: str = "tensor"
    ) -> Any:
        """Returns losses in `loss` mode; in `predict` mode the `found` and the true `mask` of each
        image, (H, W) in the size of the mask; else torchvision's logits.

        Args:
            inputs: (3, h, w) each; of one size but in `predict` mode.
            targets: `mask` (H, W) with classes and `IGNORED`.
        """
        if mode == "predict":
            return [
                {"found": self._found(image, target["mask"].shape), "mask": target["mask"]}
                for image, target in zip(inputs, targets, strict=True)
            ]
        outputs = self.network(torch.stack(inputs))
        if mode == "tensor":
            return outputs
        masks = torch.stack([target["mask"] for target in targets])
        return {
            "loss_out": pixel_loss(outputs["out"], masks),
            "loss_aux": AUX_WEIGHT * pixel_loss(outputs["aux"], masks),
        }

    def _found(self, image: Tensor, shape: torch.Size) -> Tensor:
        logits = self.network(image[None])["out"].float()
        return interpolate(logits, shape, mode="bilinear", align_corners=False)[0].argmax(0)


def pixel_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Returns the mean over the pixels that have a class; 0 where none has, as in some crops."""
    total = cross_entropy(logits.float(), masks, ignore_index=IGNORED, reduction="sum")
    return total / (masks != IGNORED).sum().clamp(min=1)


def anchors(strides: Sequence[int]) -> AnchorGenerator:
    """Returns torchvision's anchors of Faster R-CNN, eight pixels wide in each map of a pyramid.

    Args:
        strides: of the trunk's maps, as many as there are; pooling adds one.
    """
    sizes = tuple((8 * stride,) for stride in (*strides, 2 * strides[-1]))
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


def find_trunk(model: nn.Module) -> NamedResNeXt:
    """Returns the backbone without its pyramid."""
    return next(module for module in model.modules() if isinstance(module, NamedResNeXt))
