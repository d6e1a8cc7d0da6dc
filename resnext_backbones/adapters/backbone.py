"""MMEngine's words for how a trunk runs are the same for every kind of network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmcv.cnn import build_conv_layer, build_norm_layer, build_plugin_layer
from mmengine.logging import print_log
from mmengine.model import initialize
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from resnext_backbones.adapters.mmengine import address_of, init_cfgs, is_pretrained
from resnext_backbones.mmcv_ops import OPERATORS
from resnext_backbones.models import Architecture, Plugin
from resnext_backbones.models import ResNeXt as Trunk
from resnext_backbones.models.layers import Conv
from resnext_backbones.models.options import per_stage, require
from resnext_backbones.weights import LoadedWeights, WeightsError, load_weights

POSITIONS = {f"after_conv{i}": i for i in (1, 2, 3)}

TRAINING_NORMS = "mmseg", "mmpretrain", "mmcls", "mmselfsup", "mmpose", "mmaction"
"""In configs of these scopes `norm_eval` is False where it is left out, which is what `ResNet` of
models/backbones/resnet.py has in open-mmlab's mmsegmentation, mmpretrain (once mmcls), mmselfsup,
mmpose and mmaction2; in others it is True, as in mmdetection."""

LAST_ALONE = "mmpretrain", "mmcls"
"""In configs of these scopes, whose heads classify, `out_indices` of a `RegNet` is the last stage
alone where it is left out, as there."""


class Backbone(Trunk):
    """Takes what MMDetection's backbones take beside the words for their network.

    Args:
        architecture: of the network.
        norm_eval: None is False in configs of `TRAINING_NORMS`' libraries, as in theirs, and True
            in all others.
        multi_grid: of MMSegmentation: the dilation of each block of the last stage.
        init_cfg: None draws new weights; `Pretrained` loads a trunk, a classifier or a whole
            detector, and stops at any key that is missing or does not fit; with `adapt_input` of
            `load_weights` also for images of other channels. All else as MMEngine.
        pretrained: of MMSegmentation and MMDetection 2: the `checkpoint` of `Pretrained`.
        options: of the trunk, by its names: strides, frozen_stages, fold_norm, ...

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        conv_cfg: Mapping[str, Any] | None = None,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool | None = None,
        dcn: Mapping[str, Any] | None = None,
        stage_with_dcn: Sequence[bool] = (False, False, False, False),
        plugins: Sequence[Mapping[str, Any]] | None = None,
        multi_grid: Sequence[int] | None = None,
        with_cp: bool | str = False,
        zero_init_residual: bool = True,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
        pretrained: str | None = None,
        **options: Any,
    ) -> None:
        num_stages = len(architecture.blocks)
        if multi_grid is not None:
            blocks = architecture.blocks[-1]
            what = f"a dilation for each of the {blocks} blocks of the last stage"
            require(len(multi_grid) == blocks, "multi_grid", what, multi_grid)
            stages = per_stage("dilations", options.get("dilations"), num_stages, (1,) * num_stages)
            options["dilations"] = (*stages[:-1], tuple(multi_grid))
        super().__init__(
            architecture,
            norm_eval=_scope() not in TRAINING_NORMS if norm_eval is None else norm_eval,
            norm=partial(_norm, norm_cfg or {"type": "BN"}),
            conv=partial(build_conv_layer, conv_cfg),
            conv3x3=_deformable(dcn, stage_with_dcn, conv_cfg, num_stages),
            plugins=_plugins(plugins or (), num_stages),
            zero_init_last_norm=zero_init_residual,
            recompute=with_cp,
            **options,
        )
        self.init_cfg = pretrained_init(pretrained, init_cfg)
        self.loaded_weights: LoadedWeights | None = None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the trunk's feature maps, in NCHW order.

        mmcv's compiled operators (RoIAlign is one) read memory as NCHW whatever the tensor says:
        they would compute on scrambled features without an error. With this package's, which read
        any order, necks and heads are no faster in channels_last on a CPU.
        """
        return tuple(output.contiguous() for output in super().forward(images))

    def init_weights(self) -> None:
        """Does what `init_cfg` says; MMEngine calls this before training.

        Raises:
            WeightsError: the pretrained weights do not fit. The trunk is then unchanged.
        """
        print_log(f"mmcv's operators: {OPERATORS}", logger="current")
        cfgs = init_cfgs(self)
        if drawn := [cfg for cfg in cfgs if not is_pretrained(cfg)]:
            initialize(self, drawn)
        else:
            self.reset_parameters()
        for cfg in cfgs:
            if is_pretrained(cfg):
                source, prefix = cfg["checkpoint"], str(cfg.get("prefix") or "")
                try:
                    self.loaded_weights = load_weights(
                        self,
                        address_of(source),
                        prefix=prefix,
                        adapt_input=cfg.get("adapt_input"),
                    )
                except OSError as error:
                    raise WeightsError(f"weights {source}: {error}") from error


def gives_last_alone() -> bool:
    """Returns whether a config is of a library whose backbones return one map by default."""
    return _scope() in LAST_ALONE


def _scope() -> str:
    scope = DefaultScope.get_current_instance()
    return "" if scope is None else scope.scope_name


def pretrained_init(
    pretrained: str | None, init_cfg: dict[str, Any] | list[dict[str, Any]] | None
) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Returns the `init_cfg` that `pretrained` stands for, or the other; ValueError: both, or no
    name is given.
    """
    if pretrained is None:
        return init_cfg
    if init_cfg is not None:
        raise ValueError(f"pretrained={pretrained!r} cannot be given beside init_cfg {init_cfg!r}")
    if not isinstance(pretrained, str) or not pretrained:
        raise ValueError(f"pretrained must be None or the name of weights, got {pretrained!r}")
    return {"type": "Pretrained", "checkpoint": pretrained}


