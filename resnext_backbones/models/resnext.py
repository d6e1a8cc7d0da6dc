"""The trunk: a stem, up to four stages, and a tuple of feature maps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.compute import folded_cache
from resnext_backbones.compute.conv_norm import conv_norm
from resnext_backbones.compute.fuse import fuse_
from resnext_backbones.compute.plain import is_plain
from resnext_backbones.models.bottleneck import Bottleneck
from resnext_backbones.models.layers import (
    Conv,
    Layers,
    Norm,
    Plugin,
    make_norm,
    norm_factory,
    norm_name_of,
)
from resnext_backbones.models.options import (
    check_images,
    check_positive,
    check_range,
    per_stage,
    positive_integers,
    stage_blocks,
    stage_indices,
)
from resnext_backbones.models.stem import deep_stem as build_deep_stem

EXPANSION = 4
"""Channels of a block's output over those of a ResNet bottleneck's 3x3 convolution."""


class ResNeXt(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="resnext_backbones",
    tags=["image-feature-extraction", "resnext"],
):
    """Aggregated residual transformations, Xie et al. (CVPR 2017), arXiv:1611.05431.

    A 7x7 convolution and a max pooling (the stem), then stages `layer1` to `layer4` of
    `Bottleneck` blocks. Stage k has a bottleneck width of C x d x 2^(k-1) channels and gives
    256 x 2^(k-1) (Table 1). With cardinality 1 it is ResNet (base width 64) or Wide ResNet
    (base width 128). Module names are torchvision's. `from_pretrained`, `save_pretrained` and
    `push_to_hub` are those of huggingface_hub: arguments as JSON, weights as safetensors.

    Args:
        depth: 26, 29, 50, 101, 152, or the number of blocks of each stage.
        cardinality: C, the groups of the 3x3 convolutions.
        base_width: d, channels a group in stage 1.
        in_channels: of the images.
        stem_channels: out of the stem; None is `base_channels`.
        base_channels: the outputs of stage k have 4 x base_channels x 2^(k-1) channels.
        deep_stem: three 3x3 convolutions in place of the 7x7 one (He et al., 2019, Figure 2(b)).
        small_images: a 3x3 convolution with stride 1 is the whole stem, as for CIFAR (section 5.3).
        avg_down: average pooling in the shortcuts (He et al., 2019, Figure 2(c)).
        stride_in_1x1: stride in the first 1x1 convolution of a block, as the original ResNet
            does; False, in the 3x3 one, is what all public ResNeXt weights expect.
        num_stages: 1 to 4; None is all that `depth` says.
        strides, dilations: one for each stage; None is (1, 2, 2, 2) and no dilation. The stem has a
            stride of 4, or of 1 with `small_images`.
        contract_dilation: halve the dilation of each stage's first block, as torchvision does where
            it replaces strides by dilation, and MMSegmentation by this name.
        out_indices: the stages whose outputs are returned, 0 for stage 1; None is all of them.
            Stages above the last one are not built.
        frozen_stages: -1 for none, 0 for the stem, k for the stem and stages 1 to k. Their
            parameters get no gradient and their norms stay in eval mode.
        norm_eval: keep batch norms in eval mode: statistics frozen, affine parameters trained.
        norm: `BN`, `SyncBN`, `GN`, `FrozenBN`, or a callable from channels to a module. In the
            state dict it is `bn1`, or `gn1` for GroupNorm, as in MMDetection.
        conv: builds the convolutions; called as `torch.nn.Conv2d`.
        conv3x3: for each stage what builds the 3x3 convolutions of its blocks (deformable ones,
            say), or None for `conv`.
        plugins: for each stage the extra modules that its blocks run.
        zero_init_last_norm: start every block as the identity (Goyal et al., 2017, section 5.1).
        drop_path: probability of skipping a block's residual branch, for each image, in training:
            this value in the last block, growing from 0 in the first (Huang et al., 2016).
        with_cp: activation checkpointing: the backward pass computes each block again.
        fold_norm: fold batch norms with frozen statistics into the convolutions, also while
            their affine parameters are trained: the same arithmetic with less memory and time.
            What is folded can be differentiated once, not twice.
        channels_last: keep weights and activations in PyTorch's channels_last memory format, if
            the stem's convolutions are plain ones.

    Attributes:
        channels: of the outputs.
        strides: of the outputs, in pixels of the image.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        *,
        depth: int | Sequence[int] = 50,
        cardinality: int = 32,
        base_width: int = 4,
        in_channels: int = 3,
        stem_channels: int | None = None,
        base_channels: int = 64,
        deep_stem: bool = False,
        small_images: bool = False,
        avg_down: bool = False,
        stride_in_1x1: bool = False,
        num_stages: int | None = None,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        contract_dilation: bool = False,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm: str | Norm = "BN",
        conv: Conv = nn.Conv2d,
        conv3x3: Sequence[Conv | None] | None = None,
        plugins: Sequence[Sequence[Plugin]] | None = None,
        zero_init_last_norm: bool = True,
        drop_path: float = 0,
        with_cp: bool = False,
        fold_norm: bool = True,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        blocks = stage_blocks(depth, num_stages)
        n = len(blocks)
        check_positive(
            cardinality=cardinality,
            base_width=base_width,
            in_channels=in_channels,
            base_channels=base_channels,
        )
        stem_channels = base_channels if stem_channels is None else stem_channels
        check_positive(stem_channels=stem_channels)
        stage_strides = positive_integers(
            "strides", per_stage("strides", strides, n, (1, 2, 2, 2)[:n])
        )
        stage_dilations = positive_integers(
            "dilations", per_stage("dilations", dilations, n, (1,) * n)
        )
        stage_conv3x3 = per_stage("conv3x3", conv3x3, n, (None,) * n)
        stage_plugins = per_stage("plugins", plugins, n, ((),) * n)
        indices = stage_indices("out_indices", range(n) if out_indices is None else out_indices, n)
        check_range("frozen_stages", frozen_stages, -1, n)
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be in [0, 1), got {drop_path}")
        if deep_stem and small_images:
            raise ValueError("deep_stem and small_images are two stems: set one of them")

        make = norm_factory(norm)
        prefix = norm_name_of(make_norm(make, stem_channels))
        self.in_channels = in_channels
        self.out_indices = indices
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.fold_norm = fold_norm
        self.zero_init_last_norm = zero_init_last_norm
        self._stem_names: tuple[str, ...]
        if deep_stem:
            self._stem_names = ("stem",)
            self.stem = build_deep_stem(in_channels, stem_channels, conv, make, fold_norm)
        else:
            self._stem_names = ("conv1", f"{prefix}1", "relu")
            size, stride = (3, 1) if small_images else (7, 2)
            self.conv1 = conv(
                in_channels, stem_channels, size, stride=stride, padding=size // 2, bias=False
            )
            self.add_module(f"{prefix}1", make_norm(make, stem_channels))
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, padding=1)

        channels = stem_channels
        chances = iter(torch.linspace(0, drop_path, sum(blocks), device="cpu").tolist())
        for i in range(max(indices) + 1):
            layers = Layers(
                conv,
                stage_conv3x3[i] or conv,
                make,
                prefix,
                tuple(stage_plugins[i]),
                fold_norm,
            )
            out_channels = EXPANSION * base_channels * 2**i
            dilation = stage_dilations[i]
            first_dilation = dilation // 2 if contract_dilation and dilation > 1 else dilation
            stage = [
                Bottleneck(
                    channels if b == 0 else out_channels,
                    cardinality * base_width * 2**i,
                    out_channels,
                    cardinality=cardinality,
                    stride=stage_strides[i] if b == 0 else 1,
                    dilation=first_dilation if b == 0 else dilation,
                    stride_in_1x1=stride_in_1x1,
                    avg_down=avg_down,
                    layers=layers,
                    drop_path=next(chances),
                    with_cp=with_cp,
                )
                for b in range(blocks[i])
            ]
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
            channels = out_channels

        total_strides = list(accumulate(stage_strides, mul, initial=1 if small_images else 4))[1:]
        self.channels = tuple(EXPANSION * base_channels * 2**i for i in indices)
        self.strides = tuple(total_strides[i] for i in indices)
        # A checkpoint of the whole network stays loadable where upper stages were not built.
        self._unbuilt = tuple(f"layer{i + 1}." for i in range(max(indices) + 1, 4))
        self.register_load_state_dict_pre_hook(_drop_unbuilt_stages)
        self.train()
        self.reset_parameters()
        # A convolution of another kind (with standardised weights, say) may count on NCHW weights.
        plain = [module for module in self._own_layers() if is_plain(module)]
        self.channels_last = channels_last and any(map(is_plain, self._stem_layers()))
        if self.channels_last:
            for module in plain:
                module.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> list[nn.Sequential]:
        """`layer1` and the ones after it, as far as they are built."""
        return [getattr(self, f"layer{i + 1}") for i in range(max(self.out_indices) + 1)]

    def blocks(self) -> Iterator[Bottleneck]:
        """Every block, from the first stage on."""
        for stage in self.stages:
            for block in stage:
                assert isinstance(block, Bottleneck)
                yield block

    def _own_layers(self) -> list[nn.Module]:
        """Convolutions and norms, but neither plugins nor what is inside a convolution."""
        return self._stem_layers() + [m for block in self.blocks() for m in block.own_layers()]

    def _stem_layers(self) -> list[nn.Module]:
        return [m for name in self._stem_names for m in self.get_submodule(name).modules()]

    def reset_parameters(self) -> None:
        """Draw new weights: He et al. (2015), fan-out, for convolutions; norms as the identity.

        Modules that a factory brought along (deformable convolutions, plugins) keep their own
        initialisation: their offsets must start at zero.
        """
        for module in self._own_layers():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm2d):
                module.reset_parameters()
        for block in self.blocks():
            gamma = getattr(block.last_norm, "weight", None)
            # A scale that is not trained could never leave zero again.
            if self.zero_init_last_norm and gamma is not None and gamma.requires_grad:
                nn.init.zeros_(gamma)

    def added_keys(self) -> set[str]:
        """Keys of the state dict that weights of a plain trunk do not have.

        They belong to plugins, and to modules inside a 3x3 convolution, such as the one that a
        deformable convolution computes its offsets with.
        """
        return {
            f"{name}.{key}"
            for name, block in self.named_modules()
            if isinstance(block, Bottleneck)
            for key in block.added_keys()
        }

    def frozen_modules(self) -> list[nn.Module]:
        """The modules of the stem and of the stages that `frozen_stages` freezes."""
        if self.frozen_stages < 0:
            return []
        stem = [self.get_submodule(name) for name in self._stem_names]
        return stem + list(self.stages[: self.frozen_stages])

    def _freeze(self) -> None:
        for module in self.frozen_modules():
            folded_cache.hold(module.eval().requires_grad_(False))

    def train(self, mode: bool = True) -> ResNeXt:
        """Set the mode, but keep frozen stages and, with `norm_eval`, batch norms in eval."""
        super().train(mode)
        folded_cache.drop(self)
        self._freeze()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the stages in `out_indices`.

        Args:
            images: (N, in_channels, H, W), floating point, H and W at least 32.

        Returns:
            A tuple of (N, channels[i], ceil(H / strides[i]), ceil(W / strides[i])).

        Raises:
            ValueError: the images have another shape.
            TypeError: they are not floating point, or not of the weights' type.
        """
        x = self.forward_stem(images)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def forward_stem(self, images: Tensor) -> Tensor:
        """The stem's output, which the first stage takes; arguments and errors as `forward`'s.

        Returns:
            (N, stem_channels, ceil(H / 4), ceil(W / 4)); with `small_images` H and W themselves.
        """
        check_images(images, self.in_channels, next(self.parameters()).dtype)
        x = images
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if self._stem_names == ("stem",):
            return self.maxpool(self.stem(x))
        conv, norm, relu = (self.get_submodule(name) for name in self._stem_names)
        return self.maxpool(relu(conv_norm(x, conv, norm, fold=self.fold_norm)))

    def fuse(self) -> ResNeXt:
        """A copy for inference without norms: each is folded into its convolution.

        Raises:
            ValueError: a norm is no batch norm, or a convolution no plain one; it is named.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        if fused._stem_names == ("stem",):
            fused.stem.fuse_()
        else:
            fuse_(fused, *fused._stem_names[:2])
        for block in fused.blocks():
            block.fuse_()
        return fused


def _drop_unbuilt_stages(
    module: ResNeXt, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    for key in list(state_dict):
        if key.startswith(tuple(prefix + name for name in module._unbuilt)):
            del state_dict[key]
