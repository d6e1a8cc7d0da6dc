"""The trunk for Detectron2, in its YAML configs and in its LazyConfigs.

Importing this module registers `build_resnext_backbone`, `build_resnext_fpn_backbone` and
`build_resnext_retinanet_fpn_backbone`: of a YAML config only `MODEL.BACKBONE.NAME` changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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

from detectron2.layers import get_norm
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn

from resnext_backbones.adapters.names import Named, use_names
from resnext_backbones.models import ResNeXt
from resnext_backbones.models.architecture import EXPANSION, Architecture
from resnext_backbones.models.options import check_range, stage_blocks
from resnext_backbones.models.parts.deformable import DeformConv
from resnext_backbones.models.parts.norms import NORMS, Norm
from resnext_backbones.weights import LoadedWeights, load_weights

STAGES = ("res2", "res3", "res4", "res5")
FEATURES = ("stem", *STAGES)
BASIC_BLOCKS = (18, 34)
MINIMUM = "0.6"
"""The first Detectron2 with LazyConfig, and with all of the engine that `detection` uses."""


def require_version(version: str) -> None:
    """Check a version of Detectron2.

    Raises:
        ImportError: it is too old.
    """
    numbers, least = ([int(n) for n in re.findall(r"\d+", v)[:2]] for v in (version, MINIMUM))
    if numbers < least:
        raise ImportError(
            f"Detectron2 {version} is too old, {MINIMUM} is the first that will do; "
            "docs/detectron2.md says how to install a newer one"
        )


require_version(detectron2.__version__)


class ResNeXtBackbone(Backbone):
    """`resnext_backbones.ResNeXt` as a backbone of Detectron2: a dict of feature maps by name.

    The trunk itself is `trunk`; `resnext_backbones.load_weights(backbone.trunk, ...)` loads into
    it. The state dict has Detectron2's names (`stem.conv1.norm.weight`, `res2.0.conv1.weight`),
    so that checkpoints of detectors are the same as with Detectron2's own `ResNet`.

    Args:
        depth: 50, 101, 152, or the number of blocks of each stage.
        num_groups, width_per_group: cardinality and base width.
        in_channels: of the images.
        stem_out_channels, res2_out_channels: out of the stem, and out of the first stage; each
            stage doubles its own.
        stride_in_1x1: stride in the first 1x1 convolution of a block. Detectron2's default is
            True, for MSRA's ResNets; no public ResNeXt wants it.
        res5_dilation: 1, or 2 for a last stage that is dilated and does not stride.
        out_features: of `stem` and `res2` to `res5`, at least one of the latter. Stages above the
            last one are not built.
        freeze_at: 0 for none, 1 for the stem, k for the stem and the stages up to `res{k}`.
        norm: as of `detectron2.layers.get_norm`: FrozenBN, BN, SyncBN, GN, ..., or a callable.
        deform_on_per_stage: which stages have deformable 3x3 convolutions.
        deform_modulated, deform_num_groups: as of `models.parts.deformable.DeformConv`.
        weights: of the trunk, from any source that `load_weights` takes; None draws new ones.
        fold_norm, channels_last: the trunk's, for less memory and time at the same arithmetic.

    Attributes:
        trunk: the network.
        loaded_weights: what `weights` held.
        stride_in_1x1: as given.

    Raises:
        ValueError: an argument is out of its range; the message names it.
        WeightsError: the weights do not fit.
    """

    def __init__(
        self,
        *,
        depth: int | Sequence[int] = 50,
        num_groups: int = 32,
        width_per_group: int = 4,
        in_channels: int = 3,
        stem_out_channels: int = 64,
        res2_out_channels: int = 256,
        stride_in_1x1: bool = False,
        res5_dilation: int = 1,
        out_features: Sequence[str] = STAGES,
        freeze_at: int = 0,
        norm: str | Norm = "FrozenBN",
        deform_on_per_stage: Sequence[bool] = (False, False, False, False),
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
        weights: str | Path | None = None,
        fold_norm: bool = True,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        _check(depth, res2_out_channels, res5_dilation, out_features, deform_on_per_stage)
        check_range("freeze_at", freeze_at, 0, len(FEATURES))
        deformable = partial(
            DeformConv, modulated=deform_modulated, deform_groups=deform_num_groups
        )
        self.trunk = ResNeXt(
            Architecture(
                blocks=stage_blocks(depth),
                cardinality=num_groups,
                base_width=width_per_group,
                in_channels=in_channels,
                base_channels=res2_out_channels // EXPANSION,
                stem_channels=stem_out_channels,
                stride_in_1x1=stride_in_1x1,
            ),
            strides=(1, 2, 2, 2 // res5_dilation),
            dilations=(1, 1, 1, res5_dilation),
            out_indices=[i for i, name in enumerate(STAGES) if name in out_features],
            frozen_stages=freeze_at - 1,
            norm=_norm(norm),
            conv3x3=[deformable if here else None for here in deform_on_per_stage],
            zero_init_last_norm=False,
            fold_norm=fold_norm,
            channels_last=channels_last,
        )
        self.stride_in_1x1 = stride_in_1x1
        # Where `Backbone.output_shape` looks.
        self._out_features = list(out_features)
        names = [name for name in STAGES if name in out_features]
        self._out_feature_channels = {
            "stem": stem_out_channels, **dict(zip(names, self.trunk.channels, strict=True))
        }  # fmt: skip
        self._out_feature_strides = {
            "stem": 4, **dict(zip(names, self.trunk.strides, strict=True))
        }  # fmt: skip
        use_names(self, "detectron2")
        self.loaded_weights: LoadedWeights | None = None
        if weights is not None:
            self.loaded_weights = load_weights(self.trunk, weights)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps by name, in the network's order.

        Args:
            images: (N, in_channels, H, W), H and W at least 32.

        Returns:
            (N, C, ceil(H / stride), ceil(W / stride)) for each of `out_features`, with the
            channels and strides of `output_shape()`.
        """
        x = self.trunk.forward_stem(images)
        outputs = {"stem": x} if "stem" in self._out_features else {}
        for name, stage in zip(STAGES, self.trunk.stages, strict=False):
            x = stage(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def __getattr__(self, name: str) -> Any:
        if name in FEATURES:
            return Named(name)
        return super().__getattr__(name)


def add_resnext_config(cfg: Any) -> None:
    """Add to a config what Detectron2's own has not: `MODEL.BACKBONE.WEIGHTS`, of the trunk alone.

    It takes what `load_weights` takes; `MODEL.WEIGHTS` is Detectron2's, and loads behind it.
    """
    cfg.MODEL.BACKBONE.WEIGHTS = ""


@BACKBONE_REGISTRY.register()
def build_resnext_backbone(
    cfg: Any, input_shape: Any, weights: str | Path | None = None
) -> ResNeXtBackbone:
    """The backbone that `MODEL.RESNETS` and `MODEL.BACKBONE.FREEZE_AT` describe.

    Args:
        cfg: a config of Detectron2.
        input_shape: a `ShapeSpec` with the channels of the images.
        weights: of the trunk; None is `MODEL.BACKBONE.WEIGHTS`, if there is one.
    """
    options = cfg.MODEL.RESNETS
    return ResNeXtBackbone(
        depth=options.DEPTH,
        num_groups=options.NUM_GROUPS,
        width_per_group=options.WIDTH_PER_GROUP,
        in_channels=input_shape.channels,
        stem_out_channels=options.STEM_OUT_CHANNELS,
        res2_out_channels=options.RES2_OUT_CHANNELS,
        stride_in_1x1=options.STRIDE_IN_1X1,
        res5_dilation=options.RES5_DILATION,
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        norm=options.NORM,
        deform_on_per_stage=options.DEFORM_ON_PER_STAGE,
        deform_modulated=options.DEFORM_MODULATED,
        deform_num_groups=options.DEFORM_NUM_GROUPS,
        weights=weights or cfg.MODEL.BACKBONE.get("WEIGHTS") or None,
    )


@BACKBONE_REGISTRY.register()
def build_resnext_fpn_backbone(
    cfg: Any, input_shape: Any, weights: str | Path | None = None
) -> Backbone:
    """The backbone with FPN: P2 to P5, and P6 by pooling."""
    bottom_up = build_resnext_backbone(cfg, input_shape, weights)
    return _fpn(cfg, bottom_up, LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_resnext_retinanet_fpn_backbone(
    cfg: Any, input_shape: Any, weights: str | Path | None = None
) -> Backbone:
    """The backbone with FPN for RetinaNet: P3 to P5, and P6 and P7 by convolutions of C5."""
    bottom_up = build_resnext_backbone(cfg, input_shape, weights)
    channels = bottom_up.output_shape()["res5"].channels
    return _fpn(cfg, bottom_up, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))


def _fpn(cfg: Any, bottom_up: ResNeXtBackbone, top_block: nn.Module) -> Backbone:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _check(
    depth: int | Sequence[int],
    res2_out_channels: int,
    res5_dilation: int,
    out_features: Sequence[str],
    deform_on_per_stage: Sequence[bool],
) -> None:
    """What the trunk's own errors would name otherwise, or not at all."""
    if depth in BASIC_BLOCKS:
        raise ValueError(
            f"depth must be 50, 101, 152 or a tuple of blocks, got {depth}, whose blocks are "
            "another kind; keep build_resnet_backbone for it"
        )
    if res2_out_channels < EXPANSION or res2_out_channels % EXPANSION:
        raise ValueError(
            f"res2_out_channels must be a multiple of {EXPANSION}, got {res2_out_channels}"
        )
    if res5_dilation not in (1, 2):
        raise ValueError(f"res5_dilation must be 1 or 2, got {res5_dilation}")
    unknown = [name for name in out_features if name not in FEATURES]
    if unknown or not set(out_features) & set(STAGES):
        raise ValueError(
            f"out_features must be of {', '.join(FEATURES)}, at least one of the last four, got "
            f"{list(out_features)}"
        )
    if len(deform_on_per_stage) != len(STAGES):
        raise ValueError(
            f"deform_on_per_stage must have {len(STAGES)} values, got {list(deform_on_per_stage)}"
        )


def _norm(norm: str | Norm) -> Norm:
    """The factory of a norm; the same classes as Detectron2's, which its optimiser knows."""
    if norm == "FrozenBN":  # Detectron2's has arithmetic of its own, which cannot be folded
        return NORMS[norm]
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
