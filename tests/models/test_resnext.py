"""The trunk against torchvision's and timm's networks, and its own promises."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import timm
import torch
import torchvision
from helpers import randomise, relative_error
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones import ResNeXt, build_backbone
from resnext_backbones.models import Plugin
from resnext_backbones.models.sync import SyncBatchNorm

SMALL = {"depth": (1, 1, 2, 1), "cardinality": 4, "base_width": 4, "base_channels": 16}
"""A network of all parts that runs in milliseconds."""


def small(**options) -> ResNeXt:
    return ResNeXt(**(SMALL | options))


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
    own = build_backbone("resnext50_32x4d", deep_stem=True, avg_down=True).eval()

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
    own = ResNeXt(depth=(3, 3, 3, 1), cardinality=8, base_width=4, small_images=True).eval()
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
    own = ResNeXt(depth=26, cardinality=1, base_width=64)
    assert own.state_dict().keys() == {k for k in peer.state_dict() if not k.startswith("fc.")}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 100), (129, 32)])
@pytest.mark.parametrize("avg_down", [False, True])
def test_channels_and_strides_are_those_of_the_outputs(size: tuple[int, int], avg_down) -> None:
    model = small(avg_down=avg_down)
    outputs = model(torch.randn(2, 3, *size))
    assert model.channels == (64, 128, 256, 512)
    assert model.strides == (4, 8, 16, 32)
    for output, channels, stride in zip(outputs, model.channels, model.strides, strict=True):
        assert output.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_strides_and_dilations_by_stage() -> None:
    model = small(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    assert model.strides == (4, 8, 8, 8)
    assert [b.conv2.dilation for b in model.blocks()] == [(1, 1), (1, 1), (2, 2), (2, 2), (4, 4)]
    assert model(torch.randn(1, 3, 64, 64))[-1].shape[-2:] == (8, 8)


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
    block = small(stride_in_1x1=True).stages[1][0]
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
    block = small().stages[1][0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_stages_above_the_last_output_are_not_built() -> None:
    whole, short = small(), small(out_indices=(0, 2))
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
    model = ResNeXt(depth=50, num_stages=stages)
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
    model = ResNeXt(depth=(1, 1), cardinality=32, base_width=4, norm=norm)
    assert isinstance(getattr(model, name), kind)
    assert isinstance(model.stages[0][0].last_norm, kind)
    assert model.eval()(torch.randn(1, 3, 64, 64))[-1].isfinite().all()


def test_frozen_batch_norm_takes_batch_norm_weights() -> None:
    trained = randomise(small(norm="BN")).eval()
    frozen = small(norm="FrozenBN")
    frozen.load_state_dict(trained.state_dict())
    images = torch.randn(1, 3, 64, 64)
    for value, reference in zip(frozen(images), trained(images), strict=True):
        assert relative_error(value, reference) <= 1e-5


@pytest.mark.parametrize("norm", ["BN", lambda c: nn.GroupNorm(4, c)])
def test_zero_initialised_last_norm_makes_blocks_the_identity(norm) -> None:
    block = small(norm=norm).stages[2][1]
    assert not block.last_norm.weight.any()
    x = torch.rand(1, 256, 8, 8)
    assert torch.equal(block(x), x)
    assert small(norm=norm, zero_init_last_norm=False).stages[2][1].last_norm.weight.all()


def test_reset_draws_all_weights_anew() -> None:
    model = randomise(small(frozen_stages=1))
    model.reset_parameters()
    fresh = small(frozen_stages=1).state_dict()
    for key, value in model.state_dict().items():
        if value.dim() == 4:
            assert value.std() == pytest.approx(fresh[key].std(), rel=0.5), key
        else:
            assert torch.equal(value, fresh[key]), key
    assert model.stages[0][0].last_norm.weight.all(), "a frozen block would stay the identity"
    assert not model.stages[1][0].last_norm.weight.any()


def frozen_state(model: nn.Module) -> dict[str, tuple[bool, bool]]:
    """For each module with parameters of its own: whether they train, whether it is training."""
    return {
        name: (next(module.parameters(recurse=False)).requires_grad, module.training)
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }


def expected_state(model: ResNeXt, mode: bool) -> dict[str, tuple[bool, bool]]:
    frozen = {-1: (), 0: ("conv1", "bn1"), 2: ("conv1", "bn1", "layer1.", "layer2.")}
    names = frozen[model.frozen_stages]
    expected = {}
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            is_frozen = name.startswith(names) if names else False
            still = is_frozen or (model.norm_eval and isinstance(module, nn.BatchNorm2d))
            expected[name] = (not is_frozen, mode and not still)
    return expected


@pytest.mark.parametrize("norm_eval", [False, True])
@pytest.mark.parametrize("frozen_stages", [-1, 0, 2])
def test_frozen_parts_stay_frozen(frozen_stages: int, norm_eval: bool) -> None:
    model = small(frozen_stages=frozen_stages, norm_eval=norm_eval)
    assert frozen_state(model) == expected_state(model, True)
    assert model.eval() is model
    assert model.train() is model
    for changed in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        model.to(torch.float64).to(torch.float32),
        model.eval().train(),
        model.requires_grad_(True).train(),
    ):
        assert frozen_state(changed) == expected_state(model, True)
        assert frozen_state(copy.deepcopy(changed).eval()) == expected_state(model, False)


def test_frozen_parts_survive_ddp(tmp_path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = small(frozen_stages=2, norm_eval=True)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        wrapped = DistributedDataParallel(model).train()
        optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            sum(output.mean() for output in wrapped(torch.randn(2, 3, 64, 64))).backward()
            optimizer.step()
        assert frozen_state(model) == expected_state(model, True)
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert changed
        assert all(name.startswith(("layer3", "layer4")) for name in changed)
        assert not any("running" in name for name in changed)
    finally:
        torch.distributed.destroy_process_group()


def test_frozen_parts_keep_nothing_for_the_backward_pass() -> None:
    images = torch.randn(1, 3, 64, 64)

    def kept(model: ResNeXt) -> int:
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            outputs = model(images)
        del outputs
        return len(saved)

    assert kept(small(frozen_stages=4)) == 0
    assert kept(small(frozen_stages=0, out_indices=(0,))) > 0
    outputs = small(frozen_stages=1)(images)
    assert [output.requires_grad for output in outputs] == [False, True, True, True]


def test_plugins_run_where_they_are_asked_to() -> None:
    class Scale(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    def build(channels: int) -> tuple[str, nn.Module]:
        built.append(channels)
        return "scale", Scale()

    built: list[int] = []
    plugin = Plugin(after=3, build=build)
    model = small(plugins=((), (plugin,), (), ()), zero_init_last_norm=False).eval()
    assert built == [128]
    block = model.stages[1][0]
    plain = small(zero_init_last_norm=False).eval()
    plain.load_state_dict(model.state_dict())
    x = torch.rand(1, 64, 16, 16)
    residual = plain.stages[1][0]._residual(x) - plain.stages[1][0].downsample(x)
    expected = torch.relu(2 * residual + block.downsample(x))
    assert torch.allclose(block(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"depth": 18}, ["depth", "18", "50"]),
        ({"depth": (3, 0)}, ["depth", "(3, 0)"]),
        ({"depth": (1, 1, 1, 1, 1)}, ["depth", "4"]),
        ({"cardinality": 0}, ["cardinality", "0"]),
        ({"cardinality": 2.5}, ["cardinality", "2.5"]),
        ({"base_width": -4}, ["base_width", "-4"]),
        ({"num_stages": 5}, ["num_stages", "5"]),
        ({"strides": (1, 2)}, ["strides", "(1, 2)"]),
        ({"dilations": (1, 1, 1, 0)}, ["dilations"]),
        ({"out_indices": (0, 4)}, ["out_indices", "(0, 4)", "3"]),
        ({"out_indices": ()}, ["out_indices"]),
        ({"out_indices": (2, 1)}, ["out_indices", "(2, 1)"]),
        ({"frozen_stages": 5}, ["frozen_stages", "5"]),
        ({"cardinality": (8, 8)}, ["cardinality", "(8, 8)"]),
        ({"depth": None}, ["depth", "None"]),
        ({"num_stages": "3"}, ["num_stages", "'3'"]),
        ({"strides": 2}, ["strides", "2"]),
        ({"out_indices": 3}, ["out_indices", "3"]),
        ({"frozen_stages": 1.5}, ["frozen_stages", "1.5"]),
        ({"norm": {"type": "BN"}}, ["norm", "{'type': 'BN'}"]),
        ({"norm": "LayerNorm"}, ["norm", "LayerNorm", "GN"]),
        ({"cardinality": 3, "norm": "GN"}, ["norm", "12 channels"]),
        ({"drop_path": 1.0}, ["drop_path", "1.0"]),
        ({"deep_stem": True, "small_images": True}, ["deep_stem", "small_images"]),
    ],
)
def test_wrong_arguments_are_named(options: dict, names: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(names[0])) as error:
        ResNeXt(**options)
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (torch.zeros(3, 64, 64), ValueError, r"\(N, 3, H, W\).*\(3, 64, 64\)"),
        (torch.zeros(1, 1, 64, 64), ValueError, r"\(1, 1, 64, 64\)"),
        (torch.zeros(1, 3, 31, 64), ValueError, r"at least 32 x 32"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, r"uint8"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.float64), TypeError, r"float64.*float32"),
    ],
)
def test_wrong_images_are_named(images: torch.Tensor, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        small()(images)


def test_autocast_takes_images_of_another_type() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        outputs = small()(torch.randn(1, 3, 64, 64).bfloat16())
    assert all(output.dtype == torch.bfloat16 for output in outputs)
