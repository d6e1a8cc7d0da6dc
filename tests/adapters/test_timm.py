"""The networks as timm's models, beside timm's own of the same values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

timm = pytest.importorskip("timm", reason="timm is not installed")

from helpers import quick, randomise, relative_error  # noqa: E402
from packaging.version import Version  # noqa: E402
from timm.data import resolve_data_config  # noqa: E402
from timm.models import is_model, save_for_hf  # noqa: E402
from timm.models._registry import _model_entrypoints  # noqa: E402
from timm.optim import param_groups_layer_decay  # noqa: E402

from resnext_backbones import list_variants  # noqa: E402
from resnext_backbones.adapters.timm import TimmFeatures, default_cfgs  # noqa: E402
from resnext_backbones.adapters.timm_network import TimmResNeXt  # noqa: E402
from resnext_backbones.adapters.timm_weights import PREFIX  # noqa: E402
from resnext_backbones.variants import VARIANTS  # noqa: E402
from resnext_backbones.weights import WeightsError  # noqa: E402
from resnext_backbones.weights.preprocessing import BGR, Preprocessing  # noqa: E402
from resnext_backbones.weights.registry import REGISTRY  # noqa: E402
from resnext_backbones.weights.write import write_state  # noqa: E402

BEFORE_31 = Version(timm.__version__) < Version("1.0.31")

SMALLEST = "regnetx_002"
OWN = PREFIX + SMALLEST


def is_theirs(name: str) -> bool:
    """Whether timm has the network: until 1.0.31 it built 26 layers by one of the names."""
    return is_model(name) and not (BEFORE_31 and name == "ecaresnext50t_32x4d")


def peer(name: str = SMALLEST, **options: object) -> nn.Module:
    """timm's own, with values that hide nothing."""
    return randomise(timm.create_model(name, **options)).eval()


def own(reference: nn.Module, name: str = SMALLEST, **options: object) -> TimmResNeXt:
    """Ours, with the values of timm's."""
    model = timm.create_model(PREFIX + name, **options).eval()
    model.load_state_dict(reference.state_dict())
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 64, 96, generator=generator)


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    return peer()


