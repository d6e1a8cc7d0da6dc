"""timm's own models, which this package's networks are, in what their names say and do not say."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from helpers import quick, randomise, relative_error
from torch import Tensor, nn

from resnext_backbones import build_classifier
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.load import load_state
from resnext_backbones.weights.write import write_state

FAMILY = {"tiered": "timm", "deep": "timm", "7x7": "torchvision", "3x3/2": "timm-regnet"}
NAMES = [
    name
    for name, row in VARIANTS.items()
    if name in timm.list_models()
    and (row.attention or row.spatial or row.stage == "csp" or row.stem not in ("7x7", "3x3"))
]
"""The plain ones are compared in test_formats.py."""

QUICK = [
    "gcresnext26ts",
    "seresnext26t_32x4d",
    "legacy_seresnext26_32x4d",
    "skresnext50_32x4d",
    "cspresnext50",
    "regnety_002",
]
"""One of each family of its names; the others are of the same."""


def family(name: str) -> str:
    row = VARIANTS[name]
    special = {
        "byobnet": row.stage_groups in ((2, 4, 8, 16), (4, 8, 16, 32)),
        "legacy": row.pooling == "ceil",
        "sk": row.spatial == "SK",
        "cspnet": row.stage == "csp",
    }
    return next((f for f, holds in special.items() if holds), FAMILY[row.stem])


def outputs(model: nn.Module, stages: list[nn.Module], images: Tensor) -> list[Tensor]:
    """Returns the logits, and the maps of all stages."""
    found: list[Tensor] = []
    for stage in stages:
        stage.register_forward_hook(lambda *args: found.append(args[-1].clone()))
    with torch.no_grad():
        return [model(images), *found]


@pytest.mark.parametrize("name", quick(NAMES, QUICK))
def test_the_same_network_there_and_back(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        peer, own = timm.create_model(name), build_classifier(name)
    state = randomise(peer).eval().state_dict()
    own = own.to_empty(device="cpu").eval()
    assert load_state(own, state, "it").family == family(name)
    row = VARIANTS[name]
    # timm's BAT takes maps whose sides are multiples of 8, and its BoT images of one size.
    size = (256, 512) if row.attention == "BAT" else (64, 96)
    size = (256, 256) if row.spatial == "BoT" else size
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    stages = [peer.get_submodule(stage["module"]) for stage in peer.feature_info[-4:]]
    for ours, theirs in zip(
        outputs(own, own.stages, images), outputs(peer, stages, images), strict=True
    ):
        assert relative_error(ours, theirs) <= 1e-5
    write_state(own.state_dict(), tmp_path / "w", "timm", own.architecture.to_metadata())
    written = torch.load(tmp_path / "w", weights_only=True)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], value) for key, value in state.items())
