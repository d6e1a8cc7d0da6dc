"""torchvision's detectors and segmentation networks get the trunk here.

`resnext_fpn` is what FasterRCNN, MaskRCNN, RetinaNet, FCOS and KeypointRCNN take as `backbone`;
`deeplabv3` and `fcn` are whole networks. Names in the state dicts are torchvision's own, so its
checkpoints of whole detectors load with `load_state_dict`, and the other way round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torch import Tensor, nn
from torchvision.models import WeightsEnum
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
from resnext_backbones.models.freezing import warn_of_random_stages
from resnext_backbones.models.options import MAX_STAGES, check_one_of, check_range, require
from resnext_backbones.models.parts.norms import Norm
from resnext_backbones.weights import LoadedWeights, WeightsError, load_weights, preprocessing_of

FPN_CHANNELS = 256
"""Of every feature map behind the FPN; torchvision's heads are published for that many."""


class Dilation(NamedTuple):
    """Holds the stages' strides and dilations, and the rates of DeepLabV3's head.

    The rates are those of Chen et al. (2017), arXiv:1706.05587, section 4.1.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    atrous_rates: tuple[int, ...]


OUTPUT_STRIDES = {
    8: Dilation((1, 2, 1, 1), (1, 1, 2, 4), (12, 24, 36)),
    16: Dilation((1, 2, 2, 1), (1, 1, 1, 2), (6, 12, 18)),
}
"""By pixels of the image to one of the last feature map; 8 is what torchvision builds."""

FPN_SETTLES = {"out_indices": "returned_layers", "frozen_stages": "trainable_layers"}
SEGMENTATION_SETTLES = {
    "out_indices": "aux_classifier",
    "strides": "output_stride",
    "dilations": "output_stride",
    "contract_dilation": "output_stride",
}
"""Arguments of the trunk that a builder settles, and its own that stands for each."""

WORDS = {"norm_layer": "norm", "weights_backbone": "weights", "aux_loss": "aux_classifier"}
"""Arguments of torchvision's builders, and those of `segmentation_network` for them."""

Segmenter = TypeVar("Segmenter", DeepLabV3, FCN)

HEADS: dict[type[nn.Module], Callable[[int, int, Dilation], nn.Module]] = {
    DeepLabV3: lambda channels, classes, dilation: DeepLabHead(
        channels, classes, dilation.atrous_rates
    ),
    FCN: lambda channels, classes, _: FCNHead(channels, classes),
}
"""The head of each of torchvision's networks for segmentation."""


class NamedResNeXt(ResNeXt):
    """Gives the trunk's feature maps `names`, as torchvision's heads want them.

    `loaded_weights` is what `weights` of a builder loaded; None for random weights.
    """

    def __init__(self, architecture: Architecture, *, names: Sequence[str], **options: Any) -> None:
        super().__init__(architecture, **options)
        self.names = tuple(names)
        self.loaded_weights: LoadedWeights | None = None

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:  # type: ignore[override]
        """Returns the trunk's feature maps by name: (N, C, H / stride, W / stride) each."""
        return OrderedDict(zip(self.names, super().forward(images), strict=True))


class ResNeXtFPN(nn.Sequential):
    """Puts torchvision's pyramid `fpn` on the trunk `body`, named as in its `BackboneWithFPN`.

    It maps (N, 3, H, W) to `"0"`, `"1"`, ... and the names of the extra levels, such as `"pool"`,
    each of `out_channels`.
    """

    out_channels = FPN_CHANNELS
    if TYPE_CHECKING:  # TorchScript reads what is annotated
        body: NamedResNeXt
        fpn: FeaturePyramidNetwork


