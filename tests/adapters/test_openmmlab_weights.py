"""Weights in an MMDetection config: from where they are to the last key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from loopback import served

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.runner.checkpoint import get_state_dict, save_checkpoint, weights_to_cpu
from torch import nn

from resnext_backbones import build_backbone, load_weights
from resnext_backbones.adapters import mmengine, openmmlab
from resnext_backbones.weights import WeightsError

OWN = "resnext_backbones.ResNeXt"


@pytest.fixture(autouse=True, scope="module")
def _mmdet_scope() -> None:
    register_all_modules()


def test_pretrained_weights_of_another_variant_are_refused(tmp_path: Path) -> None:
    torch.save(build_backbone("resnext26_32x4d").state_dict(), tmp_path / "weights.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")}
    model = MODELS.build({"type": OWN, "variant": "resnext50_32x4d", "init_cfg": init_cfg})
    with pytest.raises(WeightsError, match=r"resnext26_32x4d; the network is resnext50_32x4d"):
        model.init_weights()


def test_mmengines_checkpoint_says_what_tensors_do_not(tmp_path: Path) -> None:
    """Its state dict is made by MMEngine's own function."""
    cfg = {"type": OWN, "variant": "resnext26ts"}
    state = get_state_dict(nn.ModuleDict({"backbone": MODELS.build(cfg)}))
    save_checkpoint({"meta": {}, "state_dict": weights_to_cpu(state)}, str(tmp_path / "w.pth"))
    load_weights(MODELS.build(cfg), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"trained with activation='SiLU', .*='ReLU'"):
        load_weights(build_backbone("resnext26ts", activation="ReLU"), tmp_path / "w.pth")


@pytest.mark.parametrize("prefix", ["teacher.", "teacher", None])
def test_pretrained_weights_behind_a_prefix(prefix: str | None, tmp_path: Path) -> None:
    """MMEngine adds the dot itself, and takes no prefix for none."""
    state = build_backbone("resnext26_32x4d").state_dict()
    content = {f"teacher.{k}": v for k, v in state.items()}
    if prefix:
        content |= {f"student.{k}": v + 1 for k, v in state.items()}
    torch.save({"state_dict": content}, tmp_path / "weights.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")}
    cfg = {
        "type": OWN,
        "variant": "resnext26_32x4d",
        "init_cfg": {**init_cfg, "prefix": prefix},
    }
    model = MODELS.build(cfg)
    model.init_weights()
    assert torch.equal(model.conv1.weight, state["conv1.weight"])
    for wrong, message in (("absent", "no name in it begins with 'absent'"), ("", "2 trunks")):
        if prefix or wrong:
            cfg["init_cfg"]["prefix"] = wrong
            with pytest.raises(WeightsError, match=message):
                MODELS.build(cfg).init_weights()


def test_weights_of_a_plain_trunk_go_into_one_with_more_parts(tmp_path: Path) -> None:
    source = build_backbone("resnext50_32x4d")
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    pretrained = {"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")}
    cfg = {
        "type": OWN,
        "variant": "resnext50_32x4d",
        "dcn": {"type": "DCNv2", "deform_groups": 1},
        "stage_with_dcn": (False, False, False, True),
        "plugins": [{"cfg": {"type": "ContextBlock", "ratio": 0.25}, "position": "after_conv3"}],
    }
    for init_cfg in (pretrained, [{"type": "Constant", "layer": "Conv2d", "val": 1}, pretrained]):
        model = MODELS.build({**cfg, "init_cfg": init_cfg})
        model.init_weights()
        state = model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in source.state_dict().items())
        untouched = model.loaded_weights.untouched
        assert set(untouched) == state.keys() - source.state_dict().keys()
        kinds = {"conv_offset" in key or "context_block" in key for key in untouched}
        assert kinds == {True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server for the files in a folder `www`."""
    (tmp_path / "www").mkdir()
    with served(tmp_path / "www") as address:
        yield address


class Bomb:
    """Opens a file for writing where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_weights_by_address_and_by_name(server: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    state = build_backbone("resnext26_32x4d").state_dict()
    torch.save(state, tmp_path / "www" / "weights.pth")
    torch.save({"state_dict": state, "x": Bomb(tmp_path / "ran")}, tmp_path / "www" / "bomb.pth")
    table = {"resnext26": f"{server}/weights.pth"}
    monkeypatch.setitem(mmengine.NAMED_WEIGHTS, "open-mmlab://", lambda: table)

    def load(source: str) -> openmmlab.ResNeXt:
        init_cfg = {"type": "Pretrained", "checkpoint": source}
        model = MODELS.build({"type": OWN, "variant": "resnext26_32x4d", "init_cfg": init_cfg})
        model.init_weights()
        return model

    # What is no weight is read past, and runs nothing.
    for source in (f"{server}/weights.pth", "open-mmlab://resnext26", f"{server}/bomb.pth"):
        assert torch.equal(load(source).conv1.weight, state["conv1.weight"])
    assert (tmp_path / "cache" / "hub" / "checkpoints" / "weights.pth").is_file()
    for source, message in (
        ("open-mmlab://resnext62", "no such name; try resnext26"),
        (
            "open-mmlab://jhu/resnext50_32x4d_gn_ws",
            "convolution='standardised', .*'plain'",
        ),
        (f"{server}/absent.pth", "404.*put it at .*absent.pth"),
        (str(tmp_path / "absent.pth"), "no such file"),
    ):
        with pytest.raises(WeightsError, match=message):
            load(source)
    assert not (tmp_path / "ran").exists()
