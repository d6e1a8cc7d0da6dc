"""timm's methods on the trunk."""

# Without `from __future__ import annotations`: a traced network that is scripted has the types of
# `forward`, and TorchScript does not look names up.

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import torch
from timm.layers import create_classifier, is_scriptable
from timm.models import register_notrace_function
from timm.models._features import feature_take_indices
from timm.models._manipulate import MATCH_PREV_GROUP
from torch import Tensor, nn
from torch.fx import Proxy

from resnext_backbones.models import Architecture, ResNeXt
from resnext_backbones.models.options import check_one_of, require
from resnext_backbones.models.parts.norms import Norm
from resnext_backbones.models.parts.stems import STEMS, run_stem
from resnext_backbones.models.recompute import BLOCK, PAIR
from resnext_backbones.models.stages import dilated
from resnext_backbones.weights import LoadedWeights, WeightsError, load_weights, preprocessing_of
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.compare import compare
from resnext_backbones.weights.inputs import REPEAT
from resnext_backbones.weights.load import misfit

OUTPUT_STRIDES = (8, 16, 32)

WORDS = {
    "drop_path": "drop_path_rate",
    "zero_init_last_norm": "zero_init_last",
    "strides": "output_stride",
    "dilations": "output_stride",
    "contract_dilation": "output_stride",
}
"""By options of the trunk, what timm calls them or sets them by."""

READ = "(a state dict that timm read)"
"""Messages call weights so whose file is not known here."""


@register_notrace_function
def run_stage(stage: nn.Module, x: Tensor) -> Tensor:
    """Returns `stage(x)`. For timm's tracer it is one step, as `run_stem` is: both stay folded."""
    return stage(x)


register_notrace_function(run_stem)


