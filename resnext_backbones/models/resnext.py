"""The trunk is a stem and up to four stages, and gives a tuple of feature maps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.compute import steps
from resnext_backbones.compute.graphs import Graphs
from resnext_backbones.compute.plain import is_plain, is_traced
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.bottleneck import Bottleneck
from resnext_backbones.models.cross_stage import CrossStage
from resnext_backbones.models.freezing import freeze, keep_in_eval
from resnext_backbones.models.hub import HubMixin, check_architecture, say_architecture
from resnext_backbones.models.layers import Conv, Layers, Plugin
from resnext_backbones.models.options import (
    building,
    check_images,
    check_one_of,
    check_range,
    require,
    stage_indices,
)
from resnext_backbones.models.parts.activations import ACTIVATIONS
from resnext_backbones.models.parts.convolutions import CONVOLUTIONS, kinds_of
from resnext_backbones.models.parts.norms import NORM_KINDS, Norm, Norms, values_of
from resnext_backbones.models.parts.poolings import POOLINGS
from resnext_backbones.models.parts.stems import STEMS, channels_of, run_stem
from resnext_backbones.models.recompute import PAIR, mode_of
from resnext_backbones.models.scripting import scriptable
from resnext_backbones.models.stages import build_stages, drop_unbuilt_stages


class ResNeXt(nn.Module, HubMixin):
    """Aggregates residual transformations: Xie et al. (CVPR 2017), arXiv:1611.05431.

    A stem, then stages `layer1` to `layer4` of `Bottleneck` blocks, in a row or as a `CrossStage`.
    Module names are torchvision's.

    Args:
        architecture: what the weights presuppose, such as a row of `variants.VARIANTS`.
        strides, dilations: one for each stage; None is no dilation, and strides of 1, 2, 2, 2
            behind the stem's own, or of 2 each behind a stem that has only 2, as RegNet's. In the
            place of a stage's dilation may be one for each of its blocks (Chen et al., 2017,
            section 3.2.1, "multi-grid").
        contract_dilation: halve the dilation of each stage's first block, as torchvision does where
            it replaces strides by dilation, and MMSegmentation by this name; where each block has
            one of its own, they stay.
        out_indices: the stages whose outputs are returned, 0 for stage 1; None is all of them.
            Stages above the last one are not built.
        frozen_stages: -1 for none, 0 for the stem, k for the stem and stages 1 to k. Their
            parameters get no gradient and their norms stay in eval mode, but for those that are
            given gradients again (`requires_grad_`).
        norm_eval: keep batch norms in eval mode: statistics frozen, affine parameters trained.
        norm: of `parts.norms.NORMS`, or a callable from channels to a module; None is the
            architecture's kind. A callable's norms have their own eps and groups, whatever the
            architecture says.
        conv: builds the convolutions; called as `torch.nn.Conv2d`, whatever the architecture says.
            None is the architecture's.
        conv3x3: for each stage what builds its 3x3 convolutions (deformable ones, say), or None.
        plugins: for each stage the extra modules that its blocks run.
        zero_init_last_norm: start every block as the identity (Goyal et al., 2017, section 5.1).
        drop_path: probability of skipping a block's residual branch, for each image, in training:
            this value in the last block, growing from 0 in the first (Huang et al., 2016).
        recompute: activation checkpointing, of `recompute.MODES`: "inner" keeps a block's input
            and one tensor in it, "block" or True its input, "pair" every second block's.
        fold_norm: fold batch norms with frozen statistics into the convolutions, also while
            their affine parameters are trained: the same arithmetic with less memory and time.
        channels_last: keep activations in PyTorch's channels_last memory format, if the stem's
            convolutions are plain ones.
        cuda_graphs: on a GPU, capture what is launched for images whose shape comes again, forward
            and backward pass, and launch it as one from then on; see `compute.graphs`.

    Attributes:
        architecture: as given; `norm_kind` and `LAYERS` are those of the layers that were built.
        channels: of the outputs.
        strides: of the outputs, in pixels of the image.
        recompute: the name of what is kept for the backward pass; "" is all of it.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    cuda_graphs = False  # also of networks that were pickled whole before there were any

    def __init__(
        self,
        architecture: Architecture,
        *,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int | Sequence[int]] | None = None,
        contract_dilation: bool = False,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm: str | Norm | None = None,
        conv: Conv | None = None,
        conv3x3: Sequence[Conv | None] | None = None,
        plugins: Sequence[Sequence[Plugin]] | None = None,
        zero_init_last_norm: bool = True,
        drop_path: float = 0,
        recompute: bool | str = False,
        fold_norm: bool = True,
        channels_last: bool = True,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__()
        architecture = Architecture.of(architecture)  # the Hub's JSON has a mapping
        n, mode = len(architecture.blocks), mode_of(recompute)
        check_range("frozen_stages", frozen_stages, -1, n)
        self.out_indices = stage_indices("out_indices", out_indices, n)
        self.norm_eval = norm_eval
        self.zero_init_last_norm = zero_init_last_norm
        self.fold_norm = fold_norm
        self.recompute = mode
        self.cuda_graphs = cuda_graphs

        stem, channels = STEMS[architecture.stem], architecture.stem_out_channels
        by_name = {"eps": architecture.eps, "groups": architecture.norm_groups}
        norms = Norms(norm or NORM_KINDS[architecture.norm_kind], channels, **by_name)
        activation = ACTIVATIONS[architecture.activation]
        if conv is None:
            check_one_of("convolution", architecture.convolution, CONVOLUTIONS, "without conv=")
            conv = CONVOLUTIONS[architecture.convolution]
        layers = Layers(partial(conv, bias=False), norms, activation, fold_norm)
        pool = POOLINGS[architecture.pooling].in_stem if stem.pools else nn.Identity
        with building(f"the stem {architecture.stem!r}"):
            modules = stem.build(architecture.in_channels, channels, layers, pool)
        self._stem_names = list(modules)
        stages, stage_strides = build_stages(
            architecture,
            layers,
            max(self.out_indices) + 1,
            strides=strides,
            dilations=dilations,
            contract_dilation=contract_dilation,
            conv3x3=conv3x3,
            plugins=plugins,
            drop_path=drop_path,
            recompute=mode,
        )
        modules |= {f"layer{i}": stage for i, stage in enumerate(stages, 1)}
        for name, module in modules.items():
            self.add_module(name, module)

        convolution = kinds_of(self._own_layers())
        self.architecture = replace(architecture, norm_kind=norms.kind, convolution=convolution)
        self.architecture = self.presupposed()
        self.channels = tuple(architecture.out_channels(i) for i in self.out_indices)
        each = [stem.stride, *stage_strides]
        self.strides = tuple(prod(each[: i + 2]) for i in self.out_indices)
        self.register_state_dict_post_hook(say_architecture)
        self.register_load_state_dict_pre_hook(check_architecture)
        self.register_load_state_dict_pre_hook(drop_unbuilt_stages)
        self.frozen_stages, self._frozen = frozen_stages, -1
        self.train()
        self.reset_parameters()
        # A convolution of another kind may read memory as NCHW. Weights are kept in that order:
        # PyTorch's own tools (pruning, LBFGS, FSDP2) take no other.
        self.channels_last = channels_last and any(map(is_plain, self._stem_layers()))

    @property
    def stages(self) -> list[nn.Module]:
        """Lists `layer1` and the ones after it, as far as they are built."""
        return [
            getattr(self, f"layer{i + 1}") for i in range(max(self.out_indices, default=-1) + 1)
        ]

    @property
    def inplanes(self) -> int:
        """Gives the channels of the last stage, by the name that torchvision looks for."""
        return self.architecture.out_channels(len(self.stages) - 1)

    def blocks(self) -> Iterator[Bottleneck]:
        """Returns every block, from the first stage on."""
        return (module for module in self.modules() if isinstance(module, Bottleneck))

    def _own_layers(self) -> list[nn.Module]:
        """Returns convolutions and norms, but neither plugins nor what is in a convolution."""
        crossing = (stage for stage in self.stages if isinstance(stage, CrossStage))
        parts: list[Bottleneck | CrossStage] = [*self.blocks(), *crossing]
        return self._stem_layers() + [layer for part in parts for layer in part.own_layers()]

    def presupposed(self) -> Architecture:
        """Returns the architecture that weights need now: norms may have been given another eps."""
        values: dict[str, Any] = values_of(self._own_layers())
        return replace(self.architecture, **values)

    def _stem(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self._stem_names]

    def _stem_layers(self) -> list[nn.Module]:
        return [module for part in self._stem() for module in part.modules()]

    def reset_parameters(self) -> None:
        """Draws new weights: He et al. (2015), fan-out, for convolutions; norms as the identity.

        Deformable convolutions and plugins keep their own: offsets must start at zero.
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
        """Returns the keys of the state dict that weights of a plain trunk do not have.

        They belong to plugins, and to modules inside 3x3 convolutions, such as deformable ones.
        """
        blocks = ((name, m) for name, m in self.named_modules() if isinstance(m, Bottleneck))
        added = tuple(f"{name}.{start}" for name, block in blocks for start in block.added)
        # Most networks have none, and loading them asks.
        return {key for key in self.state_dict() if key.startswith(added)} if added else set()

    def frozen_modules(self) -> dict[str, nn.Module]:
        """Returns the modules of the stem and of the stages that `frozen_stages` freezes."""
        stages = [f"layer{i + 1}" for i in range(min(self.frozen_stages, len(self.stages)))]
        names = [*self._stem_names, *stages] if self.frozen_stages >= 0 else []
        return {name: getattr(self, name) for name in names}

    def train(self, mode: bool = True) -> ResNeXt:
        """Sets the mode, but keeps what is frozen and, with `norm_eval`, batch norms in eval."""
        super().train(mode)
        frozen = self.frozen_modules()
        if self._frozen != self.frozen_stages:  # at first, and where somebody sets another number
            freeze(frozen)
            self._frozen = self.frozen_stages
        keep_in_eval(frozen)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the feature maps of the stages in `out_indices`.

        Args:
            images: (N, in_channels, H, W), floating point, H and W at least 32.

        Returns:
            A tuple of (N, channels[i], ceil(H / strides[i]), ceil(W / strides[i])); behind a stem
            that pools by "ceil", which has no padding, a side may have one less.

        Raises:
            ValueError, TypeError: as `options.check_images`.
        """
        if self.cuda_graphs and not torch.compiler.is_compiling():
            graphs = vars(self).setdefault("_graphs", Graphs())
            if (maps := graphs.run(self, images)) is not None:
                return maps
        return self.feature_maps(images)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns what `forward` does, computed by its layers one after the other."""
        x = self.forward_stem(images)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def forward_stem(self, images: Tensor, *, pooled: bool = True) -> Tensor:
        """Returns the stem's output, (N, stem_channels, ceil(H / s), ceil(W / s)) at its stride s.

        Arguments and errors are those of `forward`. `pooled=False` leaves out `maxpool`, the last
        part: a stem that pools then has half its stride.
        """
        if not is_traced(images):
            layers = list(self._stem_layers())
            own = (dict(layer.named_parameters(recurse=False)).get("weight") for layer in layers)
            # DataParallel's replicas have weights but no parameters, quantised layers neither.
            others = (getattr(layer, "weight", None) for layer in layers)
            tensors = (w for w in chain(own, self.parameters(), others) if isinstance(w, Tensor))
            check_images(images, channels_of(layers), next(tensors, images).dtype)
        parts = self._stem() if pooled else self._stem()[:-1]
        return run_stem(images, parts, fold=self.fold_norm, channels_last=self.channels_last)

    __prepare_scriptable__ = scriptable  # for torch.jit.script

    def cut(self, number: int) -> None:
        """Takes away the stages above the first `number`, and what is returned of them."""
        kept = sum(i < number for i in self.out_indices)
        for i in range(max(self.out_indices[:kept], default=-1) + 1, len(self.stages)):
            delattr(self, f"layer{i + 1}")
        self.out_indices = self.out_indices[:kept]
        self.channels, self.strides = self.channels[:kept], self.strides[:kept]

    def set_recompute(self, recompute: bool | str) -> None:
        """Chooses anew what blocks keep for the backward pass, as the argument `recompute` does.

        Raises:
            ValueError: it is none of `recompute.MODES`, or is or was "pair", which a network is
                built with.
        """
        mode = mode_of(recompute)
        alone = PAIR not in (mode, self.recompute)
        require(alone, "recompute", f"other than {PAIR!r}, which a network is built with", mode)
        for block in self.blocks():
            block.set_recompute(mode)
        self.recompute = mode

    def fuse(self) -> ResNeXt:
        """Returns a copy for inference without norms: each is folded into its convolution.

        Raises:
            ValueError: a norm is no batch norm, or a convolution no plain one; it is named.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        fused.architecture = self.presupposed()  # while it has its norms
        steps.fuse_pairs_(fused, fused._stem_names)
        for module in list(fused.modules()):
            if isinstance(module, Bottleneck | CrossStage):
                module.fuse_()
        return fused
