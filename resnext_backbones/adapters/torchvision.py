"""The trunk for torchvision's detectors and segmentation networks.

`resnext_fpn` is what FasterRCNN, MaskRCNN, RetinaNet, FCOS and KeypointRCNN take as `backbone`;
`deeplabv3` and `fcn` are whole networks. Names in the state dicts are torchvision's own, so its
checkpoints of whole detectors load with `load_state_dict`, and the other way round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models.segmentation import FCN, DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
)

from resnext_backbones.build import architecture_and_options
from resnext_backbones.models import ResNeXt
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.options import MAX_STAGES, check_range
from resnext_backbones.models.parts.norms import Norm
from resnext_backbones.weights import (
    LoadedWeights,
    WeightsError,
    load_weights,
    preprocessing_of,
)

FPN_CHANNELS = 256
"""Of every feature map behind the FPN; torchvision's heads are published for that many."""


@dataclass(frozen=True)
class Dilation:
    """What a network for segmentation is built with for one output stride.

    Attributes:
        strides, dilations: of the stages.
        atrous_rates: of DeepLabV3's head: Chen et al. (2017), arXiv:1706.05587, section 4.1.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    atrous_rates: tuple[int, ...]


OUTPUT_STRIDES = {
    8: Dilation((1, 2, 1, 1), (1, 1, 2, 4), (12, 24, 36)),
    16: Dilation((1, 2, 2, 1), (1, 1, 1, 2), (6, 12, 18)),
}
"""By pixels of the image to one of the last feature map; 8 is what torchvision builds."""

SETTLED = {
    "out_indices": "returned_layers",
    "frozen_stages": "trainable_layers",
    "strides": "output_stride",
    "dilations": "output_stride",
    "contract_dilation": "output_stride",
}
"""Arguments of the trunk that a builder settles, and its own that stands for each."""


class NamedResNeXt(ResNeXt):
    """The trunk whose feature maps have names, as torchvision's heads want them.

    Args:
        architecture: of the trunk.
        names: of the feature maps, from the first of `out_indices` on.
        options: the trunk's arguments.

    Attributes:
        loaded_weights: what `weights` of a builder loaded; None for random weights.
    """

    def __init__(self, architecture: Architecture, *, names: Sequence[str], **options: Any) -> None:
        super().__init__(architecture, **options)
        self.names = tuple(names)
        self.loaded_weights: LoadedWeights | None = None

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:  # type: ignore[override]
        """The trunk's feature maps by name: (N, C, H / stride, W / stride) each."""
        return OrderedDict(zip(self.names, super().forward(images), strict=True))


