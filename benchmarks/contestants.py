"""The implementations that are measured: one table, and what it takes to feed all alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.fold import fold
from resnext_backbones.build import build_backbone, build_classifier
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.resnext import ResNeXt
from resnext_backbones.variants import VARIANTS

FROZEN_STAGES = 1

RECOMPUTING = "inner", "block", "pair"

Part = Callable[[str], nn.Module]


@dataclass(frozen=True)
class Contestant:
    """Says how an implementation of the network is built.

    Each part is given a variant and returns a module from images to a tuple of outputs.

    Attributes:
        package: that must be installed.
        trunk: four feature maps, for inference.
        frozen_trunk: the same as a detector trains it: stem, stage 1 and the statistics of all
            norms are frozen.
        classifier: logits, in training mode.
        mask_rcnn: the loss of a whole detector, in training mode.
        recomputing: the frozen trunk whose backward pass computes again what it does not keep, by
            what it keeps, of `RECOMPUTING`.
        same_network: whether it computes what the others do.
        fuse: folds the norms of its trunk for inference.
        layouts: what it takes, beside weights and images in that memory format, by its name.
        depths: of the plain networks that it can build.
        lists: whether it has a network that is not plain, by the variant's name.
        has_relu_modules: whether its activations can be replaced.
    """

    package: str
    trunk: Part
    frozen_trunk: Part
    classifier: Part | None = None
    mask_rcnn: Part | None = None
    recomputing: Mapping[str, Part] = field(default_factory=dict)
    same_network: bool = True
    fuse: Callable[[Any], nn.Module] = fold
    layouts: Mapping[str, Callable[[nn.Module], None]] = field(default_factory=dict)
    depths: Collection[int] = (26, 50, 101, 152)
    lists: Callable[[str], bool] = lambda _: False
    has_relu_modules: bool = True

    def is_installed(self) -> bool:
        """Returns whether it can be measured here."""
        return find_spec(self.package) is not None

    def builds(self, variant: str) -> bool:
        """Returns whether it has the network: a plain one of a depth that it knows, or another."""
        a = VARIANTS[variant]
        plain = Architecture(blocks=a.blocks, cardinality=a.cardinality, base_width=a.base_width)
        return (a == plain and a.depth in self.depths) or self.lists(variant)


def _own_trunk(variant: str, training: bool, **options: Any) -> nn.Module:
    options["frozen_stages"] = FROZEN_STAGES if training else -1
    return build_backbone(variant, norm_eval=True, **options).train(training)


def _leave_channels_second(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, ResNeXt):
            part.channels_last = False


def _own_classifier(variant: str) -> nn.Module:
    return build_classifier(variant).train()


def _mask_rcnn(variant: str, own: bool) -> nn.Module:
    from benchmarks.mask_rcnn import MaskRCNN

    return MaskRCNN(variant, own=own)


def _mmdetection_trunk(variant: str, training: bool, with_cp: bool = False) -> nn.Module:
    import_module("resnext_backbones.mmcv_ops")  # which importing mmdet asks for
    from mmdet.models.backbones import ResNeXt

    v = VARIANTS[variant]
    model = ResNeXt(
        depth=v.depth,
        groups=v.cardinality,
        base_width=v.base_width,
        frozen_stages=FROZEN_STAGES if training else -1,
        norm_eval=True,
        with_cp=with_cp,
    )
    model.train(training)
    return model


class _Stages(nn.Module):
    """Gives the outputs of the four stages of a network with torchvision's names."""

    def __init__(self, model: Any, training: bool) -> None:
        super().__init__()
        model.fc = nn.Identity()
        self.model = model
        self.train(training)
        if training:
            _freeze(self, (model.conv1, model.bn1, model.layer1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        m: Any = self.model
        c2 = m.layer1(m.maxpool(m.relu(m.bn1(m.conv1(images)))))
        c3 = m.layer2(c2)
        c4 = m.layer3(c3)
        return c2, c3, c4, m.layer4(c4)


def _freeze(module: nn.Module, frozen: tuple[nn.Module, ...]) -> None:
    """Freezes as a detector does it, for networks that have no arguments for it."""
    for part in frozen:
        part.requires_grad_(False)
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.eval()


def _torchvision_network(variant: Architecture) -> nn.Module:
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(
        Bottleneck,
        list(variant.blocks),
        groups=variant.cardinality,
        width_per_group=variant.base_width,
    )


def _timm_network(variant: str) -> Any:
    import timm

    if timm.is_model(variant):
        return timm.create_model(variant)
    from timm.models.resnet import Bottleneck, ResNet

    v = VARIANTS[variant]
    return ResNet(Bottleneck, v.blocks, cardinality=v.cardinality, base_width=v.base_width)


def _is_timms(variant: str) -> bool:
    import timm

    return timm.is_model(variant)


class _TimmStages(nn.Module):
    """Gives the outputs of the four stages of one of timm's networks."""

    def __init__(self, variant: str, training: bool) -> None:
        super().__init__()
        self.model = _timm_network(variant)
        self.model.reset_classifier(0)
        self.train(training)
        if training:
            _freeze(self, (self,))
            # Modules above it are not those of `feature_info`, where stage 4 may have another name.
            last = f"{self.model.feature_info[FROZEN_STAGES]['module']}."
            named = list(self.model.named_parameters())
            frozen = max(i for i, (name, _) in enumerate(named) if name.startswith(last))
            for _, parameter in named[frozen + 1 :]:
                parameter.requires_grad_(True)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.forward_intermediates(images, 4, intermediates_only=True))


def _resnet_network(variant: Architecture) -> nn.Module:
    return _torchvision_network(replace(variant, cardinality=1, base_width=64))


def _torchvisions(
    network: Callable[[Architecture], nn.Module], *, same_network: bool = True
) -> Contestant:
    return Contestant(
        "torchvision",
        *_both(lambda variant, training: _Stages(network(VARIANTS[variant]), training)),
        lambda variant: network(VARIANTS[variant]).train(),
        same_network=same_network,
    )


def _both(trunk: Callable[..., nn.Module]) -> tuple[Part, Part]:
    """Returns the trunk for inference, and the one that a detector trains."""
    return partial(trunk, training=False), partial(trunk, training=True)


class _Detectron2Stages(nn.Module):
    """Gives Detectron2's trunk a tuple of outputs in place of its dict."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(images).values())


def _detectron2_trunk(variant: str, training: bool) -> nn.Module:
    from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet

    v = VARIANTS[variant]
    stages, channels = [], 64
    for i, blocks in enumerate(v.blocks):
        stage = ResNet.make_stage(
            BottleneckBlock,
            blocks,
            stride_per_block=[1 if i == 0 else 2] + [1] * (blocks - 1),
            in_channels=channels,
            out_channels=256 * 2**i,
            bottleneck_channels=v.cardinality * v.base_width * 2**i,
            num_groups=v.cardinality,
            norm="FrozenBN",
            stride_in_1x1=False,
        )
        stages.append(stage)
        channels = 256 * 2**i
    outputs = ["res2", "res3", "res4", "res5"]
    model = ResNet(BasicStem(norm="FrozenBN"), stages, out_features=outputs)
    if training:
        model.freeze(FROZEN_STAGES + 1)
    return _Detectron2Stages(model.train(training))


OWN = "resnext_backbones"
"""The contestant that is this package."""

CONTESTANTS: dict[str, Contestant] = {
    OWN: Contestant(
        "resnext_backbones",
        *_both(_own_trunk),
        _own_classifier,
        partial(_mask_rcnn, own=True),
        {mode: partial(_own_trunk, training=True, recompute=mode) for mode in RECOMPUTING},
        fuse=lambda module: module.fuse(),
        layouts={"contiguous": _leave_channels_second},
        lists=lambda _: True,
    ),
    "mmdetection": Contestant(
        "mmdet",
        *_both(_mmdetection_trunk),
        mask_rcnn=partial(_mask_rcnn, own=False),
        recomputing={"block": partial(_mmdetection_trunk, training=True, with_cp=True)},
        depths=(50, 101, 152),
    ),
    "detectron2": Contestant(
        "detectron2",
        *_both(_detectron2_trunk),
        has_relu_modules=False,
    ),
    "timm": Contestant(
        "timm",
        *_both(_TimmStages),
        lambda variant: _timm_network(variant).train(),
        lists=_is_timms,
    ),
    "torchvision": _torchvisions(_torchvision_network),
    "resnet": _torchvisions(_resnet_network, same_network=False),
}
"""What can be measured. `resnet` is torchvision's ResNet of the same depth, which has about the
same multiply-adds: the paper's Table 1."""
