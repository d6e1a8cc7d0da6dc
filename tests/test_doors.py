"""Every door that weights come through takes whole files only, and runs nothing."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import SMALL, quick, small
from hostile import MARK
from loopback import served
from torch import nn
from weight_files import BAD, GOOD

from resnext_backbones import ResNeXt, ResNeXtClassifier, build_backbone, load_weights
from resnext_backbones.adapters import torchvision
from resnext_backbones.errors import InputError
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError, download
from resnext_backbones.weights.compare import COUNTER
from resnext_backbones.weights.write import convert

NAME = "small_4x4d"
REFUSALS = (WeightsError, InputError)
Door = Callable[[str], nn.Module | None]

pytestmark = pytest.mark.usefixtures("_small")


@pytest.fixture
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of this name, and a folder in which code would leave its mark."""
    monkeypatch.setitem(VARIANTS, NAME, SMALL)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def by_function(path: str) -> nn.Module:
    network = ResNeXt(SMALL)
    load_weights(network, path)
    return network


def by_from_pretrained(path: str) -> nn.Module:
    ResNeXt(SMALL).save_pretrained("saved")
    Path("saved", "model.safetensors").write_bytes(Path(path).read_bytes())
    try:
        return ResNeXt.from_pretrained("saved")
    except REFUSALS as error:
        raise WeightsError(str(error).replace("saved/model.safetensors", path)) from error


def by_folder(path: str) -> nn.Module:
    Path("folder").mkdir(exist_ok=True)
    Path("folder", "pytorch_model.bin").write_bytes(Path(path).read_bytes())
    try:
        return build_backbone(NAME, weights="folder")
    except REFUSALS as error:
        raise WeightsError(str(error).replace("folder", path)) from error


def by_hubconf(path: str) -> nn.Module:
    entry = runpy.run_path(str(Path(__file__).parents[1] / "hubconf.py"))["_entry"]
    return entry(NAME)(weights=path, progress=False)


def by_conversion(path: str) -> None:
    convert(path, "converted.safetensors", "safetensors", overwrite=True)


def by_init_cfg(path: str, **more: str) -> nn.Module:
    from resnext_backbones.adapters import openmmlab

    init_cfg = {"type": "Pretrained", "checkpoint": path, **more}
    network = openmmlab.ResNeXt(variant=NAME, init_cfg=init_cfg)
    network.init_weights()
    return network


def by_pretrained(path: str) -> nn.Module:
    from resnext_backbones.adapters import openmmlab

    network = openmmlab.ResNeXt(variant=NAME, pretrained=path)
    network.init_weights()
    return network


def by_address(path: str) -> nn.Module:
    Path("www").mkdir(exist_ok=True)
    # An address of each file: what was downloaded once is not asked for again.
    name = f"{len(list(Path('www').iterdir()))}_{Path(path).name}"
    Path("www", name).write_bytes(Path(path).read_bytes())
    with served(Path("www")) as address, download.progress(False):
        return by_function(f"{address}/{name}")


def by_backbone_config(path: str) -> nn.Module:
    from resnext_backbones.adapters.transformers import ResNeXtBackbone, ResNeXtConfig

    stages = ["stage1", "stage2", "stage3", "stage4"]
    settled = ResNeXtConfig(network=NAME, out_features=stages, weights=path)
    return ResNeXtBackbone(settled).trunk


def by_auto_backbone(path: str) -> nn.Module:
    from transformers import AutoBackbone

    from resnext_backbones.adapters.transformers import ResNeXtConfig

    ResNeXtConfig(network=NAME).save_pretrained("backbone")
    file = Path("backbone", "model.safetensors")
    file.write_bytes(Path(path).read_bytes())
    try:
        return AutoBackbone.from_pretrained("backbone").trunk
    except REFUSALS as error:
        raise WeightsError(str(error).replace(str(file), path)) from error