def resnext_fpn(
    backbone_name: str,
    *,
    weights: str | Path | WeightsEnum | None = None,
    norm_layer: Norm | None = None,
    trainable_layers: int = 3,
    returned_layers: Sequence[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
    norm: str | Norm = "FrozenBN",
    fpn_norm: Norm | None = None,
    adapt_input: str | None = None,
    **options: Any,
) -> ResNeXtFPN:
    """Returns what torchvision's `resnet_fpn_backbone` builds, with this trunk.

    Args:
        backbone_name: of `list_variants()`.
        weights: of the trunk, any source of `load_weights`, torchvision's own names among them;
            None draws new ones, and stages of these that are frozen are warned of.
        norm_layer: torchvision's word for a `norm` that is a callable.
        trainable_layers: from the last stage down: 5 trains all, also of three stages; of four, 4
            trains all but the stem and 3 stages 2 to 4; 0 trains nothing. Frozen norms stay in eval
            mode, whatever their kind; torchvision lets their statistics move.
        returned_layers: the stages whose feature maps are used, from 1; None is all of them.
        extra_blocks: what adds levels above; None is `LastLevelMaxPool`. RetinaNet and FCOS are
            published with `LastLevelP6P7`.
        norm: of the trunk, as its argument: `FrozenBN`, `BN`, `SyncBN`, `GN` or a callable.
        fpn_norm: of the pyramid; torchvision's second weights have `torch.nn.BatchNorm2d`.
        adapt_input: as of `load_weights`, for another number of `in_channels` than the weights'.
        options: further arguments of the trunk.

    Raises:
        ValueError: the name is unknown, or an argument out of its range.
        FileNotFoundError, WeightsError: as `load_weights`.
    """
    if norm_layer is not None:
        require(norm == "FrozenBN", "norm", "left out beside norm_layer", norm)
        norm = norm_layer
    architecture, rest = _split(backbone_name, options, FPN_SETTLES)
    stages = len(architecture.blocks)
    check_range("trainable_layers", trainable_layers, 0, MAX_STAGES + 1)
    layers = list(range(1, stages + 1) if returned_layers is None else returned_layers)
    fits = layers == sorted(set(layers) & set(range(1, stages + 1))) != []
    require(fits, "returned_layers", f"increasing stages from 1 to {stages}", returned_layers)
    body = NamedResNeXt(
        architecture,
        names=[str(i) for i in range(len(layers))],
        out_indices=[layer - 1 for layer in layers],
        # Stages above the last that is returned are not built, so cannot be frozen either.
        frozen_stages=max(stages - trainable_layers, -1),
        norm=norm,
        **rest,
    )
    top = extra_blocks or LastLevelMaxPool()
    fpn = FeaturePyramidNetwork(list(body.channels), FPN_CHANNELS, top, fpn_norm)
    return ResNeXtFPN(OrderedDict(body=_loaded(body, weights, adapt_input), fpn=fpn))


def segmentation_network(
    name: str,
    *,
    network: type[Segmenter],
    output_stride: int = 8,
    num_classes: int = 21,
    weights: str | Path | WeightsEnum | None = None,
    aux_classifier: bool = False,
    norm: str | Norm = "BN",
    adapt_input: str | None = None,
    **options: Any,
) -> Segmenter:
    """Returns torchvision's `DeepLabV3` or `FCN` on this trunk, as `deeplabv3` and `fcn`.

    Args:
        name: of `list_variants()`, with four stages.
        network: of `HEADS`.
        output_stride: 8 as torchvision's own, or 16 with half the rates in DeepLabV3's head, for a
            quarter of the work in the last stages.
        num_classes: with the background.
        aux_classifier: an `FCNHead` on stage 3, whose output `"aux"` helps in training.
        weights, norm, adapt_input, options: as of `resnext_fpn`, and so are the errors.
    """
    check_one_of("output_stride", output_stride, OUTPUT_STRIDES)
    dilation = OUTPUT_STRIDES[output_stride]
    architecture, rest = _split(name, options, SEGMENTATION_SETTLES)
    fits = len(architecture.blocks) == MAX_STAGES
    require(fits, "name", f"a network of {MAX_STAGES} stages", name)
    body = NamedResNeXt(
        architecture,
        names=["aux", "out"] if aux_classifier else ["out"],
        out_indices=(2, 3) if aux_classifier else (3,),
        strides=dilation.strides,
        dilations=dilation.dilations,
        contract_dilation=True,
        norm=norm,
        **rest,
    )
    head = HEADS[network](body.channels[-1], num_classes, dilation)
    aux = FCNHead(body.channels[0], num_classes) if aux_classifier else None
    return network(_loaded(body, weights, adapt_input), head, aux)


def deeplabv3(name: str, **options: Any) -> DeepLabV3:
    """Returns torchvision's `DeepLabV3` on this trunk; options as of `segmentation_network`, or by
    torchvision's `WORDS`.
    """
    return segmentation_network(name, network=DeepLabV3, **_own_words(options))


def fcn(name: str, **options: Any) -> FCN:
    """Returns torchvision's `FCN` on this trunk; options as of `deeplabv3`."""
    return segmentation_network(name, network=FCN, **_own_words(options))


def pixel_options(source: str | Path) -> dict[str, list[float]]:
    """Returns `image_mean` and `image_std` for torchvision's detectors, as weights expect them.

    Raises:
        FileNotFoundError, WeightsError: as `preprocessing_of`, or the weights want BGR pixels.
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
    name: str, options: dict[str, Any], settled: dict[str, str]
) -> tuple[Architecture, dict[str, Any]]:
    """Returns the architecture, and options of the trunk, none of which something else settles."""
    for key in options:
        if key in settled:
            raise ValueError(f"{key} cannot be given: {settled[key]} settles it")
    return architecture_and_options(name, options)


def _own_words(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options by this module's words; ValueError: one of them is given by both."""
    named = {key: value for key, value in options.items() if key not in WORDS}
    if named.get("num_classes", 0) is None:
        del named["num_classes"]
    for theirs, own in WORDS.items():
        if (value := options.get(theirs)) is not None:
            require(own not in named, own, f"left out beside {theirs}", named.get(own))
            named[own] = value
    return named


def _loaded(
    body: NamedResNeXt, weights: str | Path | WeightsEnum | None, adapt_input: str | None
) -> NamedResNeXt:
    if weights is not None:
        body.loaded_weights = load_weights(body, weights, adapt_input=adapt_input)
    else:
        warn_of_random_stages(body, "train all layers (trainable_layers=5, frozen_stages=-1)")
    return body
