"""The LazyConfigs of Detectron2's detectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import quick

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.config import LazyConfig, instantiate
from omegaconf import OmegaConf

from resnext_backbones.engine.catalogue import published_results
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2 import networks_of
from resnext_backbones.tasks.detectron2.experiments import read_experiment
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.identify import network_name
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.registry import REGISTRY

CONFIGS = Path(__file__).parents[3] / "configs" / "detectron2"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py"))
PIXELS = {
    "resnext50_32x4d": RGB, "resnext101_32x4d": RGB, "resnext101_64x4d": RGB,
    "resnext101_32x8d": BGR,
}  # fmt: skip
PAIRS = [f"{name} {network}" for name in NAMES for network in PIXELS]
LAZY, NETWORK = "mask_rcnn_fpn_1x", "resnext50_32x4d"
UP = "model.backbone.bottom_up"


def test_the_configs_are_those_promised() -> None:
    assert set(NAMES) == {
        f"{detector}_fpn_{schedule}"
        for detector in ("faster_rcnn", "mask_rcnn")
        for schedule in ("1x", "3x")
    }
    for row in published_results():
        folder, _, name = row.config.partition("/")
        if folder == "detectron2":
            assert f"{name} {row.network}" in PAIRS


CHOSEN = [f"{LAZY} {NETWORK}", "faster_rcnn_fpn_3x resnext101_32x8d"]


@pytest.mark.parametrize("pair", quick(PAIRS, CHOSEN))
def test_a_config_is_what_its_name_says(pair: str) -> None:
    name, network = pair.split()
    experiment = read_experiment(name, variant=network)
    cfg = experiment.cfg
    backbone = experiment.backbone()
    assert network_name(backbone.trunk.state_dict()) == network
    assert backbone.trunk.frozen_stages == 1
    assert not any(type(m).__name__ == "BatchNorm2d" for m in backbone.modules())
    assert REGISTRY[experiment.weights].variant == network
    assert experiment.pixels == PIXELS[network]
    assert cfg.model.input_format == cfg.dataloader.test.mapper.image_format
    assert experiment.work_dir == f"work_dirs/{network}_{name}"
    steps = {"1x": 90_000, "3x": 270_000}[name[-2:]]
    assert cfg.train.max_iter == steps
    multiplier = instantiate(cfg.lr_multiplier)
    assert [multiplier(step / steps) for step in (steps // 2, steps - 1)] == [1, 0.01]
    masks = name.startswith("mask")
    assert cfg.dataloader.train.mapper.use_instance_mask == masks
    assert ("mask_head" in cfg.model.roi_heads) == masks
    text = (CONFIGS / f"{name}.py").read_text()
    assert f"{steps:,} steps of {cfg.dataloader.train.total_batch_size} images" in text


def test_detectron2s_own_reader_takes_another_network_as_an_override() -> None:
    """From `network.variant` all else follows, whoever reads the config."""
    path = str(CONFIGS / f"{LAZY}.py")
    for network in (NETWORK, "resnext101_64x4d"):
        cfg = LazyConfig.apply_overrides(LazyConfig.load(path), [f"network.variant={network}"])
        ours = read_experiment(f"detectron2/{LAZY}", variant=network).cfg
        for part in ("model", "dataloader"):
            found, wanted = (OmegaConf.to_container(c[part], resolve=True) for c in (cfg, ours))
            assert found == wanted
        assert cfg.model.backbone.bottom_up.num_groups == VARIANTS[network].cardinality


def test_a_network_that_these_words_do_not_describe_is_no_row() -> None:
    with pytest.raises(InputError, match=r"no plain network.*variant='gcresnext50ts'"):
        networks_of("timm/gcresnext50ts.ch_in1k")


@pytest.mark.parametrize("name", ["faster_rcnn_fpn_3x", "mask_rcnn_fpn_1x"])
def test_a_config_builds_its_detector(name: str) -> None:
    cfg = read_experiment(name, (f"{UP}.weights=null",)).cfg
    with torch.device("meta"):
        model = instantiate(cfg.model)
    model.load_state_dict(model.state_dict(), assign=True)
    has_masks = any("mask_head" in key for key in model.state_dict())
    assert has_masks == name.startswith("mask")
    assert "backbone.bottom_up.res5.2.conv3.norm.weight" in model.state_dict()
