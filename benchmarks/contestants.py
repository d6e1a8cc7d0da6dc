"""The implementations that are measured: one table, and what it takes to feed all alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.fold import fold
from resnext_backbones.build import build_backbone, build_classifier
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.resnext import ResNeXt
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.formats import FORMATS

FROZEN_STAGES = 1

RECOMPUTING = "inner", "block", "pair"

Part = Callable[[str], nn.Module]


@dataclass(frozen=True)
class Contestant:
    """One implementation of the network.

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
        family: whose names its weights have, a key of `FORMATS`; None is torchvision's.
        same_network: whether it computes what the others do.
        fuse: folds the norms of its trunk for inference.
        layouts: what it takes, beside weights and images in that memory format, by its name.
        depths: those that it can build.
        has_relu_modules: whether its activations can be replaced.
    """

    package: str
    trunk: Part
    frozen_trunk: Part
    classifier: Part | None = None
    mask_rcnn: Part | None = None
    recomputing: Mapping[str, Part] = field(default_factory=dict)
    family: str | None = None
    same_network: bool = True
    fuse: Callable[[Any], nn.Module] = fold
    layouts: Mapping[str, Callable[[nn.Module], None]] = field(default_factory=dict)
    depths: Collection[int] = (26, 50, 101, 152)
    has_relu_modules: bool = True

    def is_installed(self) -> bool:
        """Returns whether it can be measured here."""
        return find_spec(self.package) is not None

    def builds(self, variant: str) -> bool:
        """Returns whether it knows the network's depth, and the network has plain parts."""
        a = VARIANTS[variant]
        plain = Architecture(blocks=a.blocks, cardinality=a.cardinality, base_width=a.base_width)
        return a == plain and a.depth in self.depths

    def canonical(self, name: str) -> str:
        """torchvision's name of one of its weights."""
        name = name.removeprefix(WRAPPED)
        return name if self.family is None else FORMATS[self.family].to_own(name) or name

    def load(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Copy weights by torchvision's names; each tensor of the module must be among them."""
        with torch.no_grad():
            for name, tensor in module.state_dict().items():
                if not name.endswith("num_batches_tracked"):
                    tensor.copy_(state[self.canonical(name)])


def random_state(variant: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights of a classifier by torchvision's names.

    Statistics and affine parameters of the norms have values of their own, and activations keep
    about unit scale: identities and vanishing activations would hide a difference.
    """
    generator = torch.Generator().manual_seed(seed)
    ranges = {"running_var": (0.8, 1.2), "running_mean": (-0.2, 0.2), "bias": (-0.2, 0.2)}
    state = {}
    with torch.device("meta"):
        shapes = build_classifier(variant).state_dict()
    for name, meta in shapes.items():
        tensor = torch.empty(meta.shape)
        if tensor.dim() > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        else:
            low, high = ranges.get(name.rsplit(".", 1)[1], (0.4, 0.6))
            tensor.uniform_(low, high, generator=generator)
        state[name] = tensor
    return state


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
    """The outputs of the four stages of a network with torchvision's names."""

    def __init__(self, model: Any, activation: str, training: bool) -> None:
        super().__init__()
        model.fc = nn.Identity()
        self.model, self.activation = model, activation
        self.train(training)
        if training:
            _freeze(self, (model.conv1, model.bn1, model.layer1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        m: Any = self.model
        x = m.maxpool(getattr(m, self.activation)(m.bn1(m.conv1(images))))
        c2 = m.layer1(x)
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


def _timm_network(variant: Architecture) -> nn.Module:
    from timm.models.resnet import Bottleneck, ResNet

    return ResNet(
        Bottleneck,
        variant.blocks,
        cardinality=variant.cardinality,
        base_width=variant.base_width,
    )


def _resnet_network(variant: Architecture) -> nn.Module:
    return _torchvision_network(replace(variant, cardinality=1, base_width=64))


def _plain_library(
    package: str,
    network: Callable[[Architecture], nn.Module],
    activation: str,
    *,
    same_network: bool = True,
) -> Contestant:
    """Returns a library whose networks have torchvision's names, and none for freezing."""

    def trunk(variant: str, training: bool) -> nn.Module:
        return _Stages(network(VARIANTS[variant]), activation, training)

    return Contestant(
        package,
        *_both(trunk),
        lambda variant: network(VARIANTS[variant]).train(),
        same_network=same_network,
    )


def _both(trunk: Callable[..., nn.Module]) -> tuple[Part, Part]:
    """The trunk for inference, and the one that a detector trains."""
    return partial(trunk, training=False), partial(trunk, training=True)


class _Detectron2Stages(nn.Module):
    """Detectron2's trunk with a tuple of outputs in place of its dict."""

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

WRAPPED = "model."
"""What the modules here call the peer's network that they wrap."""

CONTESTANTS: dict[str, Contestant] = {
    OWN: Contestant(
        "resnext_backbones",
        *_both(_own_trunk),
        _own_classifier,
        partial(_mask_rcnn, own=True),
        {mode: partial(_own_trunk, training=True, recompute=mode) for mode in RECOMPUTING},
        fuse=lambda module: module.fuse(),
        layouts={"contiguous": _leave_channels_second},
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
        family="detectron2",
    ),
    "timm": _plain_library("timm", _timm_network, "act1"),
    "torchvision": _plain_library("torchvision", _torchvision_network, "relu"),
    "resnet": _plain_library("torchvision", _resnet_network, "relu", same_network=False),
}
"""What can be measured. `resnet` is torchvision's ResNet of the same depth, which has about the
same multiply-adds: the paper's Table 1."""
