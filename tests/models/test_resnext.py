"""The trunk against torchvision's and timm's networks, and its own promises."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from helpers import PARTS, drawn, randomise, relative_error, small
from torch import nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones import ResNeXt, build_backbone
from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm
from resnext_backbones.models import Architecture, Plugin
from resnext_backbones.models.parts.shortcuts import SHORTCUTS


def stages_of(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of a torchvision or timm network's four stages."""
    x = model.maxpool(
        getattr(model, "relu", getattr(model, "act1", None))(model.bn1(model.conv1(x)))
    )
    outputs = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = getattr(model, name)(x)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize(
    "name",
    ["resnext50_32x4d", "resnext101_32x8d", "resnet50", "wide_resnet50_2", "resnext101_64x4d"],
)
def test_same_feature_maps_as_torchvision(name: str) -> None:
    with torch.device("meta"):
        peer = torchvision.models.get_model(name, weights=None)
    randomise(peer).eval()
    own = build_backbone(name).eval()
    state = {k: v for k, v in peer.state_dict().items() if not k.startswith("fc.")}
    own.load_state_dict(state)
    images = torch.randn(2, 3, 65, 96)
    with torch.no_grad():
        for value, reference in zip(own(images), stages_of(peer, images), strict=True):
            assert relative_error(value, reference) <= 1e-5


def test_deep_stem_and_average_pool_shortcut_as_timm() -> None:
    peer = randomise(timm.create_model("resnext50d_32x4d")).eval()
    own = build_backbone("resnext50d_32x4d").eval()

    def renamed(key: str) -> str:
        if key.startswith("conv1."):
            return key.replace("conv1.", "stem.", 1)
        return key.replace("bn1.", "stem.7.", 1) if key.startswith("bn1.") else key

    state = {renamed(k): v for k, v in peer.state_dict().items() if not k.startswith("fc.")}
    own.load_state_dict(state)
    images = torch.randn(1, 3, 75, 64)
    with torch.no_grad():
        for value, reference in zip(own(images), stages_of(peer, images), strict=True):
            assert relative_error(value, reference) <= 1e-5


def test_stem_for_small_images_as_in_torchvisions_network() -> None:
    """Whose stem is replaced, as is usual for CIFAR."""
    peer = torchvision.models.ResNet(Bottleneck, [3, 3, 3, 1], groups=8, width_per_group=4)
    peer.conv1, peer.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    randomise(peer).eval()
    own = ResNeXt(Architecture(blocks=(3, 3, 3, 1), cardinality=8, base_width=4, stem="3x3")).eval()
    own.load_state_dict({k: v for k, v in peer.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(2, 3, 32, 32)
    assert own.strides == (1, 2, 4, 8)
    with torch.no_grad():
        x = peer.relu(peer.bn1(peer.conv1(images)))
        for name, found in zip(("layer1", "layer2", "layer3", "layer4"), own(images), strict=True):
            x = getattr(peer, name)(x)
            assert relative_error(found, x) <= 1e-5


def test_depth_26_as_timm() -> None:
    peer = timm.create_model("resnet26")
    own = ResNeXt(Architecture(blocks=(2, 2, 2, 2), cardinality=1, base_width=64))
    assert own.state_dict().keys() == {k for k in peer.state_dict() if not k.startswith("fc.")}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 100), (129, 32)])
