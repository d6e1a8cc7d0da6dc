"""Caffe2's weights, whose norms only scale and shift or have statistics."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import randomise, relative_error

from resnext_backbones import build_backbone, build_classifier, load_weights
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.formats import FORMATS

VARIANT = "resnext50_32x4d"


def images() -> torch.Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def caffe2(state: dict[str, torch.Tensor], *, fused: bool) -> dict[str, np.ndarray]:
    names = {key: FORMATS["caffe2"].from_own(key) for key in state}
    statistics = ("_rm", "_riv")
    return {
        theirs: state[own].numpy()
        for own, theirs in names.items()
        if theirs is not None and not (fused and theirs.endswith(statistics))
    }


def test_caffe2_with_statistics(tmp_path: Path) -> None:
    source = randomise(build_classifier(VARIANT))
    blobs = caffe2(source.state_dict(), fused=False)
    blobs |= {"conv1_w_momentum": blobs["conv1_w"], "lr": np.float32(0.1)}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": blobs}, 2))
    own = build_classifier(VARIANT)
    loaded = load_weights(own, tmp_path / "w.pkl")
    assert (loaded.family, loaded.fused) == ("caffe2", False)
    assert loaded.unused == ("conv1_w_momentum",)
    for key, value in source.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(own.state_dict()[key], value)


def test_caffe2_with_fused_norms_scales_and_shifts(tmp_path: Path) -> None:
    source = randomise(build_backbone(VARIANT))
    blobs = caffe2(source.state_dict(), fused=True)
    blobs["conv1_b"] = np.zeros(64, "f4")  # the stem of some has a bias that does nothing
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(blobs, 2))
    own = build_backbone(VARIANT).eval()
    loaded = load_weights(own, tmp_path / "w.pkl")
    assert loaded.fused
    assert loaded.unused == ("conv1_b",)
    x = torch.randn(2, 64, 8, 8)
    gamma, beta = (getattr(source.bn1, name).reshape(-1, 1, 1) for name in ("weight", "bias"))
    assert relative_error(own.bn1(x), x * gamma + beta) <= 1e-6
    blobs["conv1_b"] += 1
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(blobs, 2))
    with pytest.raises(WeightsError, match=r"1 unexpected: conv1_b"):
        load_weights(own, tmp_path / "w.pkl")


GREEK = {"s": "gamma", "b": "beta", "rm": "running_mean", "riv": "running_var"}


@pytest.mark.parametrize("greek", [False, True])
def test_caffe2s_names_are_those_that_detectron2_reads(greek: bool) -> None:
    loading = pytest.importorskip(
        "detectron2.checkpoint.c2_model_loading", reason="Detectron2 is not installed"
    )
    with torch.device("meta"):
        own = list(build_classifier(VARIANT).state_dict())
    pairs = {
        theirs: FORMATS["detectron2"].from_own(key)
        for key in own
        if (theirs := FORMATS["caffe2"].from_own(key))
    }
    if greek:  # as in the files that Detectron2 publishes itself
        pairs = {
            re.sub(r"(?<=_bn_)\w+$", lambda found: GREEK[found[0]], key): name
            for key, name in pairs.items()
        }
    assert loading.convert_basic_c2_names(list(pairs)) == list(pairs.values())
    for theirs, detectron2s in pairs.items():
        assert FORMATS["caffe2"].to_own(theirs) == FORMATS["detectron2"].to_own(detectron2s)


def test_caffe2s_names_of_group_norms() -> None:
    loading = pytest.importorskip(
        "detectron2.checkpoint.c2_model_loading", reason="Detectron2 is not installed"
    )
    with torch.device("meta"):
        own = [key for key in build_backbone(VARIANT, norm="GN").state_dict() if "gn" in key]
    pairs = {FORMATS["caffe2"].from_own(key): FORMATS["detectron2"].from_own(key) for key in own}
    assert loading.convert_basic_c2_names(list(pairs)) == list(pairs.values())
    assert [FORMATS["caffe2"].to_own(key) for key in pairs] == own
