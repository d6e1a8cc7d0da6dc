"""The LazyConfigs of Detectron2's detectors."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quick

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2 import model_zoo
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
JITTERED = "mask_rcnn_fpn_lsj_100e"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != JITTERED)
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


RECIPE = {
    "resnext50_32x4d": "torchvision/resnext50_32x4d.v2",
    "resnext101_32x8d": "torchvision/resnext101_32x8d.v2",
    "resnext101_64x4d": "torchvision/resnext101_64x4d.v1",
    "seresnextaa101d_32x8d": "timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k_288",
}
CHANGED = {"optimizer", "model.backbone.bottom_up", "model.pixel_mean", "model.pixel_std"}
CHANGED |= {"model.input_format", "dataloader.train.mapper.image_format", "train.output_dir"}
CHANGED |= {"train.model_ema", "train.device", "dataloader.test.mapper.image_format"}


def flat(cfg: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config by their places, those that are changed whole as one."""
    for key in cfg:
        here = f"{place}.{key}" if place else str(key)
        value = cfg[key]
        if here not in CHANGED and OmegaConf.is_dict(value):
            yield from flat(value, here)
        else:
            plain = OmegaConf.is_config(value)
            yield here, OmegaConf.to_container(value, resolve=False) if plain else value


def test_the_recipe_is_new_baselines_but_for_what_it_says() -> None:
    cfg = read_experiment(JITTERED).cfg
    theirs = model_zoo.get_config("new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py")
    ours, theirs = (dict(flat({k: c[k] for k in theirs})) for c in (cfg, theirs))
    differs = {k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)}
    times = {
        "train.max_iter": 4, "train.eval_period": 4, "train.checkpointer.period": 4,
        "lr_multiplier.scheduler.num_updates": 4, "dataloader.train.total_batch_size": 1 / 4,
        "lr_multiplier.warmup_length": 1 / 4,
    }  # fmt: skip
    kept = {"model.roi_heads.box_head.conv_norm", "model.roi_heads.mask_head.conv_norm"}
    assert differs - kept == {*CHANGED, *times, "lr_multiplier.scheduler.milestones"} - {
        key for key in CHANGED if ours.get(key) == theirs.get(key)
    }
    for key, factor in times.items():
        assert ours[key] == pytest.approx(factor * theirs[key])
    milestones = "lr_multiplier.scheduler.milestones"
    assert ours[milestones] == [4 * step for step in theirs[milestones]]
    # The same recipe as MMDetection's.
    folder = CONFIGS.parent
    schedule = runpy.run_path(str(folder / "_base_" / "schedule_100e.py"))
    wanted = schedule["optim_wrapper"]["optimizer"]
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (wanted["lr"], wanted["weight_decay"])
    assert cfg.train.model_ema.momentum == schedule["ema"]["momentum"]


@pytest.mark.parametrize("network", RECIPE)
def test_the_recipe_takes_weights_of_longer_pretraining(network: str) -> None:
    experiment = read_experiment(JITTERED, variant=network)
    assert experiment.weights == RECIPE[network]
    assert experiment.pixels == REGISTRY[RECIPE[network]].source.preprocessing
    backbone = experiment.backbone().train()
    assert backbone.trunk.architecture == VARIANTS[network]
    assert backbone.trunk.frozen_stages == -1
    norms = [m for m in experiment.detector().modules() if "Norm" in type(m).__name__]
    assert {type(m).__name__ for m in norms} == {"SyncBatchNorm", "NaiveSyncBatchNorm"}


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