@pytest.fixture
def file(reference: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(reference.state_dict(), path)
    return path


def test_every_variant_has_a_name_and_timm_keeps_its_own() -> None:
    assert all(is_model(PREFIX + variant) for variant in list_variants())
    others = {n: f for n, f in _model_entrypoints.items() if not n.startswith(PREFIX)}
    assert len(others) > 1000
    assert all(f.__module__.startswith("timm.") for f in others.values())


def test_every_tag_has_weights_of_its_network_for_rgb() -> None:
    tags = timm.list_models(PREFIX + "*", pretrained=True, include_tags=True)
    assert {PREFIX + "resnext50_32x4d." + tag for tag in ("a1_in1k", "torchvision_v2")} <= {*tags}
    cfgs = [(name, cfg) for name, held in default_cfgs.items() for cfg in held.cfgs.values()]
    assert len({name for name, _ in cfgs}) == len(list_variants())
    held = {cfg.file for _, cfg in cfgs if cfg.file}
    assert held == {
        row.alias
        for row in REGISTRY.values()
        if row.source.norms == "trained" and row.source.preprocessing != BGR
    }
    for name, cfg in cfgs:
        if cfg.file:
            assert REGISTRY[cfg.file].variant == name.removeprefix(PREFIX)
            assert cfg.custom_load


def test_the_pixels_of_a_tag_are_timms_own() -> None:
    tags = ["resnext50_32x4d.a1_in1k", "seresnextaa101d_32x8d.sw_in12k_ft_in1k_288"]
    for tag in tags:
        ours, theirs = (timm.get_pretrained_cfg(prefix + tag) for prefix in (PREFIX, ""))
        for key in ("mean", "std", "interpolation", "num_classes"):
            assert getattr(ours, key) == getattr(theirs, key)
    assert ours.input_size == theirs.input_size == (3, 288, 288)
    assert ours.pool_size == (9, 9)
    assert timm.get_pretrained_cfg(PREFIX + "resnext29_8x64d").input_size == (3, 32, 32)
    cfg = timm.get_pretrained_cfg(PREFIX + "seresnextaa101d_32x8d.sw_in12k")
    assert cfg.num_classes == 11821


@pytest.mark.parametrize(
    "name", quick([n for n in VARIANTS if is_theirs(n)], ["regnetx_002", "resnext26ts"])
)
def test_logits_and_maps_are_timms(name: str) -> None:
    # timm takes no others.
    size = {"eca_botnext26ts_256": 256, "bat_resnext26ts": 256}.get(name, 64)
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    theirs = peer(name)
    ours = own(theirs, name)
    with torch.no_grad():
        assert relative_error(ours(images), theirs(images)) < 1e-5
        last, maps = ours.forward_intermediates(images)
        assert torch.equal(last, ours.forward_features(images))
        assert relative_error(last, theirs.forward_features(images)) < 1e-5
        if hasattr(theirs, "forward_intermediates"):
            for found, expected in zip(maps, theirs.forward_intermediates(images)[1], strict=True):
                assert relative_error(found, expected) < 1e-5
            keys = ("num_chs", "reduction")
            described = [[[m[k] for k in keys] for m in x.feature_info] for x in (ours, theirs)]
            assert described[0] == described[1]


@pytest.mark.parametrize(("name", "output_stride"), [("regnetx_002", 8), ("resnext26ts", 16)])
def test_dilation_in_place_of_strides(name: str, output_stride: int, images: Tensor) -> None:
    theirs = peer(name, output_stride=output_stride)
    ours = own(theirs, name, output_stride=output_stride)
    assert max(m["reduction"] for m in ours.feature_info) == output_stride
    with torch.no_grad():
        maps = ours.forward_intermediates(images, intermediates_only=True)
        for found, expected in zip(maps, theirs.forward_intermediates(images)[1], strict=True):
            assert relative_error(found, expected) < 1e-5


def test_features_are_timms_and_stay_folded(
    reference: nn.Module, file: Path, images: Tensor
) -> None:
    options = {"features_only": True, "out_indices": (1, 3), "checkpoint_path": ""}
    theirs = timm.create_model(SMALLEST, **options, feature_cls="getter").eval()
    theirs.model.load_state_dict(reference.state_dict(), strict=False)
    ours = timm.create_model(OWN, **{**options, "checkpoint_path": file}, frozen_stages=1)
    assert isinstance(ours, TimmFeatures)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction() == [4, 16]
    assert not hasattr(ours.model, "layer4")
    assert ours.model.fold_norm
    assert not any(p.requires_grad for p in ours.model.layer1.parameters())
    assert not ours.train().model.layer1.training
    assert ours.model.layer2.training
    with torch.no_grad():
        found = ours.eval()(images)
        for ours_map, expected in zip(found, theirs(images), strict=True):
            assert relative_error(ours_map, expected) < 1e-5
            assert ours_map.is_contiguous()
    again = timm.create_model(OWN, features_only=True, out_indices=(1, 3))
    again.load_state_dict(ours.state_dict())
    assert all(torch.equal(again.state_dict()[k], v) for k, v in ours.state_dict().items())


@pytest.mark.parametrize("indices", [(0,), (-1,), (2, 1)])
def test_indices_of_features_are_in_the_networks_order(indices: object, images: Tensor) -> None:
    ours = timm.create_model(OWN, features_only=True, out_indices=indices).eval()
    maps = ours(images)
    assert [m.shape[1] for m in maps] == ours.feature_info.channels()
    assert [images.shape[2] // m.shape[2] for m in maps] == ours.feature_info.reduction()
    assert [*ours.out_indices] == sorted(ours.out_indices)


@pytest.mark.parametrize("feature_cls", ["list", "dict", "hook", "fx"])
def test_what_takes_the_network_apart_is_refused(feature_cls: str) -> None:
    with pytest.raises(ValueError, match="feature_cls must be 'getter'"):
        timm.create_model(OWN, features_only=True, feature_cls=feature_cls)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        (SMALLEST, {"output_stride": 4}, "output_stride must be one of 8, 16, 32"),
        ("resnext50d_32x4d", {"output_stride": 16}, "output_stride must be 32"),
        (SMALLEST, {"frozen_stages": 7}, "frozen_stages"),
        (SMALLEST, {"norm": "BN", "norm_layer": nn.BatchNorm2d}, "norm must be left out"),
        (SMALLEST, {"drop_path": 0.1}, "drop_path must be drop_path_rate in timm's network"),
    ],
)
def test_a_bad_argument_is_named(name: str, options: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        timm.create_model(PREFIX + name, **options)


@pytest.mark.parametrize("pool", ["avg", "catavgmax"])
def test_pooling_and_classifier_are_timms(pool: str, images: Tensor) -> None:
    theirs = peer(global_pool=pool, num_classes=5)
    ours = own(theirs, global_pool=pool, num_classes=5, drop_rate=0.5)
    with torch.no_grad():
        assert relative_error(ours(images), theirs(images)) < 1e-5
        ours.reset_classifier(7)
        assert ours(images).shape == (2, 7)
        assert ours.get_classifier() is ours.fc
        ours.reset_classifier(0, "")
        assert ours(images).shape == (2, ours.num_features, 2, 3)
    assert ours.drop_rate == 0.5
    ours.drop_rate = 0.25
    assert ours.drop.p == 0.25


def test_learning_rates_by_layer_are_timms(reference: nn.Module) -> None:
    ours, theirs = (
        param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.7)
        for model in (timm.create_model(OWN), reference)
    )
    counted = [
        sorted((g["lr_scale"], g["weight_decay"], sum(p.numel() for p in g["params"])) for g in x)
        for x in (ours, theirs)
    ]
    assert counted[0] == counted[1]


