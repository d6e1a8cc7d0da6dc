"""A trunk is found in whatever training programs write, or all that could be meant are listed."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm.utils
import torch
from helpers import drawn, small
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models.resnet import Bottleneck, ResNet

from resnext_backbones import ResNeXtClassifier, build_backbone, build_classifier, load_weights
from resnext_backbones.weights import WeightsError

State = dict[str, torch.Tensor]

SOURCE = small()
OTHER = drawn()
STATE: State = SOURCE.state_dict()
RAW: State = OTHER.state_dict()


def front(prefix: str, state: State = STATE) -> State:
    return {prefix + key: value for key, value in state.items()}


def within(state: State, stage: str, word: str) -> State:
    return {key.replace(f"{stage}.", f"{stage}.{word}."): value for key, value in state.items()}


class Lightning(nn.Module):
    """Keeps the trunk under its own name, and under another one too, as Lightning's users do."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"backbone": SOURCE, "head": nn.Linear(4, 2)})
        self.backbone = self.model["backbone"]


HEADS = {"projection_head.0.weight": torch.ones(2, 2), "prototypes.weight": torch.ones(2, 2)}
QUEUE = {"queue": torch.ones(2, 2), "queue_ptr": torch.zeros(1)}
LARS = {
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 1}]}
}

WRAPPED: dict[str, tuple[Callable[[], Any], str, int]] = {
    "torch.compile": (lambda: torch.compile(small()).state_dict(), "_orig_mod.", 0),
    "compiled, then DDP": (lambda: front("module._orig_mod."), "module._orig_mod.", 0),
    "a compiled stage": (lambda: within(STATE, "layer2", "_orig_mod"), "", 0),
    "FSDP": (lambda: front("_fsdp_wrapped_module."), "_fsdp_wrapped_module.", 0),
    "FSDP of blocks": (lambda: within(STATE, "layer3.0", "_fsdp_wrapped_module"), "", 0),
    "recomputed blocks": (lambda: within(STATE, "layer1.0", "_checkpoint_wrapped_module"), "", 0),
    "Fabric": (lambda: {"model": front("_forward_module.")}, "model._forward_module.", 0),
    "DeepSpeed": (lambda: {"module": STATE, "ds_version": "0.16", **LARS}, "module.", 0),
    "DataParallel within a detector": (
        lambda: front("detector.module.cnn."),
        "detector.module.cnn.",
        0,
    ),
    "DETR": (lambda: {"model": front("backbone.0.body.")}, "model.backbone.0.body.", 0),
    "Mixed Case": (lambda: {"Model": front("BackBone.Net.")}, "Model.BackBone.Net.", 0),
    "Lightning": (
        lambda: {"state_dict": front("net."), "hyper_parameters": {"root": Path("/x")}, **LARS},
        "state_dict.net.",
        0,
    ),
    "Lightning, under two names": (
        lambda: {"state_dict": Lightning().state_dict()},
        "state_dict.backbone.",
        122,
    ),
    "nested": (
        lambda: {"model": {"backbone": STATE, "neck": {"w": torch.ones(1)}}},
        "model.backbone.",
        1,
    ),
    "a list": (lambda: [STATE, {"step": torch.ones(1)}], "0.", 0),
    "a tuple in a mapping": (lambda: {"nets": ({"w": torch.ones(1)}, STATE)}, "nets.1.", 1),
    "MoCo v2": (
        lambda: {"state_dict": front("module.encoder_q.") | QUEUE},
        "state_dict.module.encoder_q.",
        2,
    ),
    "Barlow Twins": (
        lambda: {"model": front("module.backbone.") | {"module.projector.0.weight": torch.ones(2)}},
        "model.module.backbone.",
        1,
    ),
    "SwAV": (lambda: front("module.", STATE | HEADS), "module.", 2),
    "SimCLR": (
        lambda: {"state_dict": front("backbone.", STATE | {"fc.0.weight": torch.ones(2, 2)})},
        "state_dict.backbone.",
        1,
    ),
    "SWA": (lambda: AveragedModel(SOURCE).state_dict(), "module.", 1),
    "a module": (lambda: SOURCE, "", 0),
    "a module beside others": (lambda: {"epoch": 3, "net": SOURCE}, "net.", 0),
    "a namespace": (lambda: {"run": SimpleNamespace(weights=STATE)}, "run.weights.", 0),
    "arrays": (lambda: {key: value.numpy() for key, value in STATE.items()}, "", 0),
}
"""What a program writes; what stands in front of the trunk's names; how many tensors are beside."""


