"""TorchScript and FX take networks of every kind, or say in one message what does."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from helpers import PARTS, quick, relative_error, small
from torch import fx, nn

from resnext_backbones import ResNeXtClassifier
from resnext_backbones.models import Plugin
from resnext_backbones.models.parts.attention import ATTENTION
from resnext_backbones.models.parts.deformable import DeformConv

IMAGES = torch.randn(1, 3, 64, 64)

NETWORKS = {
    "deep, pooled": {"stem": "deep", "shortcut": "pooled"},
    "attention behind SiLU": {"attention": "SE", "attention_after": 2, "activation": "SiLU"},
    **{kind: {"attention": kind} for kind in ATTENTION},
    **PARTS,
    "recomputed": {"recompute": True, "drop_path": 0.1},
    "frozen norms": {"norm": "FrozenBN", "frozen_stages": 2},
    "synchronised": {"norm": "SyncBN"},
    "group norms": {"norm": "GN", "base_channels": 32, "cardinality": 8},
    "two maps": {"out_indices": (0, 2), "in_channels": 3, "fold_norm": False},
    "a plugin": {"plugins": [[Plugin(2, lambda _: ("more", nn.Dropout(0.5)))]] * 4},
}


@pytest.mark.parametrize("kind", quick(NETWORKS, ["attention behind SiLU", "SK", "BAT", "BoT"]))
def test_traced_and_scripted(kind: str) -> None:
    model = small(**NETWORKS[kind]).eval()
    expected = model(IMAGES)
    made = [fx.symbolic_trace(model)]
    if kind != "synchronised":
        made.append(torch.jit.script(model))
        assert made[1].state_dict().keys() == model.state_dict().keys()
    for network in made:
        for a, b in zip(network(IMAGES), expected, strict=True):
            assert relative_error(a, b) <= 1e-5
    others = torch.randn(2, 3, 96, 64)  # nothing of the traced size is in it
    for a, b in zip(made[-1](others), model(others), strict=True):
        assert relative_error(a, b) <= 1e-5


@pytest.mark.parametrize(
    "options",
    [{"conv3x3": [None, DeformConv, None, None]}, {"norm": "SyncBN"}],
    ids=str,
)
def test_what_cannot_be_scripted_is_named(options: dict) -> None:
    named = r"^(layer2\.\d\.conv2|bn1)"
    match = named + r": TorchScript cannot compile.*torch\.jit\.trace.*torch\.export"
    with pytest.raises(RuntimeError, match=match):
        torch.jit.script(small(**options).eval())


def test_the_network_around_it_trains_on() -> None:
    """TorchScript leaves in it what it compiled, with the same weights and the same frozen."""
    trunk = small(ResNeXtClassifier, frozen_stages=1, num_classes=3)
    around = nn.Sequential(trunk, nn.Softmax(1))
    torch.jit.script(around)
    assert around.state_dict().keys() == {f"0.{key}" for key in trunk.state_dict()}
    around.train()
    modes = {name: m.training for name, m in around.named_modules() if "bn" in name}
    assert modes == {f"0.{name}": m.training for name, m in trunk.named_modules() if "bn" in name}
    assert set(modes.values()) == {False, True}
    with torch.no_grad():
        trunk.conv1.weight.mul_(2)
    around.eval()
    assert relative_error(around(IMAGES), trunk(IMAGES).softmax(1)) <= 1e-5
    copied, again = copy.deepcopy(around), pickle.loads(pickle.dumps(around))
    for twin in (copied, again, pickle.loads(pickle.dumps(copied)), copy.deepcopy(again)):
        assert torch.equal(twin.eval()(IMAGES), around(IMAGES))
        twin.train()
        assert {name: m.training for name, m in twin.named_modules() if "bn" in name} == modes
        with torch.no_grad():
            twin[0].conv1.weight.mul_(2)
        assert not torch.equal(twin.eval()(IMAGES), around(IMAGES))