@pytest.mark.parametrize(
    "options", [*({"shortcut": name} for name in SHORTCUTS), *PARTS.values()], ids=str
)
def test_channels_and_strides_are_those_of_the_outputs(size: tuple[int, int], options) -> None:
    model = drawn(**options)
    outputs = model(torch.randn(2, 3, *size))
    assert model.channels == (64, 128, 256, 512)
    assert model.strides == (4, 8, 16, 32)
    for output, channels, stride in zip(outputs, model.channels, model.strides, strict=True):
        assert output.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_strides_and_dilations_by_stage() -> None:
    model = drawn(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    assert model.strides == (4, 8, 8, 8)
    assert [b.conv2.dilation for b in model.blocks()] == [(1, 1), (1, 1), (2, 2), (2, 2), (4, 4)]
    assert model(torch.randn(1, 3, 64, 64))[-1].shape[-2:] == (8, 8)


def test_each_block_may_have_a_dilation_of_its_own() -> None:
    grid = drawn(strides=(1, 2, 1, 1), dilations=(1, 2, (1, 4), 4), contract_dilation=True)
    assert [b.conv2.dilation[0] for b in grid.blocks()] == [1, 1, 1, 4, 2]


def test_dilation_in_place_of_strides_as_in_torchvision() -> None:
    theirs = torchvision.models.resnext50_32x4d(
        replace_stride_with_dilation=[False, True, True]
    ).eval()
    ours = build_backbone(
        "resnext50_32x4d", strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True
    ).eval()
    randomise(theirs)
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if "fc." not in k})
    images = torch.randn(1, 3, 64, 96)
    for mine, its in zip(ours(images), stages_of(theirs, images), strict=True):
        assert relative_error(mine, its) < 1e-5
    assert ours.strides == (4, 8, 8, 8)


