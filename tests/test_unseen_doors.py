"""Through every door weights are refused by a network that differs in what no tensor shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL, drawn, quick, small
from test_doors import NAME, NEEDED, NETWORK_DOORS, ONLY, REFUSALS, TRUNK_DOORS
from torch import nn

from resnext_backbones import ResNeXt, ResNeXtClassifier
from resnext_backbones.adapters.names import use_detectron2_names
from resnext_backbones.models.architecture import LAYERS, METADATA, UNSEEN
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError, load_weights
from resnext_backbones.weights.write import convert

OTHER: dict[str, dict[str, Any]] = {
    "stride_in_1x1": {"stride_in_1x1": True},
    "pooling": {"pooling": "average"},
    "activation": {"activation": "SiLU"},
    "eps": {"eps": 1e-3},
    "convolution": {"convolution": "standardised"},
    "norm_groups": {"norm_kind": "group", "norm_groups": 4},
}
"""By a field of which no tensor shows anything, what builds another network."""

GROUPS = {"norm_kind": "group", "norm_groups": 8}
BY_BATCH = [field for field in OTHER if field != "norm_groups"]

DOORS = {name: door for name, door in {**TRUNK_DOORS, **NETWORK_DOORS}.items() if name != "convert"}
"""A conversion has no network to compare with: the file that it writes says what it read."""


def test_every_field_is_here() -> None:
    assert OTHER.keys() == set(UNSEEN)


@pytest.mark.parametrize("name", quick(DOORS, ("load_weights", "init_cfg", "load_from")))
def test_a_door_refuses_another_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    whole = name in NETWORK_DOORS
    if whole:
        pytest.importorskip("mmengine")
    monkeypatch.setitem(VARIANTS, NAME, SMALL)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for number, field in enumerate([None, *BY_BATCH]):
        fields = OTHER[field] if field else {}
        state = small(**fields).state_dict()
        if whole:
            network = small(ResNeXtClassifier, num_classes=3, **fields)
            state = nn.ModuleDict({"network": network}).state_dict()
        path = tmp_path / f"file_{number}.pth"
        torch.save(state, path)
        if name in ONLY:
            convert(path, tmp_path / "safe", "safetensors", overwrite=True)
            (tmp_path / "safe").replace(path)
        if field is None:
            DOORS[name](str(path))
            continue
        trained, built = fields[field], getattr(SMALL, field)
        with pytest.raises(REFUSALS) as caught:
            DOORS[name](str(path))
        said = f"were trained with {field}={trained!r}, and the network has {field}={built!r}: the"
        assert said in str(caught.value)
        assert path.name in str(caught.value)


def by_itself(network: ResNeXt) -> nn.Module:
    return network


def in_a_detector(network: ResNeXt) -> nn.Module:
    return nn.ModuleDict({"backbone": nn.ModuleDict({"body": network})})


def by_detectron2s_names(network: ResNeXt) -> nn.Module:
    outer = nn.Module()
    outer.trunk = network
    use_detectron2_names(outer, network)
    return nn.ModuleDict({"bottom_up": outer})


@pytest.mark.parametrize("held", [by_itself, in_a_detector, by_detectron2s_names])
@pytest.mark.parametrize("field", OTHER)
def test_pytorchs_own_loading_refuses_it(
    field: str, held: Callable[[ResNeXt], nn.Module], tmp_path: Path
) -> None:
    """Strict or not, there and back, and no tensor of the trunk is changed."""
    usual = GROUPS if field == "norm_groups" else {}
    pairs = (usual, {**usual, **OTHER[field]}), ({**usual, **OTHER[field]}, usual)
    for theirs, ours in pairs:
        torch.save(held(small(**theirs)).state_dict(), tmp_path / "w.pth")
        state = torch.load(tmp_path / "w.pth", weights_only=True)
        network = held(drawn(**ours))
        before = {key: value.clone() for key, value in network.state_dict().items()}
        values = [getattr(replace(SMALL, **each), field) for each in (theirs, ours)]
        message = "were trained with {0}={1!r}, and the network has {0}={2!r}: the same shapes"
        for strict in (True, False):
            with pytest.raises(WeightsError) as caught:
                network.load_state_dict(state, strict=strict)
            assert message.format(field, *values) in str(caught.value)
        assert all(value.equal(before[key]) for key, value in network.state_dict().items())
        assert not held(drawn(**theirs)).load_state_dict(state).missing_keys


def test_names_without_what_was_said_load_as_ever() -> None:
    """Put into another dict, a state dict says nothing."""
    drawn(eps=1e-3).load_state_dict(dict(small().state_dict()))


def test_an_eps_that_norms_get_later_counts(tmp_path: Path) -> None:
    """torchvision's `overwrite_eps` does it."""
    network = small(norm="FrozenBN")
    for module in network.modules():
        if hasattr(module, "eps"):
            module.eps = 0.0
    torch.save(network.state_dict(), tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    with pytest.raises(WeightsError, match=r"trained with eps=0.0, and the network has eps=1e-05"):
        drawn().load_state_dict(state)
    drawn(eps=0).load_state_dict(state)
    network.load_state_dict(state)


IN_CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "eps": ({"norm_cfg": {"type": "BN", "eps": 1e-3}}, "eps=0.001"),
    "groups": ({"norm_cfg": {"type": "GN", "num_groups": 4}}, "norm_groups=4"),
    "ConvWS": ({"conv_cfg": {"type": "ConvWS"}}, "convolution='standardised'"),
    "eps of ConvWS": (
        {"conv_cfg": {"type": "ConvWS", "eps": 1e-3}},
        "convolution='standardised (eps=0.001)'",
    ),
    "padding": (
        {"conv_cfg": {"type": "Conv2d", "padding_mode": "reflect"}},
        "convolution='plain (padding_mode=reflect)'",
    ),
    "SAME": (
        {"conv_cfg": {"type": "Conv2dAdaptivePadding"}},
        "convolution='Conv2dAdaptivePadding'",
    ),
}
"""What configs of MMEngine give a backbone, and what is said of it."""


