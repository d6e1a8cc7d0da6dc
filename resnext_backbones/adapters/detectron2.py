"""Detectron2's YAML configs and LazyConfigs get the trunk here.

Importing this module registers `build_resnext_backbone`, `build_resnext_fpn_backbone` and
`build_resnext_retinanet_fpn_backbone`: of a YAML config only `MODEL.BACKBONE.NAME` changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

try:
    import detectron2
except ImportError as error:
    raise ImportError(
        f"Detectron2 cannot be imported ({error}); it is not on PyPI, install it from its "
        "maintainers: python -m pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2.git'"
    ) from error

from detectron2.config import get_cfg
from detectron2.layers import get_norm
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn

from resnext_backbones.adapters.names import Named, use_detectron2_names
from resnext_backbones.models import ResNeXt
from resnext_backbones.models.architecture import EXPANSION, Architecture
from resnext_backbones.models.options import (
    check_one_of,
    check_range,
    per_stage,
    require,
    stage_blocks,
)
from resnext_backbones.models.parts.deformable import DeformConv
from resnext_backbones.models.parts.norms import Norm
from resnext_backbones.models.parts.stems import STEMS
from resnext_backbones.models.scripting import scriptable
from resnext_backbones.variants import architecture_of
from resnext_backbones.weights import LoadedWeights, load_weights

STAGES = ("res2", "res3", "res4", "res5")
FEATURES = ("stem", *STAGES)
BASIC_BLOCKS = (18, 34)
MINIMUM = "0.6"
"""The first Detectron2 with LazyConfig, and with all of the engine that the tasks use."""

FIELDS = {
    "depth": "blocks",
    "num_groups": "cardinality",
    "width_per_group": "base_width",
    "stem_out_channels": "stem_channels",
    "res2_out_channels": "base_channels",
    "stride_in_1x1": "stride_in_1x1",
}
"""Detectron2's words for an architecture, and this package's."""

ADDED = ("WEIGHTS", "VARIANT", "ADAPT_INPUT")
"""Keys of `MODEL.BACKBONE` that Detectron2 has not."""

RES5_STRIDES = {1: 2, 2: 1}
"""The stride of the last stage, by its dilation."""


def require_version(version: str) -> None:
    """Raises an ImportError where a version of Detectron2 is too old."""
    numbers, least = ([int(n) for n in re.findall(r"\d+", v)[:2]] for v in (version, MINIMUM))
    if numbers < least:
        raise ImportError(
            f"Detectron2 {version} is too old, {MINIMUM} is the first that will do; "
            "docs/detectron2.md says how to install a newer one"
        )


require_version(detectron2.__version__)


class ResNeXtBackbone(Backbone):
    """Gives the feature maps of `resnext_backbones.ResNeXt` by Detectron2's names.

    The state dict has Detectron2's names (`stem.conv1.norm.weight`, `res2.0.conv1.weight`), and
    checkpoints of detectors are those of its own `ResNet`. A network with a part that it does not
    have keeps the names of `trunk`.

    Args:
        variant: a name of `list_variants()`; of the next six arguments those that are given must
            then be the variant's.
        depth: 50, 101, 152, or the number of blocks of each stage; None is 50.
        num_groups, width_per_group: cardinality and base width; None is 32 and 4.
        stem_out_channels, res2_out_channels: None is 64 and 256. Each stage doubles its output.
        stride_in_1x1: stride in the first 1x1 convolution of a block; None is False. Detectron2's
            default is True, for MSRA's ResNets; no public ResNeXt wants it.
        res5_dilation: 1, or 2 for a last stage that is dilated and does not stride.
        out_features: of `stem` and `res2` to `res5`, at least one of the latter; None is all of the
            latter. Stages above the last one are not built.
        freeze_at: 0 for none, 1 for the stem, k for the stem and the stages up to `res{k}`.
        norm: as of `detectron2.layers.get_norm`: FrozenBN, BN, SyncBN, GN, ..., or a callable.
        deform_on_per_stage: which stages have deformable 3x3 convolutions.
        in_channels: of the images; a YAML config has as many as `MODEL.PIXEL_MEAN`.
        weights: of the trunk, from any source that `load_weights` takes; None draws new ones.
        adapt_input: as of `load_weights`, for another number of `in_channels` than the weights'.
        options: further ones of the trunk, such as `fold_norm`.

    Attributes:
        trunk: the network, into which `load_weights(backbone.trunk, ...)` loads.
        loaded_weights: what `weights` held.

    Raises:
        ValueError: an argument is out of its range, or not the variant's; the message names it.
        WeightsError: the weights do not fit.
    """

    def __init__(
        self,
        *,
        variant: str | None = None,
        depth: int | Sequence[int] | None = None,
        num_groups: int | None = None,
        width_per_group: int | None = None,
        stem_out_channels: int | None = None,
        res2_out_channels: int | None = None,
        stride_in_1x1: bool | None = None,
        in_channels: int = 3,
        res5_dilation: int = 1,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
        norm: str | Norm = "FrozenBN",
        deform_on_per_stage: Sequence[bool] = (False, False, False, False),
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
        weights: str | Path | None = None,
        adapt_input: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        words = {
            "depth": depth,
            "num_groups": num_groups,
            "width_per_group": width_per_group,
            "stem_out_channels": stem_out_channels,
            "res2_out_channels": res2_out_channels,
            "stride_in_1x1": stride_in_1x1,
        }
        given = {word: value for word, value in words.items() if value is not None}
        architecture = replace(_architecture(variant, given), in_channels=in_channels)
        stem = STEMS[architecture.stem]
        n = len(architecture.blocks)
        stages, features = STAGES[:n], FEATURES[: n + 1]
        out_features = list(stages if out_features is None else out_features)
        check_one_of("res5_dilation", res5_dilation, RES5_STRIDES if n == len(STAGES) else (1,))
        fits = set(out_features) & set(stages) and set(out_features) <= set(features)
        what = f"of {', '.join(features)}, at least one of the last {n}"
        require(fits, "out_features", what, out_features)
        deformable = per_stage("deform_on_per_stage", deform_on_per_stage, len(STAGES), ())
        check_range("freeze_at", freeze_at, 0, n + 1)
        conv = partial(DeformConv, modulated=deform_modulated, deform_groups=deform_num_groups)
        self.trunk = ResNeXt(
            architecture,
            strides=(stem.then, 2, 2, RES5_STRIDES[res5_dilation])[:n],
            dilations=(1, 1, 1, res5_dilation)[:n],
            out_indices=[i for i, name in enumerate(stages) if name in out_features],
            frozen_stages=freeze_at - 1,
            norm=_norm(norm),
            conv3x3=[conv if here else None for here in deformable[:n]],
            zero_init_last_norm=False,
            **options,
        )
        # Where `Backbone.output_shape` looks.
        self._out_features = out_features
        names = ["stem", *(name for name in stages if name in out_features)]
        channels = architecture.stem_out_channels, *self.trunk.channels
        strides = stem.stride, *self.trunk.strides
        self._out_feature_channels = dict(zip(names, channels, strict=True))
        self._out_feature_strides = dict(zip(names, strides, strict=True))
        use_detectron2_names(self, self.trunk)
        self.adapt_input = adapt_input
        self.loaded_weights: LoadedWeights | None = None
        if weights is not None:
            self.loaded_weights = load_weights(self.trunk, weights, adapt_input=adapt_input)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns feature maps by name: (N, C, ceil(H / stride), ceil(W / stride)) each.

        Channels and strides are those of `output_shape()`; images are the trunk's.
        """
        if "stem" not in self._out_features:
            names = (STAGES[i] for i in self.trunk.out_indices)
            return dict(zip(names, self.trunk(images), strict=True))
        x = self.trunk.forward_stem(images)
        outputs = {"stem": x}
        for name, stage in zip(STAGES, self.trunk.stages, strict=False):
            outputs[name] = x = stage(x)
        return {name: x for name, x in outputs.items() if name in self._out_features}

    __prepare_scriptable__ = scriptable  # for torch.jit.script

    def __getattr__(self, name: str) -> Any:
        return Named(name, self.trunk) if name in FEATURES else super().__getattr__(name)


