"""The network of a run, from what a checkpoint says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models.detection import FasterRCNN, MaskRCNN

from resnext_backbones.adapters.torchvision import (
    NamedResNeXt,
    deeplabv3,
    fcn,
    pixel_options,
    resnext_fpn,
)
from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm
from resnext_backbones.engine.fit import given_by_option
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision.settings import (
    EVERYTHING,
    IGNORED,
    OUTPUT_STRIDE,
    Settings,
)
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.preprocessing import RGB

AUX_WEIGHT, AUX_LR = 0.5, 10.0
"""Of the auxiliary classifier: its part of the loss, and its learning rate over the others'."""

DETECTORS = {"faster_rcnn": FasterRCNN, "mask_rcnn": MaskRCNN}
SEGMENTERS = {"deeplabv3": deeplabv3, "fcn": fcn}


@dataclass(frozen=True)
class Network:
    """What a network must be built with again to take its own checkpoint.

    Attributes:
        model, backbone, norm, trainable_layers, output_stride: as of `Settings`.
        classes: names; of a detector those of its labels from 1 on, else of all.
        image_mean, image_std: of RGB pixels from 0 to 1.
    """

    model: str
    backbone: str
    norm: str
    trainable_layers: int
    output_stride: int
    classes: tuple[str, ...]
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]

    @classmethod
    def of(cls, settings: Settings, classes: tuple[str, ...]) -> Network:
        """That of a new run.

        Raises:
            InputError: there are no such weights, or none for layers that are not trained.
            WeightsError: it is not known which pixels they expect, or these are BGR.
        """
        recipe, layers = settings.recipe, settings.trainable_layers
        if layers is not None and layers < EVERYTHING and not settings.source:
            raise InputError(
                f"--trainable-layers {layers}: without --weights the frozen ones would keep random "
                "values"
            )
        if settings.source:
            norm, default, pixels = recipe.norm, recipe.trainable_layers, _pixels(settings.source)
        else:
            norm, default, pixels = "BN", EVERYTHING, RGB.unit()
        return cls(
            settings.model,
            settings.backbone,
            settings.norm or norm,
            default if layers is None else layers,
            settings.output_stride or OUTPUT_STRIDE,
            classes,
            *map(tuple, pixels),
        )

    @classmethod
    def from_checkpoint(cls, content: Mapping[str, Any], settings: Settings) -> Network:
        """That of a checkpoint.

        Raises:
            InputError: it is another model or backbone than was asked for.
        """
        found: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in content.items()
        }
        network = cls(**found)
        for option in ("model", "backbone", "norm", "trainable_layers", "output_stride"):
            asked, has = getattr(settings, option), getattr(network, option)
            if asked not in (None, has):
                raise InputError(f"--{option.replace('_', '-')} {asked}: the checkpoint has {has}")
        return network

    def to_checkpoint(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def build(self, settings: Settings, weights: str | None = None) -> nn.Module:
        """The network, with the weights of its backbone if there are some.

        Raises:
            InputError: the backbone or an option does not go with the model.
            WeightsError: the weights do not fit.
        """
        try:
            with given_by_option():
                return self._build(settings, weights)
        except WeightsError:
            raise
        except ValueError as error:
            raise InputError(f"--model {self.model} --backbone {self.backbone}: {error}") from error

    def _build(self, settings: Settings, weights: str | None) -> nn.Module:
        if self.model in SEGMENTERS:
            return SEGMENTERS[self.model](
                self.backbone,
                output_stride=self.output_stride,
                num_classes=len(self.classes),
                aux_classifier=True,
                weights=weights,
                norm=self.norm,
                frozen_stages=EVERYTHING - 1 - self.trainable_layers,
            )
        trunk = resnext_fpn(
            self.backbone, weights=weights, norm=self.norm, trainable_layers=self.trainable_layers
        )
        return DETECTORS[self.model](
            trunk,
            num_classes=len(self.classes) + 1,
            min_size=settings.sizes,
            max_size=settings.max_size,
            image_mean=list(self.image_mean),
            image_std=list(self.image_std),
            **settings.model_options,
        )


def _pixels(weights: str) -> tuple[list[float], list[float]]:
    with given_by_option():
        options = pixel_options(weights)
    return options["image_mean"], options["image_std"]


def trunk_of(model: nn.Module) -> NamedResNeXt:
    """The backbone without its pyramid."""
    return next(module for module in model.modules() if isinstance(module, NamedResNeXt))


def losses(model: nn.Module, images: Any, targets: Any) -> dict[str, Tensor]:
    """A training step's losses by name; they add up.

    Args:
        images: a list of (3, H, W) for detectors, (N, 3, H, W) else.
        targets: what torchvision's detectors take, or (N, H, W) with classes and `IGNORED`.
    """
    if isinstance(images, list):
        return model(images, targets)
    outputs = model(images)
    found = {"loss": _pixel_loss(outputs["out"], targets)}
    if "aux" in outputs:
        found["loss_aux"] = AUX_WEIGHT * _pixel_loss(outputs["aux"], targets)
    return found


def _pixel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The mean over the pixels that have a class; 0 where none has, which a crop can come to."""
    total = cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
    return total / (target != IGNORED).sum().clamp(min=1)


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """What is trained; `scale` is on the learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = AUX_LR if name.startswith("aux_classifier.") else 1.0
            groups.setdefault(scale, []).append(parameter)
    return [{"params": params, "scale": scale} for scale, params in groups.items()]


def synchronise_norms(module: nn.Module) -> None:
    """Let batch norms follow the batches of all processes."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = SyncBatchNorm(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            synchronise_norms(child)


def autocast(amp: str | None, device: torch.device) -> torch.autocast:
    """Around the forward pass."""
    dtype = torch.float16 if amp == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=amp is not None)