def test_gradients_are_the_same_with_checkpointing(images: Tensor) -> None:
    model = randomise(timm.create_model(OWN, num_classes=3)).double().train()
    found = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        assert model.grad_checkpointing == enable
        assert all(bool(block._again) == enable for block in model.blocks())
        model.zero_grad()
        model(images.double()).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert all(relative_error(a, b) < 1e-9 for a, b in zip(*found, strict=True))
    features = timm.create_model(OWN, features_only=True)
    features.set_grad_checkpointing()  # as of timm's own
    assert features.model.grad_checkpointing


def test_files_are_taken_whole_or_not_at_all(reference: nn.Module, tmp_path: Path) -> None:
    state, name = reference.state_dict(), "s2.b1.conv1.conv.weight"
    torch.save(state, tmp_path / "whole.pth")
    model = timm.create_model(OWN, checkpoint_path=tmp_path / "whole.pth")
    assert torch.equal(model.layer2[0].conv1.weight, state[name])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    # Also where a tag has weights of its own, which timm would take before an address.
    overlay = {"url": (tmp_path / "whole.pth").as_uri(), "num_classes": model.num_classes}
    given = timm.create_model(OWN, pretrained=True, pretrained_cfg_overlay=overlay)
    assert all(torch.equal(before[key], value) for key, value in given.state_dict().items())
    broken = tmp_path / "broken.pth"
    for held, said in (
        ({k: v for k, v in state.items() if k != name}, "1 missing: layer2.0.conv1.weight"),
        ({**state, name: state[name] * float("nan")}, "NaN or infinity"),
        ({**state, name: state[name][:8]}, "of another shape"),
    ):
        torch.save(held, broken)
        with pytest.raises(WeightsError, match=said):
            timm.models.load_checkpoint(model, str(broken))
    for options in (
        {"pretrained": True, "pretrained_cfg_overlay": {"file": str(broken)}, "num_classes": 3},
        {"pretrained": True, "pretrained_cfg": {"file": str(broken), "classifier": "fc"}},
        {"features_only": True, "checkpoint_path": broken},
    ):
        with pytest.raises(WeightsError, match=said):
            timm.create_model(OWN, **options)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("channels", "ours_reads"), [(1, True), (4, True), (4, False)])
def test_pretrained_is_adapted_as_timm_does(
    channels: int, ours_reads: bool, file: Path, images: Tensor
) -> None:
    overlay = {"file": str(file), "custom_load": ours_reads}
    options = {"pretrained": True, "num_classes": 0, "in_chans": channels}
    ours = timm.create_model(OWN, **options, pretrained_cfg_overlay=overlay).eval()
    overlay = {"file": str(file)}
    theirs = timm.create_model(SMALLEST, **options, pretrained_cfg_overlay=overlay).eval()
    batch = images.repeat(1, 2, 1, 1)[:, :channels]
    with torch.no_grad():
        assert relative_error(ours(batch), theirs(batch)) < 1e-5


def test_pixels_come_from_the_file(reference: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = own(reference).state_dict()
    for pixels in (Preprocessing("RGB", (127.5,) * 3, (51.0,) * 3), BGR):
        write_state(state, path, "safetensors", pixels.to_metadata())
        options = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
        if pixels == BGR:
            with pytest.raises(WeightsError, match="expect BGR pixels"):
                timm.create_model(OWN, **options)
        else:
            config = resolve_data_config(model=timm.create_model(OWN, **options))
            assert (config["mean"], config["std"]) == ((0.5,) * 3, (0.2,) * 3)


def test_a_folder_as_on_the_hub_comes_back(tmp_path: Path, images: Tensor) -> None:
    model = own(peer(num_classes=4), num_classes=4, frozen_stages=1)
    save_for_hf(model, tmp_path, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert again.frozen_stages == (-1 if BEFORE_31 else 1)  # which did not write options
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