@pytest.mark.parametrize("how", WRAPPED)
def test_a_trunk_is_found_and_the_log_says_where(how: str, tmp_path: Path) -> None:
    make, prefix, others = WRAPPED[how]
    torch.save(make(), tmp_path / "w.pth")
    own = drawn()
    loaded = load_weights(own, tmp_path / "w.pth")
    assert all(torch.equal(value, STATE[key]) for key, value in own.state_dict().items())
    assert (loaded.prefix, loaded.tensors, len(loaded.unused)) == (prefix, len(STATE), others)
    assert (f"{len(STATE)} tensors behind {prefix!r}" in str(loaded)) == bool(prefix)


PAIRS = {
    "MoCo": {"state_dict": front("module.encoder_q.") | front("module.encoder_k.", RAW) | QUEUE},
    "MoCo v3": {"state_dict": front("base_encoder.") | front("momentum_encoder.", RAW)},
    "DINO": {"student": front("module.backbone.", RAW), "teacher": front("backbone.")},
    "BYOL": {"online_encoder": STATE, "target_encoder": RAW},
    "mean teacher": {"state_dict": front("student.backbone.", RAW) | front("teacher.backbone.")},
    "gradients": {"model": STATE, "grads": RAW},
}
WANTED = {
    "MoCo": "encoder_q",
    "MoCo v3": "base_encoder",
    "DINO": "teacher",
    "BYOL": "online_encoder.",
    "mean teacher": "teacher",
    "gradients": "model",
}


@pytest.mark.parametrize("how", PAIRS)
def test_of_several_one_is_chosen_by_its_prefix(how: str, tmp_path: Path) -> None:
    torch.save(PAIRS[how], tmp_path / "w.pth")
    own = drawn()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    with pytest.raises(WeightsError, match=r"holds 2 trunks.*prefix='") as caught:
        load_weights(own, tmp_path / "w.pth")
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())
    loaded = load_weights(own, tmp_path / "w.pth", prefix=WANTED[how])
    assert loaded.prefix in str(caught.value)
    assert all(torch.equal(value, STATE[key]) for key, value in own.state_dict().items())
    with pytest.raises(WeightsError, match=r"no name in it begins with 'absent'"):
        load_weights(own, tmp_path / "w.pth", prefix="absent")


def test_of_networks_beside_it_the_trunk_is_told(tmp_path: Path) -> None:
    """A ResNet-18, whose names are the same, is no ResNeXt."""
    other = {f"depth.{k}": v for k, v in timm.create_model("resnet18").state_dict().items()}
    torch.save(other | front("image."), tmp_path / "w.pth")
    assert load_weights(drawn(), tmp_path / "w.pth").prefix == "image."


def saved_by_timm(folder: Path) -> dict[str, Any]:
    """What its `CheckpointSaver` writes, with the arguments of a run and averaged weights."""
    model, averaged = drawn(), timm.utils.ModelEmaV3(small())
    args = argparse.Namespace(model="x", lr=0.1, data=Path("/data"))
    saver = timm.utils.CheckpointSaver(
        model, torch.optim.SGD(model.parameters(), 0.1), args, averaged, checkpoint_dir=str(folder)
    )
    saver.save_checkpoint(0, 1.0)
    return torch.load(folder / "last.pth.tar", weights_only=False)


AVERAGED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "timm": saved_by_timm,
    "torchvision": lambda _: {"model": RAW, "model_ema": front("module.") | {"n_averaged": 3}},
    "YOLO": lambda _: {"model": OTHER, "ema": SOURCE, "updates": 3},
    "MMEngine": lambda _: {
        "meta": {"mmengine_version": "0.10"},
        "state_dict": front("backbone."),
        "ema_state_dict": front("module.backbone.", RAW) | {"steps": torch.tensor(3)},
    },
    "another's": lambda _: {"state_dict": RAW, "ema_state_dict": STATE},
    "Lightning": lambda _: {
        "state_dict": front("model."),
        "current_model_state": front("model.", RAW),
    },
}