def _norm(norm_cfg: Mapping[str, Any], channels: int) -> nn.Module:
    return build_norm_layer(dict(norm_cfg), channels)[1]


def _deformable(
    dcn: Mapping[str, Any] | None,
    stage_with_dcn: Sequence[bool],
    conv_cfg: Mapping[str, Any] | None,
    num_stages: int,
) -> list[Conv | None] | None:
    """Returns what builds the 3x3 convolutions of each stage."""
    if dcn is None:
        return None
    if conv_cfg is not None:
        raise ValueError(f"conv_cfg must be None beside dcn, got {conv_cfg!r}")
    stages = per_stage("stage_with_dcn", stage_with_dcn, num_stages, ())
    # The mapping is the config's, and shared by all blocks: it is read, never changed.
    cfg = {key: value for key, value in dcn.items() if key != "fallback_on_stride"}
    conv = partial(_deformable_conv, cfg, dcn.get("fallback_on_stride", False))
    return [conv if here else None for here in stages]


def _deformable_conv(
    cfg: Mapping[str, Any], plain_if_strided: bool, *args: Any, stride: int, **kwargs: Any
) -> nn.Module:
    plain = plain_if_strided and stride > 1
    return build_conv_layer(None if plain else cfg, *args, stride=stride, **kwargs)


def _plugins(cfgs: Sequence[Mapping[str, Any]], num_stages: int) -> list[list[Plugin]]:
    """Returns the plugins of each stage."""
    found: list[list[Plugin]] = [[] for _ in range(num_stages)]
    for cfg in cfgs:
        stages = cfg.get("stages", (True,) * num_stages)
        if len(stages) != num_stages or cfg.get("position") not in POSITIONS:
            raise ValueError(
                f"plugins: stages must have {num_stages} values and position be one of "
                f"{', '.join(POSITIONS)}, got {dict(cfg)}"
            )
        plugin = Plugin(POSITIONS[cfg["position"]], partial(_plugin, cfg["cfg"]))
        for stage, wanted in zip(found, stages, strict=True):
            stage += [plugin] if wanted else []
    return found


def _plugin(cfg: Mapping[str, Any], channels: int) -> tuple[str, nn.Module]:
    own = dict(cfg)
    postfix = own.pop("postfix", "")
    return build_plugin_layer(own, postfix=postfix, in_channels=channels)
