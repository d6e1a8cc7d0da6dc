"""What stands in the place of 3x3 convolutions, and stages of other shapes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from helpers import PARTS, drawn, gradients, randomise, relative_error, small
from timm.layers import BatchNormAct2d, SelectiveKernel
from timm.layers.bottleneck_attn import BottleneckAttn
from torch import nn

from resnext_backbones.models.layers import Layers
from resnext_backbones.models.parts.activations import ACTIVATIONS
from resnext_backbones.models.parts.deformable import DeformConv
from resnext_backbones.models.parts.norms import Norms
from resnext_backbones.models.parts.selective_kernel import reduced_width
from resnext_backbones.models.parts.self_attention import BottleneckAttention
from resnext_backbones.models.parts.spatial import SPATIAL

LAYERS = Layers(partial(nn.Conv2d, bias=False), Norms("BN", 8), ACTIVATIONS["SiLU"], True)
GEOMETRY = {"groups": 4, "stride": 2, "dilation": 1}


def selective_kernel() -> nn.Module:
    return SelectiveKernel(64, 64, stride=2, groups=4, split_input=False, rd_divisor=32)


def self_attention() -> nn.Module:
    attention = BottleneckAttn(64, feat_size=(16, 16), stride=2, dim_head=16)
    return nn.Sequential(attention, BatchNormAct2d(64, act_layer=nn.SiLU))


PEERS = {"SK": (selective_kernel, {}), "BoT": (self_attention, {"bn.": "1.", "": "0."})}
"""timm's modules, and beginnings of names where they have others."""


def test_each_part_has_a_peer() -> None:
    assert PEERS.keys() == SPATIAL.keys()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", PEERS)
def test_values_and_gradients_are_timms(kind: str, training: bool) -> None:
    build, names = PEERS[kind]
    peer = randomise(build()).double().train(training)
    at = SPATIAL[kind](3, 0)
    assert at is not None
    side = {"side": 16} if kind == "BoT" else {}
    own = at(64, LAYERS, **GEOMETRY, **side).double().train(training)
    state = peer.state_dict()

    def theirs(key: str) -> str:
        found = (to + key.removeprefix(of) for of, to in names.items() if key.startswith(of))
        return next(found, key)

    own.load_state_dict({key: state[theirs(key)] for key in own.state_dict()})
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 64, 16, 16, generator=generator, dtype=torch.float64)
    assert relative_error(own(x), peer(x)) <= 1e-12
    expected = gradients(OneMap(peer), x)
    for name, value in gradients(OneMap(own), x).items():
        key = name.removeprefix("0.")
        assert relative_error(value, expected[f"0.{theirs(key)}"]) <= 1e-10, key


class OneMap(nn.Sequential):
    """A network of one map."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [super().forward(x)]


@pytest.mark.parametrize("channels", [16, 128, 256, 512, 752, 1024, 2048])
def test_reduced_widths_are_timms(channels: int) -> None:
    with torch.device("meta"):
        peer = SelectiveKernel(channels, split_input=False, rd_divisor=32)
    assert reduced_width(channels) == peer.attn.fc_reduce.out_channels


@pytest.mark.parametrize("size", [(16, 16), (8, 8), (31, 12), (1, 5)])
def test_positions_between_the_ends_of_their_tables(size: tuple[int, int]) -> None:
    """Of tables that lie on lines, what is interpolated does too; at its own size nothing is."""
    part = BottleneckAttention(64, LAYERS, side=16, **GEOMETRY)
    steps = torch.linspace(-1, 1, 31).unsqueeze(1) * torch.arange(1, 17)
    with torch.no_grad():
        part.pos_embed.height_rel.copy_(steps)
        part.pos_embed.width_rel.copy_(3 * steps)
    height, width = size
    queries = torch.randn(2, 4, height, width, 16)
    found = part.pos_embed(queries).unflatten(2, size).unflatten(4, size)
    weights = queries @ torch.arange(1.0, 17)
    rows, columns = (torch.arange(side) for side in size)
    down = (rows - rows[:, None])[:, None, :, None] / max(height - 1, 1)
    right = (columns - columns[:, None])[None, :, None, :] / max(width - 1, 1)
    expected = weights[..., None, None] * (down + 3 * right)
    # A map of one row has one distance, whatever it is: softmax does not see it.
    difference = found - expected
    difference = difference - difference.mean((4, 5), keepdim=True)
    assert difference.abs().max() <= 1e-4


def test_one_image_a_batch() -> None:
    images = torch.randn(1, 3, 33, 47)
    for norm in ("BN", "SyncBN", nn.SyncBatchNorm):
        with pytest.raises(ValueError, match=r"cannot train on one .* norm_eval=True.*SyncBN"):
            small(spatial="SK", norm=norm)(images)
    groups = {"norm": partial(nn.GroupNorm, 4)}
    others = PARTS["SK"] | {"norm_eval": True}, PARTS["SK"] | groups
    for options in (*others, PARTS["BoT"], PARTS["csp"]):
        model = small(**options).train()
        sum(output.pow(2).mean() for output in model(images)).backward()
        assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial": "SK", "conv3x3": [None, DeformConv, None, None]}, "conv3x3 .* SK stands"),
        ({"stage": "csp", "shortcut": "pooled"}, "shortcut and stride_in_1x1 .* 'pooled'"),
        (
            {"spatial": "SK", "norm": "GN", "base_channels": 32, "base_width": 8},
            "layer1.0: norm must have groups of several channels .* 32 groups of 32",
        ),
        ({"spatial": "bot"}, "spatial .*'bot'"),
        ({"stage": "dark"}, "stage .*'dark'"),
    ],
)
def test_what_does_not_go_together_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(**options)


def test_heads_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="'BoT' has 4 heads, of which 6 channels are no multiple"):
        BottleneckAttention(6, LAYERS, side=16, **GEOMETRY)


@pytest.mark.parametrize("kind", PARTS)
def test_it_keeps_the_memory_format(kind: str) -> None:
    outputs = small(**PARTS[kind]).eval()(torch.randn(2, 3, 64, 96))
    assert all(o.is_contiguous(memory_format=torch.channels_last) for o in outputs)