class TimmResNeXt(ResNeXt):
    """Has the methods of timm's models, and its pooling and its classifier `fc` behind the trunk.

    Args:
        architecture: of the network.
        num_classes: 0 for no classifier.
        in_chans: channels of the images.
        output_stride: 8, 16 or 32, the most pixels of the image to one of a map: dilation takes the
            place of strides.
        global_pool: a pooling of timm's; "" with `num_classes=0` leaves the map as it is.
        drop_rate: of dropout in front of the classifier.
        drop_path_rate, zero_init_last: timm's words for `drop_path` and `zero_init_last_norm`.
        norm_layer: timm's word for a `norm` that is a callable.
        device, dtype: of the parameters.
        options: of the trunk, by its names: frozen_stages, norm_eval, recompute, ...

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    global_pool: Any
    pretrained_cfg: dict[str, Any]  # timm sets it

    def __init__(
        self,
        architecture: Architecture,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        output_stride: int = 32,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        zero_init_last: bool = True,
        norm_layer: Norm | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        check_one_of("output_stride", output_stride, OUTPUT_STRIDES)
        architecture = replace(Architecture.of(architecture), in_channels=in_chans)
        strides, dilations = dilated(architecture, output_stride)
        # There timm pools on, in steps of one pixel.
        alike = max(dilations) == 1 or architecture.shortcut != "pooled"
        require(alike, "output_stride", "32 where a network pools in its shortcuts", output_stride)
        graphs = options.get("cuda_graphs", False)
        require(not graphs, "cuda_graphs", "False in timm's network, which has no one call", graphs)
        for name, word in WORDS.items():
            require(name not in options, name, f"{word} in timm's network", options.get(name))
        if norm_layer is not None:
            require(
                "norm" not in options, "norm", "left out beside norm_layer", options.get("norm")
            )
            options["norm"] = norm_layer
        with nullcontext() if device is None else torch.device(device):
            super().__init__(
                architecture,
                strides=strides,
                dilations=dilations,
                contract_dilation=True,
                drop_path=drop_path_rate,
                zero_init_last_norm=zero_init_last,
                **options,
            )
            stem = {
                "num_chs": architecture.stem_out_channels,
                "reduction": STEMS[architecture.stem].unpooled,
                "module": self._stem_names[-2],
            }
            outputs = enumerate(zip(self.channels, self.strides, strict=True), 1)
            self.feature_info = [
                stem,
                *({"num_chs": c, "reduction": s, "module": f"layer{i}"} for i, (c, s) in outputs),
            ]
            self.in_chans, self.num_features = in_chans, self.channels[-1]
            self.drop = nn.Dropout(drop_rate)
            self.reset_classifier(num_classes, global_pool)
        if dtype is not None:
            self.to(dtype)
        self.loaded_weights: LoadedWeights | None = None
        self._scriptable = is_scriptable()

    @property
    def drop_rate(self) -> float:
        """Gives the rate of dropout in front of the classifier."""
        return self.drop.p

    @drop_rate.setter
    def drop_rate(self, rate: float) -> None:
        self.drop.p = rate

    @property
    def grad_checkpointing(self) -> bool:
        """Tells whether blocks are computed again in the backward pass."""
        return bool(self.recompute)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Chooses `recompute="block"`, or nothing; what a network was built with as "pair" stays.

        Raises:
            ValueError: "pair" cannot be switched off.
        """
        if not (enable and self.recompute == PAIR):
            self.set_recompute(BLOCK if enable else False)

    def get_classifier(self, name_only: bool = False) -> str | nn.Module:
        """Returns the classifier, or its name."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Puts in a new classifier, or none for 0 classes; None keeps the pooling."""
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        first = next(self.parameters())
        place = {"device": first.device, "dtype": first.dtype}
        parts = create_classifier(self.num_features, num_classes, pool_type=pool, **place)
        self.global_pool, self.fc = (part.train(self.training) for part in parts)
        self.num_classes = num_classes
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Returns timm's patterns of parameters for learning rates by layer."""
        stage = r"^layer(\d+)"
        beside = [(rf"{stage}\.(\d+)", None), (rf"{stage}\.conv_transition", MATCH_PREV_GROUP)]
        blocks = stage if coarse else [*beside, (stage, (0,))]
        return {"stem": rf"^(?:{'|'.join(self._stem_names)})", "blocks": blocks}

    def no_weight_decay(self) -> set[str]:
        """Returns the parameters beside biases and norms that are not decayed: there are none."""
        return set()

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Maps (N, in_chans, H, W) to (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Returns the last map, (N, num_features, H', W')."""
        last = x
        for map_ in self._maps(x):
            last = map_
        return last

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Returns what pooling and classifier make of the last map, or pooling alone."""
        x = self.drop(self.global_pool(x))
        return x if pre_logits else self.fc(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Returns the last map and the maps of `indices`, or these alone.

        These are in NCHW order in memory, as heads with compiled operators read it.

        Args:
            x: (N, in_chans, H, W).
            indices: 0 is the stem in front of its pooling, k is stage k. A number asks for so many
                of the last, None for all; they come in the network's order.
            norm: does nothing, as in all networks without a last norm.
            stop_early: compute no map above those of `indices`.
            output_fmt: NCHW.
        """
        del norm
        check_one_of("output_fmt", output_fmt, ["NCHW"])
        taken, last = feature_take_indices(len(self.stages) + 1, indices)
        maps = []
        for i, map_ in enumerate(self._maps(x, last if stop_early else None)):
            x = map_
            if i in taken:
                maps.append(x.contiguous())
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Takes away what the maps of `indices` do not need; returns these in order, from 0."""
        del prune_norm
        taken, last = feature_take_indices(len(self.stages) + 1, indices)
        above = last < len(self.stages)
        self.cut(last)
        if prune_head or above:
            self.num_features = self.feature_info[last]["num_chs"]
            self.reset_classifier(0, "")
        return sorted(set(taken))

    def _maps(self, x: Tensor, number: int | None = None) -> Iterator[Tensor]:
        """Yields the stem's map in front of its pooling, and those of the first stages."""
        as_one = isinstance(x, Proxy) and not self._scriptable
        if as_one:
            how = {"fold": self.fold_norm, "channels_last": self.channels_last}
            x = run_stem(x, self._stem()[:-1], **how)
        else:
            x = self.forward_stem(x, pooled=False)
        yield x
        x = self._stem()[-1](x)
        for stage in self.stages[:number]:
            x = run_stage(stage, x) if as_one else stage(x)
            yield x

    def load_pretrained(self, checkpoint_path: str, prefix: str = "") -> None:
        """Loads any source of `load_weights`, as strictly; timm calls it for `pretrained=True`.

        The classifier is loaded if it has as many classes as `pretrained_cfg` says, and weights for
        other images are adapted by timm's rule. `pretrained_cfg` gets the weights' mean and std.

        Raises:
            FileNotFoundError, WeightsError: as `load_weights`, or the weights want BGR pixels.
        """
        pixels = None
        with suppress(WeightsError):  # not known, or not to be had, which loading says
            pixels = preprocessing_of(checkpoint_path)
        if pixels is not None:
            if pixels.order == "BGR":
                raise WeightsError(
                    f"weights {checkpoint_path}: expect BGR pixels, and timm reads RGB; take "
                    "weights for RGB (docs/weights.md). Nothing was loaded."
                )
            mean, std = map(tuple, pixels.unit())
            self.pretrained_cfg.update(mean=mean, std=std)
        head = self.num_classes == self.pretrained_cfg.get("num_classes")
        self.loaded_weights = load_weights(
            self, checkpoint_path, prefix=prefix, head=head, adapt_input=REPEAT
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads a state dict as `torch.nn.Module` does; a strict one is what `load_weights` takes,
        by the names of any family.

        Raises:
            WeightsError: it does not fit. Nothing is loaded then.
        """
        if strict:
            state_dict = checked(state_dict, self)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def checked(
    state_dict: Mapping[str, Any], network: TimmResNeXt, *, head: bool = True
) -> Mapping[str, Any]:
    """Returns a state dict by the network's names, with what it may lack from the network itself;
    WeightsError: it is one that `load_weights` refuses.
    """
    own = network.state_dict()
    if state_dict.keys() == own.keys() and not compare(state_dict, own):
        return state_dict
    held = Checkpoint.of(state_dict, source=READ)
    if message := misfit(network, held, READ, head=head):
        raise WeightsError(message)
    return {key: held.state.get(key, value) for key, value in own.items()}
