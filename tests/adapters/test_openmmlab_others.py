"""MMPretrain's and MMSegmentation's configs with this backbone, beside their own.

They run where these packages are installed, and skip by name elsewhere.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

import resnext_backbones.adapters.openmmlab  # noqa: F401, I001  its operators come first
import torch
from helpers import quick, randomise, relative_error, shapes
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from resnext_backbones.weights import load_state

TOLERANCE = 1e-4

MMPRETRAIN = {
    "resnext/resnext50-32x4d_8xb32_in1k.py": "ResNeXt",
    "resnext/resnext101-32x4d_8xb32_in1k.py": "ResNeXt",
    "resnext/resnext101-32x8d_8xb32_in1k.py": "ResNeXt",
    "resnext/resnext152-32x4d_8xb32_in1k.py": "ResNeXt",
    "seresnet/seresnext50-32x4d_8xb32_in1k.py": "SEResNeXt",
    "seresnet/seresnext101-32x4d_8xb32_in1k.py": "SEResNeXt",
    **{
        f"regnet/regnetx-{size}_8xb{batch}_in1k.py": "RegNet"
        for batch, sizes in {
            128: ("400mf", "800mf", "1.6gf"),
            64: ("3.2gf", "4.0gf", "6.4gf", "8.0gf", "12gf"),
        }.items()
        for size in sizes
    },
    "cspnet/cspresnext50_8xb32_in1k.py": "CSPResNeXt",
}
"""All configs of MMPretrain 1.3.6 with one of these four."""

SAME_NAMES = "ResNeXt", "RegNet"
"""The state dict of these is MMPretrain's own."""

RESNETS = {"ResNet": {}, "ResNetV1c": {"deep_stem": True}}
"""MMSegmentation's backbones, and what its ResNeXt is asked for in their place: it ships none."""

MMSEG = {
    "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "encnet/encnet_r50s-d8_4xb4-80k_ade20k-512x512.py",
    "fcn/fcn-d6_r50b-d16_4xb2-80k_cityscapes-512x1024.py",
    "pspnet/pspnet_r50-d32_rsb_4xb2-adamw-80k_cityscapes-512x1024.py",
    "fastfcn/fastfcn_r50-d32_jpu_aspp_4xb2-80k_cityscapes-512x1024.py",
    "upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py",
    "point_rend/pointrend_r101_4xb2-80k_cityscapes-512x1024.py",
    "deeplabv3/deeplabv3_r101-d16-mg124_4xb2-40k_cityscapes-512x1024.py",
}
"""One of each arrangement of strides, dilations and stems."""


@cache
def imported(package: str) -> ModuleType:
    """The package, or a test that says why there is none."""
    try:
        importlib.import_module(f"{package}.models")
    except ModuleNotFoundError as error:
        pytest.skip(f"{package} is not installed: {error}")
    except (ImportError, TypeError, AssertionError) as error:
        pytest.skip(f"{package} does not import here: {error}")
    return importlib.import_module(package)


@cache
def configs(package: str) -> dict[str, Any]:
    """The models of all configs that a package ships, by the config's name."""
    folder = Path(imported(package).__file__).parent / ".mim" / "configs"
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if "_base_" not in path.parts:
            try:
                config = Config.fromfile(path, import_custom_modules=False)
            except (OSError, ImportError, KeyError, AttributeError, RuntimeError):
                continue  # some need files that are not shipped
            found[str(path.relative_to(folder))] = config.get("model")
    return found


def model_of(package: str, name: str) -> dict[str, Any]:
    path = Path(imported(package).__file__).parent / ".mim" / "configs" / name
    return Config.fromfile(path, import_custom_modules=False).model


