"""The table of variants, and the golden record that belongs to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import regnets
import torch
import torchvision
from helpers import quick
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from benchmarks.complexity import BEGIN, DOCUMENT, END, count, read_record, table, task
from resnext_backbones import Architecture, ResNeXt, build_backbone, build_classifier, list_variants
from resnext_backbones.models.architecture import UNSEEN
from resnext_backbones.variants import VARIANTS, describe
from resnext_backbones.weights.identify import identify, network_name

IN_TORCHVISION = {name: name for name in VARIANTS if name in torchvision.models.list_models()}
IN_TORCHVISION |= regnets.IN_TORCHVISION
PAPER_SIZES = {
    "resnext101_32x4d": 44.177704,  # pycls's model zoo
    "resnext29_8x64d": 34.4,  # Xie et al. (2017), Table 7
    "resnext29_16x64d": 68.1,
}
"""Millions of parameters of networks that torchvision does not have."""


def test_the_record_holds_every_variant() -> None:
    assert list(read_record()) == list_variants()


@pytest.mark.parametrize("name", list_variants())
def test_parameters_are_those_recorded(name: str) -> None:
    with torch.device("meta"):
        classifier = build_classifier(name, num_classes=task(name)[1])
        trunk = build_backbone(name)
    record = read_record()[name]
    assert sum(p.numel() for p in classifier.parameters()) == record["parameters"]
    assert sum(p.numel() for p in trunk.parameters()) == record["trunk_parameters"]
    if name in PAPER_SIZES:
        assert record["parameters"] / 1e6 == pytest.approx(PAPER_SIZES[name], rel=2e-3)
    state = trunk.state_dict()
    shown = {field: getattr(Architecture, field) for field in UNSEEN}
    assert identify(state) == replace(VARIANTS[name], **shown)
    alike = network_name(state).split(" or ")
    assert name in alike
    assert all(replace(VARIANTS[n], **shown) == identify(state) for n in alike)
    below = {k: v for k, v in state.items() if not k.startswith(("layer3.", "layer4."))}
    assert name in network_name(below).split(" or ")


# fvcore takes seconds for each of these, and PyTorch's counter does not.
REGNETS = [name for name in VARIANTS if name.startswith("regnet")]
COUNTED = quick(VARIANTS, {*VARIANTS} - {*REGNETS[1:]})


@pytest.mark.parametrize("name", COUNTED)
def test_multiply_adds_are_those_recorded(name: str) -> None:
    record = dict(read_record()[name])
    record.pop("kept_bytes", None)  # tests/test_complexity.py has that
    assert count(name) == record


@pytest.mark.parametrize("name", list_variants())
def test_pytorch_counts_the_same_multiply_adds(name: str) -> None:
    """Its counter sees the operators that run; fvcore, which made the record, sees a trace."""
    size, classes = task(name)
    with torch.device("meta"):
        model = build_classifier(name, num_classes=classes).eval()
        images = torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    counted = {str(operator): n // 2 for operator, n in counter.get_flop_counts()["Global"].items()}
    record = read_record()[name]
    assert counted["aten.convolution"] == record["trunk_multiply_adds"]
    # Attention has products that are no layer's, which the record leaves out.
    assert counted["aten.convolution"] + counted["aten.addmm"] == record["multiply_adds"]


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_the_record_agrees_with_torchvision(name: str) -> None:
    meta = list(get_model_weights(IN_TORCHVISION[name]))[-1].meta  # of 224 pixels
    record = read_record()[name]
    assert record["parameters"] == meta["num_params"]
    assert record["multiply_adds"] / 1e9 == pytest.approx(meta["_ops"], abs=0.006)


def test_the_document_shows_the_record() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0].strip() == table(read_record())


def test_build_by_name_with_options() -> None:
    model = build_backbone("resnext26_32x4d", out_indices=(1, 2), frozen_stages=1)
    assert isinstance(model, ResNeXt)
    assert model.channels == (512, 1024)
    assert model.frozen_stages == 1


def test_unknown_names_and_settled_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"resnext49.*resnext50_32x4d"):
        build_backbone("resnext49")
    with pytest.raises(ValueError, match=r"cardinality.*resnext50_32x4d"):
        build_backbone("resnext50_32x4d", cardinality=8)


def test_a_network_is_named_by_its_shape() -> None:
    def described(*blocks: int, **fields: object) -> str:
        return describe(Architecture(blocks=blocks, **fields))

    assert described(3, 4, 23, 3, base_width=8) == "resnext101_32x8d"
    assert described(3, 4) == "resnext50_32x4d or resnext101_32x4d"
    assert described(1, 1, cardinality=2, base_width=3) == "a 2x3d network of 1-1 blocks"
    assert described(3, 4, 6, 3, norm_kind="group") == "resnext50_32x4d with norm_kind=group"
    assert described(3, 4, 6, 3, stem="deep") == "resnext50_32x4d with stem=deep"