@pytest.mark.parametrize("how", AVERAGED)
def test_averaged_weights_are_those_that_the_program_means(how: str, tmp_path: Path) -> None:
    torch.save(AVERAGED[how](tmp_path), tmp_path / "w.pth")
    own = drawn()
    assert load_weights(own, tmp_path / "w.pth").averaged
    assert all(torch.equal(value, STATE[key]) for key, value in own.state_dict().items())


@pytest.fixture(scope="module")
def peer() -> nn.Module:
    return ResNet(Bottleneck, [2, 2, 2, 2], groups=32, width_per_group=4).eval()


def pickled(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def traced(model: nn.Module, path: Path) -> None:
    torch.jit.trace(model, torch.ones(1, 3, 32, 32)).save(path)


BY_PEERS: dict[str, Callable[[nn.Module, Path], None]] = {
    "a scripted module": lambda model, path: torch.jit.script(model).save(path),
    "a traced module": traced,
    "a pickle of tensors": lambda model, path: pickled(model.state_dict(), path),
    "children in sequence": lambda model, path: torch.save(
        {"f": nn.Sequential(*model.children())[:9]}, path
    ),
    "a protocol of later": lambda model, path: torch.save(model, path, pickle_protocol=5),
    "the old kind, whole": lambda model, path: torch.save(
        OrderedDict(net=model), path, _use_new_zipfile_serialization=False
    ),
}


@pytest.mark.parametrize("how", BY_PEERS)
def test_modules_that_were_saved_whole(how: str, peer: nn.Module, tmp_path: Path) -> None:
    BY_PEERS[how](peer, tmp_path / "w")
    own = build_backbone("resnext26_32x4d")
    load_weights(own, tmp_path / "w")
    state = peer.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.state_dict().items())


def test_into_what_is_wrapped_itself(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w")
    own = torch.compile(nn.DataParallel(drawn()))
    load_weights(own, tmp_path / "w")
    assert all(torch.equal(v, STATE[k.split("module.")[1]]) for k, v in own.state_dict().items())


def test_a_head_of_other_classes_is_left_out_where_one_asks(tmp_path: Path) -> None:
    source = small(ResNeXtClassifier, num_classes=7)
    torch.save(source.state_dict(), tmp_path / "w")
    own = drawn(ResNeXtClassifier, num_classes=3)
    head = own.fc.weight.clone()
    with pytest.raises(WeightsError, match=r"head=False keeps.*\n.*fc.weight \(7, "):
        load_weights(own, tmp_path / "w")
    loaded = load_weights(own, tmp_path / "w", head=False)
    assert torch.equal(own.fc.weight, head)
    assert torch.equal(own.layer4[0].conv3.weight, source.layer4[0].conv3.weight)
    assert loaded.unused == loaded.untouched == ("fc.bias", "fc.weight")
    same = drawn(ResNeXtClassifier, num_classes=7)
    load_weights(same, tmp_path / "w", head=False)
    assert not torch.equal(same.fc.weight, source.fc.weight)


def test_the_head_that_detectron2s_converter_leaves(peer: nn.Module, tmp_path: Path) -> None:
    """tools/convert-torchvision-to-d2.py takes what is of no stage for a part of the stem."""
    names = {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}
    arrays = {}
    for key, value in peer.state_dict().items():
        name = key if "layer" in key else f"stem.{key}"
        for i in (1, 2, 3, 4):
            name = name.replace(f"layer{i}", f"res{i + 1}").replace(f"bn{i}", f"conv{i}.norm")
        for old, new in names.items():
            name = name.replace(old, new)
        arrays[name] = value.numpy()
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": arrays, "matching_heuristics": True}))
    assert "fc.weight" in load_weights(build_backbone("resnext26_32x4d"), tmp_path / "w.pkl").unused
    own = build_classifier("resnext26_32x4d")
    load_weights(own, tmp_path / "w.pkl")
    assert torch.equal(own.fc.weight, peer.fc.weight)
