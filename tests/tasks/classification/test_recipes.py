"""The recipes against their sources."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from resnext_backbones.adapters.registry import MODELS, TRANSFORMS
from resnext_backbones.engine.catalogue import config_names, published_results
from resnext_backbones.engine.config import for_training, read_config
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.model import BatchPreprocessor
from resnext_backbones.tasks.classification.run import pretrain
from resnext_backbones.weights.identify import network_name

SOURCES: dict[str, dict[str, Any]] = {
    # Xie et al. (2017), section 4, and the authors' opts.lua, train.lua, datasets/imagenet.lua.
    "imagenet/paper": {
        "optim_wrapper.optimizer": {
            "type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True,
            "fused": True,
        },
        "auto_scale_lr.base_batch_size": 256,
        "train_cfg.max_epochs": 90,
    },
    # torchvision, references/classification, "TorchVision's latest primitives".
    "imagenet/v2": {
        "optim_wrapper.optimizer": {
            "type": "SGD", "lr": 0.5, "momentum": 0.9, "weight_decay": 2e-5, "fused": True,
        },
        "optim_wrapper.paramwise_cfg": {"norm_decay_mult": 0.0},
        "auto_scale_lr.base_batch_size": 1024,
        "train_cfg.max_epochs": 600,
        "train_dataloader.sampler.repeats": 4,
        "model.label_smoothing": 0.1,
        "model.data_preprocessor.mixup": 0.2,
        "model.data_preprocessor.cutmix": 1.0,
    },
    # Wightman et al. (2021), Table 2.
    "imagenet/a1": {
        "optim_wrapper.optimizer": {
            "type": "resnext_backbones.Lamb", "lr": 5e-3, "weight_decay": 0.01,
        },
        "auto_scale_lr.base_batch_size": 2048,
        "train_cfg.max_epochs": 600,
        "train_dataloader.sampler.repeats": 3,
        "model.loss": "binary",
        "model.label_smoothing": 0.1,
        "model.network.drop_path": 0.05,
        "model.data_preprocessor.mixup": 0.2,
        "model.data_preprocessor.cutmix": 1.0,
    },
    "imagenet/a2": {
        "optim_wrapper.optimizer": {
            "type": "resnext_backbones.Lamb", "lr": 5e-3, "weight_decay": 0.02,
        },
        "train_cfg.max_epochs": 300,
        "train_dataloader.sampler.repeats": 3,
        "model.label_smoothing": 0.0,
        "model.network.drop_path": 0.05,
        "model.data_preprocessor.mixup": 0.1,
        "model.data_preprocessor.cutmix": 1.0,
    },
    "imagenet/a3": {
        "optim_wrapper.optimizer": {
            "type": "resnext_backbones.Lamb", "lr": 8e-3, "weight_decay": 0.02,
        },
        "train_cfg.max_epochs": 100,
        "model.label_smoothing": 0.0,
        "model.network.drop_path": 0.0,
        "model.data_preprocessor.mixup": 0.1,
        "model.data_preprocessor.cutmix": 1.0,
    },
    # The authors' opts.lua and datasets/cifar10.lua; Xie et al. (2017), section 5.3, says epochs
    # and weight decay.
    "cifar/cifar10": {
        "optim_wrapper.optimizer": {
            "type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True,
            "fused": True,
        },
        "train_dataloader.batch_size": 128,
        "train_cfg.max_epochs": 300,
    },
}  # fmt: skip


NETWORKS = {
    "imagenet": (
        "resnext50_32x4d", "resnext101_32x4d", "resnext101_64x4d", "resnext101_32x8d",
        "resnext152_32x4d",
    ),
    "cifar": ("resnext29_8x64d", "resnext29_16x64d"),
}  # fmt: skip
"""The networks that the paper and others trained by the recipes of a folder; the first one is the
recipes' own."""

QUICK = "cifar/cifar10_quick"
RECIPES = [name for name in config_names() if name.partition("/")[0] in NETWORKS and name != QUICK]
SETTINGS_OF_A_RUN = ("work_dir", "experiment_name")