@pytest.mark.parametrize("what", IN_CONFIGS)
def test_configs_of_mmengine(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openmmlab = pytest.importorskip("resnext_backbones.adapters.openmmlab")
    monkeypatch.setitem(VARIANTS, NAME, SMALL)
    given, said = IN_CONFIGS[what]
    usual = {"norm_cfg": {"type": "GN", "num_groups": 8}} if what == "groups" else {}
    for theirs, ours in ((usual, given), (given, usual)):
        torch.save(openmmlab.ResNeXt(variant=NAME, **theirs).state_dict(), tmp_path / "w.pth")
        init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "w.pth")}
        openmmlab.ResNeXt(variant=NAME, init_cfg=init_cfg, **theirs).init_weights()
        network = openmmlab.ResNeXt(variant=NAME, init_cfg=init_cfg, **ours)
        with pytest.raises(WeightsError, match="the same shapes, and another network") as caught:
            network.init_weights()
        assert said in str(caught.value)


@pytest.mark.parametrize("field", LAYERS)
def test_what_a_file_of_before_does_not_say_is_not_known(field: str, tmp_path: Path) -> None:
    """They say all fields but those of layers, and load into the networks that they are of."""
    network = small(**OTHER[field])
    state = network.state_dict()
    said = json.loads(state._metadata[""][METADATA])
    of_before = {name: value for name, value in said.items() if name not in LAYERS}
    state._metadata[""][METADATA] = json.dumps(of_before)
    network.load_state_dict(state)
    torch.save(state, tmp_path / "before.pth")
    load_weights(network, tmp_path / "before.pth")
    of_before["activation"] = "SiLU"
    state._metadata[""][METADATA] = json.dumps(of_before)
    with pytest.raises(WeightsError, match=r"^weights of a state dict: were .*activation='SiLU'"):
        network.load_state_dict(state)