def add_resnext_config(cfg: Any) -> None:
    """Adds to a config what Detectron2's own has not: the backbone's weights, and its variant.

    `MODEL.BACKBONE.WEIGHTS` takes what `load_weights` takes; `MODEL.WEIGHTS` is Detectron2's, and
    loads behind it. `MODEL.BACKBONE.VARIANT` is a name of `list_variants()`, and `ADAPT_INPUT` as
    of `load_weights`, for as many channels as `MODEL.PIXEL_MEAN` has.
    """
    for key in ADDED:
        cfg.MODEL.BACKBONE[key] = ""


@BACKBONE_REGISTRY.register()
def build_resnext_backbone(
    cfg: Any, input_shape: Any, weights: str | Path | None = None, variant: str | None = None
) -> ResNeXtBackbone:
    """Returns the backbone that `MODEL.RESNETS` and `MODEL.BACKBONE` describe.

    Args:
        cfg: a config of Detectron2.
        input_shape: a `ShapeSpec` with the channels of the images.
        weights: of the trunk; None is `MODEL.BACKBONE.WEIGHTS`, if there is one.
        variant: None is `MODEL.BACKBONE.VARIANT`, if there is one. `MODEL.RESNETS` then has the
            variant's values, or Detectron2's defaults, which say nothing.
    """
    backbone, known = cfg.MODEL.BACKBONE, ResNeXtBackbone.__init__.__kwdefaults__ or {}
    variant = variant or backbone.get("VARIANT") or None
    options = {key.lower(): value for key, value in cfg.MODEL.RESNETS.items()}
    if variant is not None:
        for key, default in get_cfg().MODEL.RESNETS.items():
            if key.lower() in FIELDS and options[key.lower()] == default:
                del options[key.lower()]
    return ResNeXtBackbone(
        **{name: value for name, value in options.items() if name in known},
        variant=variant,
        in_channels=input_shape.channels,
        freeze_at=backbone.FREEZE_AT,
        weights=weights or backbone.get("WEIGHTS") or None,
        adapt_input=backbone.get("ADAPT_INPUT") or None,
    )