class ResNeXtFPN(nn.Module):
    """The trunk and torchvision's feature pyramid, by the names of its `BackboneWithFPN`.

    Attributes:
        body: the trunk.
        fpn: the pyramid.
        out_channels: of all its feature maps.
    """

    def __init__(self, body: NamedResNeXt, fpn: FeaturePyramidNetwork) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        self.out_channels = FPN_CHANNELS

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(N, 3, H, W) to `"0"`, `"1"`, ... and the names of the extra levels, such as `"pool"`."""
        return self.fpn(self.body(images))


def resnext_fpn(
    name: str,
    *,
    weights: str | Path | None = None,
    trainable_layers: int = 3,
    returned_layers: Sequence[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
    norm: str | Norm = "FrozenBN",
    fpn_norm: Norm | None = None,
    **options: Any,
) -> ResNeXtFPN:
    """What torchvision's `resnet_fpn_backbone` builds, with this trunk.

    Args:
        name: of `list_variants()`.
        weights: of the trunk, any source of `load_weights`; None draws new ones.
        trainable_layers: 5 trains all, 4 all but the stem, 3 stages 2 to 4, 0 nothing. Frozen
            norms stay in eval mode, whatever their kind; torchvision lets their statistics move.
        returned_layers: the stages whose feature maps are used, from 1; None is all of them.
        extra_blocks: what adds levels above; None is `LastLevelMaxPool`. RetinaNet and FCOS are
            published with `LastLevelP6P7`.
        norm: of the trunk, as its argument: `FrozenBN`, `BN`, `SyncBN`, `GN` or a callable.
        fpn_norm: of the pyramid; torchvision's second weights have `torch.nn.BatchNorm2d`.
        options: further arguments of the trunk.

    Raises:
        ValueError: the name is unknown, or an argument out of its range.
        FileNotFoundError, WeightsError: as `load_weights`.
    """
    architecture, rest = _split(name, options, "out_indices", "frozen_stages")
    stages = len(architecture.blocks)
    check_range("trainable_layers", trainable_layers, 0, stages + 1)
    layers = list(range(1, stages + 1)) if returned_layers is None else list(returned_layers)
    if not layers or layers != sorted(set(layers)) or not set(layers) <= set(range(1, stages + 1)):
        raise ValueError(
            f"returned_layers must be increasing stages from 1 to {stages}, got {returned_layers!r}"
        )
    body = NamedResNeXt(
        architecture,
        names=[str(i) for i in range(len(layers))],
        out_indices=[layer - 1 for layer in layers],
        # Stages above the last that is returned are not built, so cannot be frozen either.
        frozen_stages=stages - trainable_layers,
        norm=norm,
        **rest,
    )
    fpn = FeaturePyramidNetwork(
        list(body.channels), FPN_CHANNELS, extra_blocks or LastLevelMaxPool(), fpn_norm
    )
    return ResNeXtFPN(_loaded(body, weights), fpn)


def deeplabv3(
    name: str,
    *,
    output_stride: int = 8,
    num_classes: int = 21,
    weights: str | Path | None = None,
    aux_classifier: bool = False,
    norm: str | Norm = "BN",
    **options: Any,
) -> DeepLabV3:
    """torchvision's `DeepLabV3` on this trunk.

    Args:
        name: of `list_variants()`, with four stages.
        output_stride: 8 as torchvision's own, or 16 with half the rates in the head, for a quarter
            of the work in the last stages.
        num_classes: with the background.
        weights: of the trunk, any source of `load_weights`; None draws new ones.
        aux_classifier: an `FCNHead` on stage 3, whose output `"aux"` helps in training.
        norm: of the trunk.
        options: further arguments of the trunk.

    Raises:
        ValueError: the name is unknown, or an argument out of its range.
        FileNotFoundError, WeightsError: as `load_weights`.
    """
    dilation = _dilation(output_stride)
    body = _dilated(name, dilation, weights, aux_classifier, {"norm": norm, **options})
    head = DeepLabHead(body.channels[-1], num_classes, dilation.atrous_rates)
    return DeepLabV3(body, head, _aux_head(body, num_classes, aux_classifier))


def fcn(
    name: str,
    *,
    output_stride: int = 8,
    num_classes: int = 21,
    weights: str | Path | None = None,
    aux_classifier: bool = False,
    norm: str | Norm = "BN",
    **options: Any,
) -> FCN:
    """torchvision's `FCN` on this trunk; arguments and errors as `deeplabv3`'s."""
    body = _dilated(
        name, _dilation(output_stride), weights, aux_classifier, {"norm": norm, **options}
    )
    head = FCNHead(body.channels[-1], num_classes)
    return FCN(body, head, _aux_head(body, num_classes, aux_classifier))


def pixel_options(source: str | Path) -> dict[str, list[float]]:
    """`image_mean` and `image_std` of a detector's constructor, as weights expect them.

    Args:
        source: of the weights, as `preprocessing_of` takes.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is not known, or the weights want BGR pixels.
    """
    pixels = preprocessing_of(source)
    options = dict(zip(("image_mean", "image_std"), pixels.unit(), strict=True))
    if pixels.order != "RGB":
        values = ", ".join(f"{name}={value}" for name, value in options.items())
        raise WeightsError(
            f"weights {source}: expect {pixels.order} pixels, and torchvision's transform takes "
            "the channels as they come: take weights for RGB (docs/weights.md), or hand over "
            f"images[[2, 1, 0]] and build the detector with {values}"
        )
    return options


def _split(
    name: str, options: dict[str, Any], *settled: str
) -> tuple[Architecture, dict[str, Any]]:
    """The architecture, and the options of the trunk, none of which something else settles."""
    for key in options:
        if key in settled:
            raise ValueError(f"{key} cannot be given: {SETTLED[key]} settles it")
    return architecture_and_options(name, options)


def _dilation(output_stride: int) -> Dilation:
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(
            f"output_stride must be one of {', '.join(map(str, OUTPUT_STRIDES))}, "
            f"got {output_stride!r}"
        )
    return OUTPUT_STRIDES[output_stride]


def _dilated(
    name: str,
    dilation: Dilation,
    weights: str | Path | None,
    aux: bool,
    options: dict[str, Any],
) -> NamedResNeXt:
    """The trunk of a segmentation network: stage 4 as `"out"`, and stage 3 as `"aux"`."""
    settled = ("out_indices", "strides", "dilations", "contract_dilation")
    architecture, rest = _split(name, options, *settled)
    if len(architecture.blocks) != MAX_STAGES:
        raise ValueError(f"name must be a network of {MAX_STAGES} stages, got {name!r}")
    body = NamedResNeXt(
        architecture,
        names=["aux", "out"] if aux else ["out"],
        out_indices=(2, 3) if aux else (3,),
        strides=dilation.strides,
        dilations=dilation.dilations,
        contract_dilation=True,
        **rest,
    )
    return _loaded(body, weights)


def _aux_head(body: NamedResNeXt, num_classes: int, aux: bool) -> FCNHead | None:
    return FCNHead(body.channels[0], num_classes) if aux else None


def _loaded(body: NamedResNeXt, weights: str | Path | None) -> NamedResNeXt:
    if weights is not None:
        body.loaded_weights = load_weights(body, weights)
    return body
