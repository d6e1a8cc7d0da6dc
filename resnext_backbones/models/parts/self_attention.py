"""Self-attention lets each place of a map look at all others, and knows where they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from resnext_backbones.compute.folding import Folding, can_fold
from resnext_backbones.models.layers import Layers
from resnext_backbones.models.parts.poolings import average

HEADS, DEPTH = 4, 16
"""Each head has so many channels of its queries and keys."""

TRAINED = 256
"""Images have so many pixels a side where the tables of positions are as they were trained."""


class BottleneckAttention(nn.Module):
    """Attends to all places by content and position, Srinivas et al. (2021), as timm has it.

    A norm and an activation come behind it. Names are timm's. A head adds to the product of query
    and key that of the query and of a row of two tables, one of vertical and one of horizontal
    distances. For maps of another size than they were trained for the tables are interpolated
    between their ends, linearly; timm's takes no such maps.

    Args:
        channels, layers: of the map, and the factories of layers.
        side: places of a side of the map for which its tables are.
        stride: of an average pooling behind the attention.
        groups: of the convolution in whose place it stands. It has none.
        dilation: of that convolution. It changes nothing here: attention looks at all places.

    Raises:
        ValueError: the channels are not those of whole heads.
    """

    def __init__(
        self,
        channels: int,
        layers: Layers,
        *,
        side: int,
        stride: int,
        groups: int,  # noqa: ARG002
        dilation: int,  # noqa: ARG002
    ) -> None:
        super().__init__()
        if channels % HEADS:
            raise ValueError(
                f"spatial='BoT' has {HEADS} heads, of which {channels} channels are no multiple"
            )
        self.qkv = cast("nn.Conv2d", layers.conv(channels, 2 * HEADS * DEPTH + channels, 1))
        self.pos_embed = Positions(side)
        self.pool = average(stride) if stride > 1 else nn.Identity()
        self.norm_name = layers.norm.name
        self.add_module(self.norm_name, layers.norm(channels))
        self.act = layers.activation()
        nn.init.trunc_normal_(self.qkv.weight, std=channels**-0.5)

    def own_layers(self) -> list[nn.Module]:
        """Returns the layers whose weights the network draws; it draws its own others itself."""
        return [self.get_submodule(self.norm_name)]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        n, channels, height, width = x.shape
        q, k, v = self.qkv(x).split([HEADS * DEPTH, HEADS * DEPTH, channels], 1)
        # (N, heads, H x W, channels of a head)
        q, k, v = (part.flatten(2).unflatten(1, (HEADS, -1)).transpose(2, 3) for part in (q, k, v))
        bias = self.pos_embed(q.unflatten(2, (height, width)))
        out = functional.scaled_dot_product_attention(q, k, v, bias)
        # Channels stay last in memory, where they are.
        out = out.transpose(1, 2).reshape(n, height, width, channels).permute(0, 3, 1, 2)
        return self.act(self.get_submodule(self.norm_name)(self.pool(out)))

    @torch.no_grad()
    def fuse_(self) -> None:
        """Folds the norm into the values, of which the attention and the pooling are averages.

        Raises:
            ValueError: the norm is no batch norm with statistics.
        """
        norm, qkv = self.get_submodule(self.norm_name), self.qkv
        first, channels = 2 * HEADS * DEPTH, qkv.weight.shape[1]
        values = nn.Conv2d(channels, channels, 1, bias=False, dtype=qkv.weight.dtype)
        values.weight = nn.Parameter(qkv.weight[first:], requires_grad=False)
        if not can_fold(qkv, norm) or not can_fold(values, norm):
            raise ValueError(
                f"qkv, {self.norm_name}: {type(qkv).__name__} and {type(norm).__name__} cannot be "
                "fused; it takes a plain Conv2d and a batch norm with statistics, without hooks"
            )
        weight, bias = Folding.of(values, norm).fold(qkv.weight.dtype)
        qkv.weight = nn.Parameter(torch.cat((qkv.weight[:first], weight)), requires_grad=False)
        zeros = bias.new_zeros(first)
        qkv.bias = nn.Parameter(torch.cat((zeros, bias)), requires_grad=False)
        self.add_module(self.norm_name, nn.Identity())


class Positions(nn.Module):
    """Holds a vector for each distance between two places of a map, by rows and by columns."""

    height_rel: nn.Parameter
    width_rel: nn.Parameter

    def __init__(self, side: int) -> None:
        super().__init__()
        for name in ("height_rel", "width_rel"):
            table = nn.init.trunc_normal_(torch.empty(2 * side - 1, DEPTH), std=DEPTH**-0.5)
            self.register_parameter(name, nn.Parameter(table))

    def forward(self, queries: Tensor) -> Tensor:
        """Maps queries, (N, heads, H, W, DEPTH), to what is added to their products with all keys,
        (N, heads, H x W, H x W).
        """
        height, width = queries.shape[2:4]
        rows = torch.einsum("nahwd,hud->nahwu", [queries, _distances(self.height_rel, height)])
        columns = torch.einsum("nahwd,wvd->nahwv", [queries, _distances(self.width_rel, width)])
        both = rows.unsqueeze(5) + columns.unsqueeze(4)
        return both.flatten(4).flatten(2, 3)


def _distances(table: Tensor, side: int) -> Tensor:
    """Returns the vectors of the distances of places from others, (side, side, DEPTH)."""
    resized = functional.interpolate(
        table.t().unsqueeze(0), size=2 * side - 1, mode="linear", align_corners=True
    )
    places = torch.arange(side, device=table.device)
    return resized[0].t()[places - places.unsqueeze(1) + side - 1]


fx.wrap("_distances")  # a tracer has no number of places for `arange`


def self_attention_at(stage: int, block: int) -> Callable[..., nn.Module] | None:
    """Returns what builds it for a block, both from 0: every second of stage 3, all of stage 4.

    Its input is larger than its output in the first block of a stage.
    """
    if (stage, block % 2) != (2, 1) and stage != 3:
        return None
    reduction = 4 * 2**stage // (2 if block == 0 else 1)
    return partial(BottleneckAttention, side=TRAINED // reduction)