@BACKBONE_REGISTRY.register()
def build_resnext_fpn_backbone(cfg: Any, input_shape: Any, **options: Any) -> Backbone:
    """Returns the backbone with FPN: P2 to P5, and P6 by pooling; options as those of the trunk."""
    return _fpn(cfg, build_resnext_backbone(cfg, input_shape, **options), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_resnext_retinanet_fpn_backbone(cfg: Any, input_shape: Any, **options: Any) -> Backbone:
    """Returns the same for RetinaNet: P3 to P5, and P6 and P7 by convolutions of C5."""
    bottom_up = build_resnext_backbone(cfg, input_shape, **options)
    channels = bottom_up.output_shape()["res5"].channels
    return _fpn(cfg, bottom_up, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))


def _fpn(cfg: Any, bottom_up: ResNeXtBackbone, top_block: nn.Module) -> Backbone:
    fpn = cfg.MODEL.FPN
    return FPN(
        bottom_up, fpn.IN_FEATURES, fpn.OUT_CHANNELS, fpn.NORM, top_block, fuse_type=fpn.FUSE_TYPE
    )


def _architecture(variant: str | None, given: dict[str, Any]) -> Architecture:
    """Returns what Detectron2's words describe, or the variant, which they must not contradict."""
    fields = {FIELDS[word]: value for word, value in given.items()}
    if (depth := given.get("depth")) is not None:
        if depth in BASIC_BLOCKS:
            raise ValueError(
                f"depth must be 50, 101, 152 or a tuple of blocks, got {depth}, whose blocks are "
                "another kind; keep build_resnet_backbone for it"
            )
        fields["blocks"] = stage_blocks(depth)
    if (channels := given.get("res2_out_channels")) is not None:
        fits = channels >= EXPANSION and channels % EXPANSION == 0
        require(fits, "res2_out_channels", f"a multiple of {EXPANSION}", channels)
        fields["base_channels"] = channels // EXPANSION
    if variant is None:
        return Architecture(**{"stem_channels": Architecture.base_channels, **fields})
    row = architecture_of(variant)
    try:
        asked = replace(row, **fields)
    except ValueError as error:  # of stages that have values of their own
        raise ValueError(f"variant {variant!r}: {error}; leave {', '.join(given)} out") from error
    if other := [w for w in given if getattr(asked, FIELDS[w]) != getattr(row, FIELDS[w])]:
        raise ValueError(
            f"variant {variant!r} contradicts {', '.join(f'{w}={given[w]!r}' for w in other)}: "
            "leave these out (MODEL.RESNETS: at Detectron2's defaults), or name another variant"
        )
    return row


def _norm(norm: str | Norm) -> str | Norm:
    """Returns the factory of a norm, of Detectron2's classes, which its optimiser knows. FrozenBN
    stays a name: Detectron2's has arithmetic of its own, which cannot be folded.
    """
    if norm == "FrozenBN":
        return norm
    try:
        built = get_norm(norm, 32)
    except KeyError:
        built = None
    if not isinstance(built, nn.Module):
        raise ValueError(
            "norm must be FrozenBN, BN, SyncBN, GN or another that detectron2.layers.get_norm "
            f"knows, or a callable, got {norm!r}; without norms there is nothing to fold"
        )
    return partial(get_norm, norm)
