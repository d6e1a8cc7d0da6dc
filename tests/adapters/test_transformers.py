"""transformers' networks on the trunk: trained, frozen, saved, and checked by its own tests."""

from __future__ import annotations

import importlib.util
import os
import unittest
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers import SMALL, quick, relative_error
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is not installed")

from transformers_networks import (
    BEFORE_5,
    NETWORKS,
    STAGES,
    backbone_of,
    boxes,
    config,
    equal,
    images,
    network,
    words_of,
)

from resnext_backbones import ResNeXt, load_weights
from resnext_backbones.adapters.transformers import ResNeXtBackbone, ResNeXtConfig

pytestmark = pytest.mark.usefixtures("quiet_transformers")


def nodes(output: Tensor) -> set[str]:
    """Names the nodes of the graph behind a tensor."""
    found, todo = {}, [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found[node] = type(node).__name__
            todo += [before for before, _ in node.next_functions]
    return set(found.values())


@pytest.mark.parametrize("name", quick(NETWORKS, ("DETR", "RT-DETR", "Mask2Former")))
def test_a_network_trains_a_step_and_is_reloaded_bit_for_bit(
    name: str, file: Path, tmp_path: Path
) -> None:
    detector, backbone = network(name, weights=str(file), frozen_stages=1)
    before = {key: value.clone() for key, value in backbone.trunk.state_dict().items()}
    plain = ResNeXt(SMALL, norm="FrozenBN", frozen_stages=1)
    load_weights(plain, file)
    assert equal(before, plain.state_dict())  # no outer class drew them again
    maps = dict(zip(STAGES, plain(images()), strict=True))
    found = backbone(images()).feature_maps
    assert len(found) == len(backbone.out_features)
    assert "FoldedBackward" in nodes(found[-1])
    assert all(m.equal(maps[n]) for m, n in zip(found, backbone.out_features, strict=True))

    detector.train()
    optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.1)
    detector(pixel_values=images(), **NETWORKS[name][4]()).loss.backward()
    optimizer.step()
    moved = {
        key for key, value in backbone.trunk.state_dict().items() if not value.equal(before[key])
    }
    convolutions = {key for key, p in backbone.trunk.named_parameters()}
    assert moved == {key for key in convolutions if not key.startswith(("conv1", "layer1"))}

    detector.eval().save_pretrained(tmp_path)
    again = type(detector).from_pretrained(tmp_path)
    assert equal(detector.state_dict(), again.state_dict())
    assert words_of(again.config.backbone_config) == words_of(detector.config.backbone_config)
    with torch.no_grad():
        for a, b in zip(
            *(d(pixel_values=images()).to_tuple() for d in (detector, again)), strict=True
        ):
            assert not isinstance(a, Tensor) or a.equal(b)
    trained = {k for k, p in backbone_of(again.train()).trunk.named_parameters() if p.requires_grad}
    assert trained == moved


def test_detrs_own_frozen_norms_compute_the_same(file: Path, tmp_path: Path) -> None:
    detector, ours = network("DETR", weights=str(file))
    with_theirs, theirs = network("DETR", weights=str(file), norm="BN", frozen_stages=2)
    assert type(theirs.trunk.bn1).__name__ == "DetrFrozenBatchNorm2d"
    for a, b in zip(ours(images()).feature_maps, theirs(images()).feature_maps, strict=True):
        assert relative_error(a, b) < 1e-5
    with_theirs.train()
    with_theirs(pixel_values=images(), **boxes()).loss.backward()
    got = {key for key, p in theirs.trunk.named_parameters() if p.grad is not None}
    assert {key.partition(".")[0] for key in got} == {"layer3", "layer4"}
    with_theirs.model.freeze_backbone()
    assert not any(p.requires_grad for p in theirs.parameters())
    with_theirs.save_pretrained(tmp_path)
    again = type(detector).from_pretrained(tmp_path)
    assert equal(again.state_dict(), with_theirs.state_dict())


def test_a_stage_that_was_not_built_is_not_asked_for() -> None:
    backbone = ResNeXtBackbone(config(out_features=["stage2"]))
    backbone.out_features = ["stage4"]
    with pytest.raises(ValueError, match="stage4 is above the last stage that was built"):
        backbone(images())


def test_transformers_own_checkpointing_is_refused() -> None:
    enable = "gradient_checkpointing_enable" if BEFORE_5 else "activation_checkpointing_enable"
    with pytest.raises(ValueError, match="not support"):
        getattr(ResNeXtBackbone(config()), enable)()


COMMON = "TRANSFORMERS_BACKBONE_TESTS"
"""A variable that names tests/test_backbone_common.py of transformers' repository."""


def common_checks() -> ModuleType | None:
    path = os.environ.get(COMMON)
    if not path:
        return None
    spec = importlib.util.spec_from_file_location("test_backbone_common", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_transformers_own_checks_of_backbones_pass() -> None:
    module = common_checks()
    if module is None:
        pytest.skip(f"{COMMON} does not name transformers' tests/test_backbone_common.py")

    class Inputs:
        def prepare_config_and_inputs_for_common(self) -> tuple[ResNeXtConfig, dict[str, Tensor]]:
            return config(out_features=STAGES[1:]), {"pixel_values": images()}

    class Checks(module.BackboneTesterMixin, unittest.TestCase):
        all_model_classes = (ResNeXtBackbone,)
        config_class = ResNeXtConfig
        has_attentions = False

        def setUp(self) -> None:
            self.model_tester = Inputs()

    result = unittest.TestResult()
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Checks)
    suite.run(result)
    assert result.testsRun >= 6
    assert not [text for _, text in (*result.failures, *result.errors, *result.skipped)]