def test_the_recipes_are_those_promised() -> None:
    wanted = [f"imagenet/{name}" for name in ("a1", "a2", "a3", "paper", "v2")]
    assert ["cifar/cifar10", "cifar/cifar100", *wanted] == RECIPES
    for row in published_results():
        if (folder := row.config.partition("/")[0]) in NETWORKS:
            assert row.config in RECIPES
            assert row.network in NETWORKS[folder]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_every_network_and_nothing_else_changes(name: str) -> None:
    folder, _, recipe = name.partition("/")
    own = read_config(name)
    assert own.model.network.variant == NETWORKS[folder][0]
    for variant in NETWORKS[folder]:
        cfg = read_config(name, variant=variant)
        assert cfg.work_dir == f"work_dirs/{variant}_{recipe}"
        assert cfg.experiment_name == f"{variant}_{recipe}"
        BatchPreprocessor(**{k: v for k, v in cfg.model.data_preprocessor.items() if k != "type"})
        model = copy.deepcopy(cfg.model)
        model.data_preprocessor.update(mixup=0, cutmix=0)  # which draw numbers, so need memory
        with torch.device("meta"):
            built = MODELS.build(model)
        assert network_name(built.network.state_dict()) == variant
        assert built.network.fc.out_features == cfg.model.num_classes
        cfg.model.network.variant = own.model.network.variant
        for key in SETTINGS_OF_A_RUN:
            cfg[key] = own[key]
        assert cfg.to_dict() == own.to_dict()
    for part in ("train", "val"):
        for step in own[f"{part}_dataloader"].dataset.pipeline:
            TRANSFORMS.build(dict(step))


def test_a_recipe_with_networks_of_its_own() -> None:
    """Settings on the command line come behind, and a network that they change has no name."""
    for variant, changed, expected in (
        (None, (), (8, 4, "resnext29_8x4d_cifar10_quick")),
        ("resnext29_1x23d", (), (1, 23, "resnext29_1x23d_cifar10_quick")),
        ("resnext29_1x23d", ("model.network.base_width=9",), (1, 9, "cifar10_quick")),
    ):
        cfg = read_config(QUICK, changed, variant=variant)
        network = cfg.model.network
        found = network.cardinality, network.base_width, Path(cfg.work_dir).name
        assert found == expected
        built = MODELS.build(cfg.model).network
        assert built.layer1[0].conv2.groups == expected[0]


