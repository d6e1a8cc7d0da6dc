"""The trunk: a stem, up to four stages, and a tuple of feature maps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.compute import folded_cache, steps
from resnext_backbones.compute.plain import is_plain
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.bottleneck import Bottleneck
from resnext_backbones.models.layers import Conv, Layers, Plugin
from resnext_backbones.models.options import MAX_STAGES, check_images, check_range, stage_indices
from resnext_backbones.models.parts.activations import ACTIVATIONS
from resnext_backbones.models.parts.norms import (
    NORM_KINDS,
    Norm,
    kind_of,
    make_norm,
    norm_factory,
    norm_name_of,
)
from resnext_backbones.models.parts.stems import STEMS
from resnext_backbones.models.stages import stage_options


class ResNeXt(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="resnext_backbones",
    tags=["image-feature-extraction", "resnext"],
    coders={Architecture: (Architecture.to_dict, Architecture.of)},
):
    """Aggregated residual transformations, Xie et al. (CVPR 2017), arXiv:1611.05431.

    A stem, then stages `layer1` to `layer4` of `Bottleneck` blocks. Module names are torchvision's.
    `from_pretrained`, `save_pretrained` and `push_to_hub` are those of huggingface_hub: arguments
    as JSON, weights as safetensors.

    Args:
        architecture: what the weights presuppose, such as a row of `variants.VARIANTS`.
        strides, dilations: one for each stage; None is (1, 2, 2, 2) and no dilation. The stem has a
            stride of its own, 4 for images of usual size.
        contract_dilation: halve the dilation of each stage's first block, as torchvision does where
            it replaces strides by dilation, and MMSegmentation by this name.
        out_indices: the stages whose outputs are returned, 0 for stage 1; None is all of them.
            Stages above the last one are not built.
        frozen_stages: -1 for none, 0 for the stem, k for the stem and stages 1 to k. Their
            parameters get no gradient and their norms stay in eval mode.
        norm_eval: keep batch norms in eval mode: statistics frozen, affine parameters trained.
        norm: `BN`, `SyncBN`, `GN`, `FrozenBN`, or a callable from channels to a module; None is the
            architecture's kind. In the state dict it is `bn1`, or `gn1` for GroupNorm, as in
            MMDetection.
        conv: builds the convolutions; called as `torch.nn.Conv2d`.
        conv3x3: for each stage what builds the 3x3 convolutions of its blocks (deformable ones,
            say), or None for `conv`.
        plugins: for each stage the extra modules that its blocks run.
        zero_init_last_norm: start every block as the identity (Goyal et al., 2017, section 5.1).
        drop_path: probability of skipping a block's residual branch, for each image, in training:
            this value in the last block, growing from 0 in the first (Huang et al., 2016).
        recompute: activation checkpointing: the backward pass computes each block again.
        fold_norm: fold batch norms with frozen statistics into the convolutions, also while
            their affine parameters are trained: the same arithmetic with less memory and time.
            What is folded can be differentiated once, not twice.
        channels_last: keep weights and activations in PyTorch's channels_last memory format, if
            the stem's convolutions are plain ones.

    Attributes:
        architecture: as given; `norm_kind` is that of the norm that was built.
        channels: of the outputs.
        strides: of the outputs, in pixels of the image.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        contract_dilation: bool = False,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm: str | Norm | None = None,
        conv: Conv = nn.Conv2d,
        conv3x3: Sequence[Conv | None] | None = None,
        plugins: Sequence[Sequence[Plugin]] | None = None,
        zero_init_last_norm: bool = True,
        drop_path: float = 0,
        recompute: bool = False,
        fold_norm: bool = True,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        architecture = Architecture.of(architecture)  # the Hub's JSON has a mapping
        n = len(architecture.blocks)
        check_range("frozen_stages", frozen_stages, -1, n)
        self.out_indices = stage_indices("out_indices", out_indices, n)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.fold_norm = fold_norm
        self.zero_init_last_norm = zero_init_last_norm
        make = partial(make_norm, norm_factory(norm or NORM_KINDS[architecture.norm_kind]))
        built = make(architecture.stem_out_channels)
        self.architecture = replace(architecture, norm_kind=kind_of(built))
        layers = Layers(
            conv, make, norm_name_of(built), ACTIVATIONS[architecture.activation], fold_norm
        )
        self._stem_names = self._add(
            STEMS[architecture.stem].build(
                architecture.in_channels, architecture.stem_out_channels, layers
            )
        )
        stages = stage_options(
            architecture,
            layers,
            strides=strides,
            dilations=dilations,
            contract_dilation=contract_dilation,
            conv3x3=conv3x3,
            plugins=plugins,
            drop_path=drop_path,
            recompute=recompute,
        )
        self._add({f"layer{i + 1}": stages[i].build() for i in range(max(self.out_indices) + 1)})
        self.channels = tuple(architecture.out_channels(i) for i in self.out_indices)
        self.strides = tuple(stages[i].total_stride for i in self.out_indices)
        self.register_load_state_dict_pre_hook(_drop_unbuilt_stages)
        self.train()
        self.reset_parameters()
        # A convolution of another kind (with standardised weights, say) may count on NCHW weights.
        self.channels_last = channels_last and any(map(is_plain, self._stem_layers()))
        for module in self._own_layers() if self.channels_last else ():
            if is_plain(module):
                module.to(memory_format=torch.channels_last)

    def _add(self, modules: Mapping[str, nn.Module]) -> tuple[str, ...]:
        for name, module in modules.items():
            self.add_module(name, module)
        return tuple(modules)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Writes the file with what its tensors do not show."""
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        metadata = {"format": "pt", **self.architecture.to_metadata()}
        save_file(state, Path(save_directory) / SAFETENSORS_SINGLE_FILE, metadata=metadata)

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, *_: bool) -> Any:
        """Loads as `load_weights` does, where huggingface_hub would keep random values."""
        from resnext_backbones.weights import load_weights  # which is built on this module

        load_weights(model, model_file)
        return model.to(map_location).eval()

    _load_as_pickle = _load_as_safetensor  # type: ignore[assignment]

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

    def _stem(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self._stem_names]

    def _stem_layers(self) -> list[nn.Module]:
        return [module for part in self._stem() for module in part.modules()]

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
        return self._stem() + list(self.stages[: self.frozen_stages])

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
            (N, stem_channels, ceil(H / s), ceil(W / s)), where s is the stem's stride.
        """
        check_images(images, self.architecture.in_channels, next(self.parameters()).dtype)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return steps.run(images, self._stem(), fold=self.fold_norm)

    def fuse(self) -> ResNeXt:
        """A copy for inference without norms: each is folded into its convolution.

        Raises:
            ValueError: a norm is no batch norm, or a convolution no plain one; it is named.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        steps.fuse_pairs_(fused, fused._stem_names)
        for block in fused.blocks():
            block.fuse_()
        return fused


def _drop_unbuilt_stages(
    module: ResNeXt, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    # A checkpoint of the whole network stays loadable where upper stages were not built.
    unbuilt = tuple(f"{prefix}layer{i + 1}." for i in range(len(module.stages), MAX_STAGES))
    for key in [key for key in state_dict if key.startswith(unbuilt)]:
        del state_dict[key]