def test_stride_moves_to_the_1x1_convolution() -> None:
    block = drawn(stride_in_1x1=True).stages[1][0]
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
    block = drawn().stages[1][0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_stages_above_the_last_output_are_not_built() -> None:
    whole, short = drawn(), drawn(out_indices=(0, 2))
    assert short.channels == (64, 256)
    assert not any(key.startswith("layer4") for key in short.state_dict())
    short.load_state_dict(whole.state_dict())
    nn.ModuleDict({"backbone": short}).load_state_dict(
        {f"backbone.{key}": value for key, value in whole.state_dict().items()}
    )
    images = torch.randn(1, 3, 64, 64)
    outputs = whole.eval()(images)
    for value, reference in zip(short.eval()(images), (outputs[0], outputs[2]), strict=True):
        assert torch.equal(value, reference)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_one_to_four_stages(stages: int) -> None:
    model = drawn(blocks=(1, 1, 1, 1)[:stages])
    assert len(model.stages) == len(model.channels) == stages


@pytest.mark.parametrize(
    ("norm", "kind", "name"),
    [
        ("BN", nn.BatchNorm2d, "bn1"),
        ("SyncBN", SyncBatchNorm, "bn1"),
        ("GN", nn.GroupNorm, "gn1"),
        ("FrozenBN", FrozenBatchNorm2d, "bn1"),
        (lambda c: nn.GroupNorm(4, c), nn.GroupNorm, "gn1"),
        (nn.InstanceNorm2d, nn.InstanceNorm2d, "in1"),
    ],
)
def test_norms(norm, kind: type[nn.Module], name: str) -> None:
    model = drawn(blocks=(1, 1), cardinality=32, base_channels=32, norm=norm)
    assert isinstance(getattr(model, name), kind)
    assert isinstance(model.stages[0][0].last_norm, kind)
    assert model.eval()(torch.randn(1, 3, 64, 64))[-1].isfinite().all()


def test_frozen_batch_norm_takes_batch_norm_weights() -> None:
    trained = randomise(drawn(norm="BN")).eval()
    frozen = drawn(norm="FrozenBN")
    frozen.load_state_dict(trained.state_dict())
    images = torch.randn(1, 3, 64, 64)
    for value, reference in zip(frozen(images), trained(images), strict=True):
        assert relative_error(value, reference) <= 1e-5


@pytest.mark.parametrize("norm", ["BN", lambda c: nn.GroupNorm(4, c)])
def test_zero_initialised_last_norm_makes_blocks_the_identity(norm) -> None:
    block = drawn(norm=norm).stages[2][1]
    assert not block.last_norm.weight.any()
    x = torch.rand(1, 256, 8, 8)
    assert torch.equal(block(x), x)
    assert drawn(norm=norm, zero_init_last_norm=False).stages[2][1].last_norm.weight.all()


@pytest.mark.parametrize("kind", ["", "SK", "csp"])
def test_reset_draws_all_weights_anew(kind: str) -> None:
    options = PARTS.get(kind, {})
    model = randomise(drawn(frozen_stages=1, **options))
    model.reset_parameters()
    fresh = drawn(frozen_stages=1, **options).state_dict()
    for key, value in model.state_dict().items():
        if value.dim() == 4:
            assert value.std() == pytest.approx(fresh[key].std(), rel=0.5), key
        else:
            assert torch.equal(value, fresh[key]), key
    assert model.stages[0][0].last_norm.weight.all(), "a frozen block would stay the identity"
    assert not model.stages[1][0].last_norm.weight.any()


def test_plugins_run_where_they_are_asked_to() -> None:
    class Scale(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    def build(channels: int) -> tuple[str, nn.Module]:
        built.append(channels)
        return "scale", Scale()

    built: list[int] = []
    plugin = Plugin(after=3, build=build)
    model = drawn(plugins=((), (plugin,), (), ()), zero_init_last_norm=False).eval()
    assert built == [128]
    block = model.stages[1][0]
    plain = drawn(zero_init_last_norm=False).eval()
    plain.load_state_dict(model.state_dict())
    x = torch.rand(1, 64, 16, 16)
    residual = plain.stages[1][0].until_sum(x) - plain.stages[1][0].downsample(x)
    expected = torch.relu(2 * residual + block.downsample(x))
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_autocast_takes_images_of_another_type() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        outputs = drawn()(torch.randn(1, 3, 64, 64).bfloat16())
    assert all(output.dtype == torch.bfloat16 for output in outputs)


def replica(module: nn.Module) -> nn.Module:
    """As `torch.nn.DataParallel` makes one for another GPU: with tensors, but no parameters."""
    copy = module._replicate_for_data_parallel()
    for name, child in module.named_children():
        setattr(copy, name, replica(child))
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        setattr(copy, name, None if tensor is None else tensor.detach().clone())
    return copy


def test_data_parallels_replicas() -> None:
    model = small().eval()
    images = torch.randn(1, 3, 64, 64)
    assert not list(replica(model).parameters())
    for a, b in zip(replica(model)(images), model(images), strict=True):
        assert torch.equal(a, b)


def test_a_first_convolution_of_somebodys_own() -> None:
    """It says what images have, and weights that are computed for each call are computed once."""
    model = drawn().eval()
    model.conv1 = nn.Conv2d(5, model.conv1.out_channels, 7, stride=2, padding=3)
    assert model(torch.zeros(1, 5, 64, 64))[0].shape[0] == 1
    with pytest.raises(ValueError, match=r"shape \(N, 5, H, W\)"):
        model(torch.zeros(1, 3, 64, 64))
    channels = model.bn1.num_features
    for layers, taken in (
        ([nn.PixelUnshuffle(2), nn.Conv2d(12, channels, 3, 1, 1)], 3),
        ([nn.PixelUnshuffle(2), nn.Conv2d(4, channels, 3, 1, 1)], 1),
        ([nn.InstanceNorm2d(4), nn.Conv2d(4, channels, 7, 2, 3)], 4),
        ([nn.LazyConv2d(channels, 7, 2, 3)], 5),
        ([nn.Upsample(scale_factor=2), nn.Conv2d(2, channels, 7, 4, 3)], 2),
    ):
        model.conv1 = nn.Sequential(*layers)
        assert model(torch.zeros(1, taken, 64, 64))[0].shape[0] == 1
    model.conv1 = nn.Conv2d(5, channels, 7, stride=2, padding=3)
    reads = []

    class Counted(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            reads.append(weight)
            return weight

    nn.utils.parametrize.register_parametrization(model.conv1, "weight", Counted())
    reads.clear()
    model(torch.zeros(1, 5, 64, 64))
    assert len(reads) == 1