@pytest.mark.parametrize(
    ("name", "variant", "message"),
    [
        ("imagenet/a1", "resnext101_32x4", "a1.py has no such network; try resnext101_32x4d, "),
        ("imagenet/a1", "resnext29_8x64d", "a1.py has no such network; try resnext"),
        ("cifar/cifar100", "resnext50_32x4d", "no such network; try resnext29_8x64d, resnext29_16"),
        (QUICK, "resnext50_32x4d", "no such network; try resnext29_8x4d, resnext29_4x9d"),
        ("imagenet/v2", "", "v2.py has no such network; try resnext26_32x4d, resnext50_32x4d, "),
        ("demo_shapes", "resnext50_32x4d", "demo_shapes.py is no recipe that takes one; set"),
    ],
)
def test_a_network_that_a_recipe_does_not_take(name: str, variant: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^variant {variant}: .*{re.escape(message)}"):
        read_config(name, variant=variant)


@pytest.mark.parametrize("name", SOURCES)
def test_settings_are_those_of_the_source(name: str) -> None:
    cfg = read_config(name)
    for key, expected in SOURCES[name].items():
        value = cfg
        for part in key.split("."):
            value = value[part]
        assert value == expected, key


TRAINED_AND_EVALUATED = {
    "imagenet/paper": (224, 224, 256, "bicubic"),
    "imagenet/v2": (176, 224, 232, "bilinear"),
    "imagenet/a1": (224, 224, 235, "bicubic"),
    "imagenet/a3": (160, 224, 235, "bicubic"),
}


@pytest.mark.parametrize("name", TRAINED_AND_EVALUATED)
def test_sizes_are_those_of_the_source(name: str) -> None:
    cfg = read_config(name)
    train, val = (cfg[f"{part}_dataloader"].dataset.pipeline[0] for part in ("train", "val"))
    filters = {step.get("interpolation", "bilinear") for step in (train, val)}
    (interpolation,) = filters
    found = train["size"], val["size"], val["resize"], interpolation
    assert found == TRAINED_AND_EVALUATED[name]


def rates(cfg: Any, epochs: int) -> list[float]:
    """The learning rate of each epoch, by MMEngine's schedulers."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], cfg.optim_wrapper.optimizer.lr)
    schedulers = [
        # Where a schedule ends MMEngine's runner fills in.
        PARAM_SCHEDULERS.build(dict(s), default_args={"optimizer": optimizer, "end": epochs})
        for s in cfg.param_scheduler
    ]
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_the_second_recipes_rates_are_torchvisions() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.5)
    parts = [
        lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=5),
        lr_scheduler.CosineAnnealingLR(optimizer, T_max=595),
    ]
    theirs = lr_scheduler.SequentialLR(optimizer, parts, milestones=[5])
    expected = []
    for _ in range(600):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    found = rates(read_config("imagenet/v2"), 600)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("imagenet/paper", {0: 0.1, 29: 0.1, 30: 0.01, 60: 0.001, 89: 0.001}),
        ("cifar/cifar10", {0: 0.1, 149: 0.1, 150: 0.01, 225: 0.001, 299: 0.001}),
        ("imagenet/a2", {0: 5e-7, 5: 5e-3, 299: 1.41763e-7}),
        ("imagenet/a3", {0: 8e-7, 5: 8e-3, 99: 2.18697e-6}),
    ],
)
def test_rates_are_those_of_the_source(name: str, steps: dict[int, float]) -> None:
    cfg = read_config(name)
    found = rates(cfg, cfg.train_cfg.max_epochs)
    assert {epoch: found[epoch] for epoch in steps} == pytest.approx(steps)


def test_the_average_begins_behind_the_warm_up() -> None:
    cfg = read_config("imagenet/v2")
    (ema,) = [hook for hook in cfg.custom_hooks if hook.type == "EMAHook"]
    assert ema.begin_epoch == 6  # counted from 1
    assert ema.momentum == pytest.approx((1 - 0.99998) * 1024 * 32 / 600, rel=0.01)


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_cifar_is_padded_by_zeros_behind_the_normalisation(data: str) -> None:
    cfg = read_config(f"cifar/{data}", variant="resnext29_16x64d")
    crop = TRANSFORMS.build(dict(cfg.train_dataloader.dataset.pipeline[0]) | {"size": 40})
    padded = crop(torch.zeros(3, 32, 32, dtype=torch.uint8))
    mean = cfg.model.data_preprocessor.mean
    assert padded[:, 0, 0].tolist() == [round(value) for value in mean]
    assert not padded[:, 4:-4, 4:-4].any()


@pytest.mark.parametrize("recipe", ["v2", "a1"])
def test_parameters_are_in_two_groups(recipe: str) -> None:
    """Those that decay, and those of norms, and with LAMB biases, that do not."""
    cfg = read_config(f"imagenet/{recipe}")
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1, bias=False))
    if recipe == "v2":
        cfg.optim_wrapper.optimizer.pop("fused")
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    found = {
        g["weight_decay"]: {id(p) for p in g["params"]} for g in wrapper.optimizer.param_groups
    }
    assert len(wrapper.optimizer.param_groups) == 2
    still = [*model[1].parameters()] + ([model[0].bias] if recipe == "a1" else [])
    assert found[0.0] == {id(p) for p in still}
    assert set().union(*found.values()) == {id(p) for p in model.parameters()}


def test_the_rate_follows_the_batch_and_is_logged(config: Path, tmp_path: Path) -> None:
    options = ["train_dataloader.batch_size=48", "train_cfg.max_epochs=1"]
    # Evaluated at another size, as FixRes does.
    options += [f"val_dataloader.dataset.pipeline.0.{edge}=48" for edge in ("size", "resize")]
    cfg = read_config(str(config), options, work_dir=str(tmp_path / "run"))
    cfg.experiment_name = "scaled"
    # The second of these begins where this run is over.
    cfg.param_scheduler = read_config("cifar/cifar10_quick").param_scheduler
    for_training(cfg)
    pretrain(cfg)
    log = next((tmp_path / "run").glob("*/*.log")).read_text()
    assert "learning rate: 0.075" in log  # 0.05 for a batch of 32
    assert "accuracy/top1" in log
