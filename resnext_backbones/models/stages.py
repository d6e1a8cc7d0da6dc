"""A stage has blocks in a row; the first one, or what stands in front, may change the shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.bottleneck import Bottleneck
from resnext_backbones.models.cross_stage import CrossStage
from resnext_backbones.models.layers import Conv, Layers, Plugin
from resnext_backbones.models.options import (
    MAX_STAGES,
    building,
    per_stage,
    positive_integers,
    require,
)
from resnext_backbones.models.parts.attention import attention_plugins
from resnext_backbones.models.parts.spatial import ATTEND
from resnext_backbones.models.parts.stems import STEMS
from resnext_backbones.models.recompute import PAIR, Pairs


def build_stages(
    architecture: Architecture,
    layers: Layers,
    number: int,
    *,
    strides: Sequence[int] | None,
    dilations: Sequence[int | Sequence[int]] | None,
    contract_dilation: bool,
    conv3x3: Sequence[Conv | None] | None,
    plugins: Sequence[Sequence[Plugin]] | None,
    drop_path: float,
    recompute: str,
) -> tuple[list[nn.Module], tuple[int, ...]]:
    """Returns the first `number` stages of a network, and their strides; options are `ResNeXt`'s.

    Raises:
        ValueError: an option is out of its range, or has not one value for each stage.
    """
    blocks, n = architecture.blocks, len(architecture.blocks)
    usual = (STEMS[architecture.stem].then, 2, 2, 2)
    strides = positive_integers("strides", per_stage("strides", strides, n, usual))
    rows = _block_dilations(architecture, dilations, halved=contract_dilation)
    conv3x3 = per_stage("conv3x3", conv3x3, n, (None,) * n)
    plugins = per_stage("plugins", plugins, n, ((),) * n)
    is_chance = isinstance(drop_path, int | float) and 0 <= drop_path < 1
    require(is_chance, "drop_path", "in [0, 1)", drop_path)
    # No tensor: one that is fake, or on the device meta, has no values.
    chances = (drop_path * k / max(sum(blocks) - 1, 1) for k in range(sum(blocks)))
    attention = partial(
        attention_plugins, architecture.attention, architecture.attention_after, layers
    )
    in_channels = architecture.stem_out_channels
    crosses = architecture.stage == "csp"
    stages: list[nn.Module] = []
    for i in range(number):
        out_channels, channels = architecture.out_channels(i), architecture.block_channels(i)
        first_dilation, *in_blocks = rows[i]
        row = []
        for j in range(blocks[i]):
            changes = j == 0 and not crosses
            inputs = in_channels if changes else channels
            spatial = architecture.spatial_at(i, j)
            plain = spatial is None or conv3x3[i] is None
            require(plain, "conv3x3", f"None where {architecture.spatial} stands", conv3x3[i])
            attends = spatial is not None and architecture.spatial in ATTEND
            with building(f"layer{i + 1}.{j}"):
                block = Bottleneck(
                    architecture,
                    i,
                    inputs,
                    layers,
                    stride=strides[i] if changes else 1,
                    dilation=first_dilation if changes else in_blocks[j],
                    conv3x3=partial(conv3x3[i] or layers.conv, bias=False),
                    spatial=spatial,
                    plugins=[*(() if attends else attention(inputs)), *plugins[i]],
                    drop_path=next(chances),
                    recompute=recompute,
                )
            row.append(block)
        if crosses:
            with building(f"layer{i + 1}"):
                stage: nn.Module = CrossStage(
                    in_channels,
                    out_channels,
                    row,
                    layers,
                    downsamples=i > 0 or strides[i] > 1,
                    groups=architecture.groups(i),
                    stride=strides[i],
                    dilation=first_dilation,
                    pairs=recompute == PAIR,
                )
        else:
            stage = (Pairs if recompute == PAIR else nn.Sequential)(*row)
        stages.append(stage)
        in_channels = out_channels
    return stages, strides[:number]


def _block_dilations(
    architecture: Architecture, values: Sequence[int | Sequence[int]] | None, *, halved: bool
) -> list[tuple[int, ...]]:
    """Returns for each stage the dilation of what changes the shape, and those of its blocks."""
    n, rows = len(architecture.blocks), []
    given = per_stage("dilations", values, n, (1,) * n)
    for i, (value, number) in enumerate(zip(given, architecture.blocks, strict=True)):
        if not isinstance(value, Sequence):
            (value,) = positive_integers("dilations", (value,))
            rows.append((value // 2 if halved and value > 1 else value, *(value,) * number))
            continue
        plain = architecture.stage == "plain"
        require(plain, "dilations", "one for each stage of blocks that do not stride", values)
        with building(f"layer{i + 1}"):
            each = positive_integers("dilations", value)
            require(len(each) == number, "dilations", f"one for each of {number} blocks", value)
        rows.append((each[0], *each))
    return rows


def dilated(
    architecture: Architecture, output_stride: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns strides and dilations of stages: where a map would have a larger stride than this, in
    pixels of the image, dilation takes the place of strides (Chen et al., 2017, section 3.2).
    """
    stem = STEMS[architecture.stem]
    reached, dilation = stem.stride, 1
    strides, dilations = [], []
    for stride in (stem.then, 2, 2, 2)[: len(architecture.blocks)]:
        if reached * stride > output_stride:
            dilation, stride = dilation * stride, 1
        reached *= stride
        strides.append(stride)
        dilations.append(dilation)
    return tuple(strides), tuple(dilations)


def drop_unbuilt_stages(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Takes the stages that a trunk does not have out of a checkpoint of the whole network, before
    it is loaded.
    """
    above = (f"layer{i + 1}" for i in range(MAX_STAGES))
    unbuilt = tuple(f"{prefix}{name}." for name in above if not hasattr(module, name))
    for key in [key for key in state_dict if key.startswith(unbuilt)]:
        del state_dict[key]
