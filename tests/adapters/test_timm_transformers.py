"""transformers' wrappers of timm take the networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("timm", reason="timm is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from helpers import randomise, relative_error  # noqa: E402

import resnext_backbones.adapters.timm  # noqa: E402, F401
from resnext_backbones import ResNeXt, build_backbone  # noqa: E402

VARIANT = "regnetx_002"


def test_timm_backbone_gives_the_trunks_maps() -> None:
    config = transformers.TimmBackboneConfig(
        backbone=f"resnext_backbones_{VARIANT}", out_indices=[2, 4], use_pretrained_backbone=False
    )
    model = randomise(transformers.TimmBackbone(config)).eval()
    trunk = build_backbone(VARIANT).eval()
    inner = model._backbone.model
    assert isinstance(inner, ResNeXt)
    trunk.load_state_dict(inner.state_dict())
    assert model.channels == [56, 368]
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = trunk(images)
        found = model(images).feature_maps
        both = model(images, output_hidden_states=True)
    assert len(found) == 2
    assert len(both.hidden_states) == 5
    for maps in (found, both.feature_maps):
        assert relative_error(maps[0], expected[1]) < 1e-6
        assert relative_error(maps[1], expected[3]) < 1e-6


def test_timm_wrapper_classifies(tmp_path: Path) -> None:
    name = f"resnext_backbones_{VARIANT}"
    config = transformers.TimmWrapperConfig(architecture=name, num_labels=5)
    model = randomise(transformers.TimmWrapperForImageClassification(config)).eval()
    images = torch.randn(1, 3, 64, 96)
    model.save_pretrained(tmp_path)
    again = transformers.TimmWrapperForImageClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = model(images).logits
        assert logits.shape == (1, 5)
        assert relative_error(again(images).logits, logits) < 1e-5
