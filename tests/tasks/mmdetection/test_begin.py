"""What a detector begins with fits it, and the log says what of it was taken."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectors import DETECTOR
from helpers import quick
from loopback import served

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from torch import Tensor

from resnext_backbones.adapters.openmmlab import ResNeXt
from resnext_backbones.engine.begin import Begin, begin
from resnext_backbones.engine.checkpoints import checkpoint_to_test
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import load_config, use_of, use_weights
from resnext_backbones.weights import WeightsError

State = dict[str, Tensor]
HEADS = ("roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg", "roi_head.mask_head.conv_logits")
OTHER_CLASSES = ("roi_head.bbox_head.num_classes=3", "roi_head.mask_head.num_classes=3")


@pytest.fixture(scope="module")
def state(detector: Path) -> State:
    return torch.load(detector)["state_dict"]


def config(source: Path | str | None, *options: str, **values: Any) -> Config:
    cfg = load_config("demo_coco", [*DETECTOR, *(f"model.{option}" for option in options)])
    cfg.load_from = None if source is None else str(source)
    cfg.update(values)
    return cfg


def saved(state: State, folder: Path, **more: Any) -> Path:
    torch.save({"state_dict": state, **more}, folder / "other.pth")
    return folder / "other.pth"


def trunk(state: State, change: Callable[[str], str | None]) -> State:
    names = {key: change(key) for key in state}
    return {name: state[key] for key, name in names.items() if name}


def test_a_detector_of_other_classes_is_fine_tuned(detector: Path, state: State) -> None:
    cfg = config(detector, *OTHER_CLASSES)
    first = begin(cfg)
    count = len([key for key in state if not key.endswith("num_batches_tracked")])
    assert first.loaded == f"{detector} ({count - 6} of {count} tensors)"
    assert first.problems == ()
    for head in HEADS:
        assert f"{head}.weight (" in first.left
        assert f"{head}.bias (" in first.left
    # MMEngine then does what was said.
    model = MODELS.build(cfg.model)
    before = copy.deepcopy(model.state_dict())
    load_checkpoint(model, cfg.load_from)
    for key, value in model.state_dict().items():
        assert value.equal(before[key] if key.startswith(HEADS) else state[key]), key
    assert begin(config(detector)) == Begin(first.meta, f"{detector} ({count} of {count} tensors)")


@pytest.mark.whole
def test_parts_that_are_not_there_are_counted(state: State, tmp_path: Path) -> None:
    path = saved(trunk(state, lambda k: None if "mask_head" in k else k), tmp_path)
    lost = [k for k in state if "mask_head" in k and not k.endswith("num_batches_tracked")]
    assert begin(config(path)).left == f"{len(lost)} not in the file (roi_head.mask_head)"
    path = saved({**state, "extra.head.weight": torch.ones(1)}, tmp_path)
    assert begin(config(path)).left == "1 of the file left out (extra.head)"


NOTHING = "None of the network's .* --weights"
REFUSED: dict[str, tuple[Callable[[str], str | None], str]] = {
    "a trunk": (lambda k: k[9:] if k.startswith("backbone.") else None, NOTHING),
    "other names": (lambda k: f"model.{k}", "None of the network's"),
}
PARTS: dict[str, tuple[Callable[[str], str | None], str]] = {
    "half a trunk": (lambda k: None if ".layer4." in k else k, "missing: backbone.layer4.0.bn1"),
    "heads": (lambda k: None if k.startswith("backbone.") else k, "missing: backbone.bn1.bias"),
    "another block": (
        lambda k: k.replace("layer4.0.conv1", "layer4.1.conv1"),
        r"1 missing: backbone.layer4.0.conv1.weight\n  1 unexpected: backbone.layer4.1",
    ),
}


@pytest.mark.parametrize("name", quick(REFUSED, ["a trunk"]))
def test_what_fits_nothing_is_refused(name: str, state: State, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    path = saved(trunk(state, change), tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        begin(config(path, "backbone.frozen_stages=1"))
    assert str(caught.value).startswith(f"load_from {path}: the file holds ")
    assert "Nothing was loaded" in str(caught.value)


@pytest.mark.parametrize("name", quick(PARTS, ["half a trunk"]))
def test_a_backbone_in_part_is_a_problem(name: str, state: State, tmp_path: Path) -> None:
    change, message = PARTS[name]
    path = saved(trunk(state, change), tmp_path)
    (problem,) = begin(config(path)).problems
    assert re.search(message, problem)
    assert "would be loaded in part" in problem
    assert str(path) in problem


def test_other_values_are_refused(state: State, detector: Path, tmp_path: Path) -> None:
    wide = begin(config(detector, "backbone.base_width=8")).problems
    assert "holds a 8x4d network" in wide[0]
    assert "the network is a 8x8d network" in wide[0]
    for key in ("backbone.conv1.weight", "rpn_head.rpn_cls.bias"):
        path = saved({**state, key: state[key] * torch.nan}, tmp_path)
        with pytest.raises(InputError, match=f"1 with NaN or infinity: {key}"):
            begin(config(path))
    fused = {k: torch.full_like(v, 1 - 1e-5) if "running_var" in k else v for k, v in state.items()}
    path = saved(fused, tmp_path)
    assert "fused norms" in begin(config(path)).problems[0]
    assert begin(config(path, "backbone.norm_eval=True")).problems == ()


def test_checkpoints_are_found_by_address_and_folder(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    with served(detector.parent) as address:
        for name in (f"{address}/{detector.name}", detector.absolute().as_uri()):
            assert Path(checkpoint_to_test(name, tmp_path)).read_bytes() == detector.read_bytes()
            cfg = config(name)
            assert begin(cfg).loaded.startswith(f"{name} (")
            assert Path(cfg.load_from).read_bytes() == detector.read_bytes()
    run = tmp_path / "run"
    run.mkdir()
    (run / "epoch_2.pth").write_bytes(b"")
    (run / "last_checkpoint").write_text("/elsewhere/run/epoch_2.pth")
    for door in (lambda name: checkpoint_to_test(name, run), lambda name: begin(config(name))):
        with pytest.raises(WeightsError, match=rf"folder of a run; .* {run}/epoch_2.pth"):
            door(str(run))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"is a folder without model\.safetensors"):
        begin(config(tmp_path / "empty"))


@pytest.mark.whole
def test_averages_must_be_whole_too(state: State, tmp_path: Path) -> None:
    averages = {f"module.{key}": value for key, value in state.items()}
    steps = {"steps": torch.tensor(3)}
    rest = {"meta": {"epoch": 1, "iter": 3}, "message_hub": {}, "optimizer": {}}
    hook = {"custom_hooks": [{"type": "EMAHook"}], "resume": True}
    path = saved(state, tmp_path, **rest, ema_state_dict=averages | steps)
    assert begin(config(path, **hook)).problems == ()
    assert "the config does not" in begin(config(path, resume=True)).problems[0]
    averages.popitem()
    path = saved(state, tmp_path, **rest, ema_state_dict=averages | steps)
    with pytest.raises(InputError, match=r"ema_state_dict: .*\n  1 missing"):
        begin(config(path, **hook))


@pytest.mark.whole
def test_weights_of_other_parts_fit_whole(detector: Path, state: State, tmp_path: Path) -> None:
    init_cfg = f"neck.init_cfg.checkpoint={detector}"
    options = ("neck.init_cfg.type=Pretrained", init_cfg, "neck.init_cfg.prefix=neck")
    assert begin(config(None, *options)).problems == ()
    (problem,) = begin(config(None, *options[:2], "neck.init_cfg.prefix=nick")).problems
    assert problem.startswith(f"init_cfg of neck: weights {detector}: what is in the file behind")
    path = saved(trunk(state, lambda k: None if "neck.lateral_convs.0" in k else k), tmp_path)
    options = (options[0], f"neck.init_cfg.checkpoint={path}", options[2])
    assert "missing: lateral_convs.0" in begin(config(None, *options)).problems[0]
    with pytest.raises(InputError, match=r"init_cfg of neck: .*absent.pth: there is no such file"):
        begin(config(None, options[0], "neck.init_cfg.checkpoint=absent.pth"))


def test_pretrained_of_mmsegmentation_is_an_init_cfg() -> None:
    source = "open-mmlab://resnext101_32x4d"
    own = {"depth": 101, "groups": 32, "base_width": 4}
    init_cfg = {"type": "Pretrained", "checkpoint": source}
    with torch.device("meta"):
        assert ResNeXt(**own, pretrained=source).init_cfg == init_cfg
        assert ResNeXt(**own, pretrained=None).init_cfg is None
        with pytest.raises(ValueError, match=r"pretrained='a' cannot be given beside init_cfg"):
            ResNeXt(**own, pretrained="a", init_cfg=init_cfg)
        with pytest.raises(ValueError, match="pretrained must be None or the name of weights"):
            ResNeXt(**own, pretrained=True)
    for part in ("", "backbone."):
        cfg = config(None, f"{part}pretrained={source}", "backbone.frozen_stages=1")
        use = use_of(cfg)
        assert use is not None
        assert use.source == source
        use_weights(cfg, "none")
        assert use_of(cfg).source is None