def parts(node: Any, kinds: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") in kinds:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from parts(child, kinds)


def built(package: str, model: dict[str, Any]) -> nn.Module:
    """A whole model, as its own runner builds it, with plain batch norms."""
    model = copy.deepcopy(model)
    for norm in parts(model, {"SyncBN"}):
        norm["type"] = "BN"
    models = importlib.import_module(f"{package}.registry").MODELS
    with DefaultScope.overwrite_default_scope(package):
        return models.build(model)


def same_maps(own: nn.Module, peer: nn.Module) -> None:
    """From the same values, in both modes; and what is trained, and which norms."""
    # In double precision: batch norms of small maps make more of rounding.
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)).double()
    own, peer = (copy.deepcopy(part).double() for part in (own, peer))
    for mode in (False, True):
        own.train(mode)
        peer.train(mode)
        norms = [
            [m.training for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
            for part in (own, peer)
        ]
        assert sorted(norms[0]) == sorted(norms[1])
        with torch.no_grad():
            pairs = zip(own(images), peer(images), strict=True)
            assert all(relative_error(*pair) < 1e-9 for pair in pairs)
    counts = [sum(p.numel() for p in part.parameters() if p.requires_grad) for part in (own, peer)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "name",
    quick(
        MMPRETRAIN,
        [
            "resnext/resnext50-32x4d_8xb32_in1k.py",
            "seresnet/seresnext50-32x4d_8xb32_in1k.py",
            "regnet/regnetx-400mf_8xb128_in1k.py",
            "cspnet/cspresnext50_8xb32_in1k.py",
        ],
    ),
)
def test_mmpretrains_configs_take_this_backbone(name: str) -> None:
    model = model_of("mmpretrain", name)
    ours = copy.deepcopy(model)
    ours["backbone"]["type"] = f"resnext_backbones.{model['backbone']['type']}"
    assert model["backbone"]["type"] == MMPRETRAIN[name]
    peer = randomise(built("mmpretrain", model))
    own = built("mmpretrain", ours)
    if MMPRETRAIN[name] in SAME_NAMES:
        assert shapes(own.state_dict()) == shapes(peer.state_dict())
        own.load_state_dict(peer.state_dict())
    else:  # which have names of their own
        load_state(own.backbone, peer.state_dict(), name)
        own.head.load_state_dict(peer.head.state_dict())
    same_maps(own.backbone, peer.backbone)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        logits = [m.eval()(images, mode="tensor")[-1] for m in (own, peer)]
    assert relative_error(*logits) < TOLERANCE


@pytest.mark.whole
def test_these_are_all_of_mmpretrains_configs() -> None:
    kinds = set(MMPRETRAIN.values())
    found = {n for n, m in configs("mmpretrain").items() if any(True for _ in parts(m, kinds))}
    assert found == MMPRETRAIN.keys()


@pytest.mark.parametrize(
    "name", quick(sorted(MMSEG), ["fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py"])
)
def test_mmsegs_configs_take_this_backbone(name: str) -> None:
    model = model_of("mmseg", name)
    model.pop("pretrained", None)
    (theirs,) = parts(model["backbone"], RESNETS)
    theirs |= {**RESNETS[theirs["type"]], "type": "ResNeXt", "groups": 32, "base_width": 4}
    theirs.pop("init_cfg", None)
    ours = copy.deepcopy(model)
    ours["backbone"]["type"] = "resnext_backbones.ResNeXt"
    peer = randomise(built("mmseg", model))
    own = built("mmseg", ours)
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    own.load_state_dict(peer.state_dict())
    same_maps(own.backbone, peer.backbone)
    images, run = torch.randn(1, 3, 64, 64), lambda m: m.eval()(images, mode="tensor")
    if model["type"] == "CascadeEncoderDecoder":  # theirs does not run by itself
        run = lambda m: m.eval().extract_feat(images)  # noqa: E731
    with torch.no_grad():
        found, expected = (tensors(run(m)) for m in (own, peer))
    assert found
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < TOLERANCE


def tensors(output: Any) -> list[torch.Tensor]:
    return [output] if isinstance(output, torch.Tensor) else [*output]


def test_mmsegs_and_mmpretrains_timm_backbones_take_it() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    import resnext_backbones.adapters.timm  # noqa: F401

    name, images = "resnext_backbones_regnetx_002", torch.randn(1, 3, 64, 64)
    for package in ("mmseg", "mmpretrain"):
        cfg = {
            "type": "TIMMBackbone",
            "model_name": name,
            "features_only": True,
            "pretrained": False,
            "out_indices": (1, 2, 3, 4),
            "frozen_stages": 1,
        }
        registry = importlib.import_module(f"{imported(package).__name__}.registry")
        backbone = registry.MODELS.build(cfg)
        backbone.init_weights()
        assert [m.shape[1:] for m in backbone(images)] == [
            (24, 16, 16),
            (56, 8, 8),
            (152, 4, 4),
            (368, 2, 2),
        ]
        backbone.train()
        assert not backbone.timm_model.model.layer1.training