TRUNK_DOORS: dict[str, Door] = {
    "load_weights": by_function,
    "an address": by_address,
    "file://": lambda path: by_function(Path(path).absolute().as_uri()),
    "a folder": by_folder,
    "build_backbone": lambda path: build_backbone(NAME, weights=path),
    "from_pretrained": by_from_pretrained,
    "torch.hub": by_hubconf,
    "convert": by_conversion,
    "init_cfg": by_init_cfg,
    "pretrained": by_pretrained,
    "resnext_fpn": lambda path: torchvision.resnext_fpn(NAME, weights=path).body,
    "backbone_config": by_backbone_config,
    "AutoBackbone": by_auto_backbone,
    "deeplabv3": lambda path: torchvision.deeplabv3(NAME, weights_backbone=path).backbone,
}
"""Each loads a trunk from a path."""


def runner_config(**values: object) -> SimpleNamespace:
    from mmengine.config import Config

    from resnext_backbones.tasks.classification import model  # noqa: F401

    network = {"variant": NAME}
    classifier = {"type": "resnext_backbones.ImageClassifier", "network": network, "num_classes": 3}
    return Config({"model": classifier, "default_scope": "mmengine", "work_dir": "run", **values})


def by_runner(path: str, **values: object) -> nn.Module:
    """What a command checks, and what MMEngine's runner then does with `load_from`."""
    from mmengine.registry import MODELS
    from mmengine.runner import load_checkpoint

    from resnext_backbones.engine.begin import begin

    cfg = runner_config(load_from=path, **values)
    first = begin(cfg)
    if first.problems:
        raise InputError(first.problems[0])
    built = MODELS.build(cfg.model)
    load_checkpoint(built, cfg.load_from)
    return built


def by_test(path: str) -> nn.Module:
    from resnext_backbones.engine.checkpoints import checkpoint_to_test
    from resnext_backbones.engine.checks.network import check_checkpoint

    cfg = runner_config()
    check_checkpoint(checkpoint_to_test(path, "run"), cfg)
    return by_runner(path)


NETWORK_DOORS: dict[str, Door] = {
    "load_from": by_runner,
    "load_from file://": lambda path: by_runner(Path(path).absolute().as_uri()),
    "test": by_test,
}
"""Each loads a whole network, `ImageClassifier`, from a path."""

NEEDED = {
    **dict.fromkeys(("init_cfg", "pretrained"), "mmcv"),
    **dict.fromkeys(("backbone_config", "AutoBackbone"), "transformers"),
}
"""What a door's framework is imported as."""

QUICK = ("init_cfg",)
ONLY = {"from_pretrained": ["safetensors"], "AutoBackbone": ["safetensors"]}
"""The kinds of file that a door takes, where these are not all of `GOOD`."""

WHOLE_THERE = {"convert": ["half of the trunk"]}
"""Where no network is given, two stages are the whole of a trunk of two."""


@pytest.mark.parametrize("name", quick([*TRUNK_DOORS, *NETWORK_DOORS], QUICK))
def test_a_door_takes_whole_files_and_no_others(name: str, tmp_path: Path) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    door, state = TRUNK_DOORS.get(name), small().state_dict()
    if name in NETWORK_DOORS:
        pytest.importorskip("mmengine")
        classifier = small(ResNeXtClassifier, num_classes=3).state_dict()
        door, state = NETWORK_DOORS[name], {f"network.{k}": v for k, v in classifier.items()}
    wrong = {what: make for what, make in BAD.items() if what not in WHOLE_THERE.get(name, ())}
    for number, (what, make) in enumerate(wrong.items()):
        path = tmp_path / f"bad_{number}.pth"
        path.write_bytes(make(state))
        with pytest.raises(REFUSALS) as caught:
            door(str(path))
        assert path.name in str(caught.value), what
        assert not MARK.exists(), what
    for number, what in enumerate(ONLY.get(name, GOOD)):
        path = tmp_path / f"good_{number}.pth"
        path.write_bytes(GOOD[what](state))
        if (network := door(str(path))) is not None:
            own = network.state_dict()
            assert {k for k in state if not k.endswith(COUNTER)} <= own.keys()
            lost = [k for k, v in state.items() if k in own and not v.equal(own[k])]
            assert not lost, (what, lost)
