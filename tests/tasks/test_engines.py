"""The config decides the engine."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.adapters.registry import MODELS
from resnext_backbones.cli import command_parser
from resnext_backbones.commands.train import run
from resnext_backbones.commands.train_detectron2 import translated
from resnext_backbones.engine.catalogue import INSTALLED_CONFIGS, config_names
from resnext_backbones.engine.config import read_config, use_cuda_graphs
from resnext_backbones.errors import InputError
from resnext_backbones.models import ResNeXt as Trunk
from resnext_backbones.tasks.engines import engine_of, task_of

DETECTRON2, MMDETECTION = "detectron2", "mmdetection"
FOLDERS = {
    "imagenet": "classification",
    "cifar": "classification",
    "detectron2": "detectron2",
    "torchvision": "torchvision",
    "": "mmdetection",
}
PRETRAINING = ("demo_crops",)


def test_shipped_configs_are_told_apart() -> None:
    own = ("torchvision/", "detectron2/", "demo_")
    names = config_names()
    names = sorted({*names[::3], *(name for name in names if name.startswith(own))})
    found = {name: engine_of(name) for name in names}
    folders = {name: name.rpartition("/")[0] for name in names}
    wanted = {name: FOLDERS[folders[name]] for name in names}
    assert found == wanted | dict.fromkeys(PRETRAINING, "classification")
    assert set(found.values()) == set(FOLDERS.values())


def test_other_kinds_of_configs(tmp_path: Path) -> None:
    assert engine_of("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml") == "detectron2"
    (tmp_path / "common.py").write_text("model = dict(type='mmdet.FasterRCNN')")
    for number, (text, engine) in enumerate(
        {
            "from detectron2 import model_zoo\nmodel = model_zoo.get_config('a').model": DETECTRON2,
            "from .common import model": DETECTRON2,
            "with read_base():\n    from .common import *\nmodel.update(depth=50)": MMDETECTION,
            "from pathlib import Path\nmodel = dict(type='mmdet.FasterRCNN')": MMDETECTION,
        }.items()
    ):
        path = tmp_path / f"config_{number}.py"
        path.write_text(text)
        assert engine_of(str(path)) == engine, text
    with pytest.raises(InputError, match="no such file, and no config of this name"):
        engine_of("mask_rcnn_x101")


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("model:\n  type: mmdet.FasterRCNN", MMDETECTION),
        ("model:\n  type: resnext_backbones.TorchvisionDetector", "torchvision"),
        ("_base_: base.yaml", "torchvision"),
        ("_BASE_: base.yaml\nMODEL:\n  WEIGHTS: a.pkl", DETECTRON2),
        ("model:\n  _target_: detectron2.modeling.GeneralizedRCNN", DETECTRON2),
        ("model: !!python/object:a.B {}", DETECTRON2),
    ],
)
def test_yaml_files_are_told_apart(text: str, engine: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model:\n  type: resnext_backbones.TorchvisionDetector")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert engine_of(str(path)) == engine


@pytest.mark.parametrize(
    "text",
    [
        "model = dict(",
        "_base_ = './absent.py'",
        "_base_ = []\nfrom .helpers import *",
        "model = 1 / 0",
    ],
)
def test_a_config_that_cannot_be_read_is_named_whatever_is_installed(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.py"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^config {path}: ") as engines:
        engine_of(str(path))
    with pytest.raises(InputError) as read:
        read_config(str(path))
    assert str(engines.value) == str(read.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("resnext_backbones.detection.hooks", "resnext_backbones.tasks.mmdetection.hooks"),
        ("resnext_backbones.pretraining.run", "resnext_backbones.tasks.classification.run"),
    ],
)
def test_a_config_of_an_earlier_version_says_what_moved(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = old.rpartition(".")[0]
    monkeypatch.setitem(sys.modules, folder, None)  # an earlier version may be installed as well
    path = tmp_path / "config.py"
    imports = f"custom_imports = dict(imports=['os', {old!r}], allow_failed_imports=False)"
    for text in (imports, f"_base_ = []\nimport {old}"):
        path.write_text(text)
        with pytest.raises(InputError, match=f"version: it imports {old}, which is {new} now"):
            read_config(str(path))
    assert find_spec(new)


def test_without_mmdetection_its_configs_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.py"
    path.write_text("_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'")
    monkeypatch.setattr("mmengine.config.config.is_installed", lambda _: False)
    assert engine_of(str(path)) == MMDETECTION


@pytest.mark.parametrize(("engine", "command"), [("classification", "train"), (DETECTRON2, "test")])
def test_other_commands_are_named(engine: str, command: str) -> None:
    with pytest.raises(InputError, match=rf"{command}: the config is .*: resnext "):
        task_of(engine, command)


@pytest.mark.parametrize("option", ["--num-gpus 8", "--machine-rank 1", "--dist-url tcp://a:1"])
def test_options_of_detectron2_are_its_alone(option: str) -> None:
    name = option.split()[0]
    args = command_parser("train").parse_args(["demo_coco", *option.split(), "--device", "cpu"])
    with pytest.raises(InputError, match=rf"^{name}: of Detectron2; start this with torchrun"):
        run(args)


YAML = "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"
LAZY = "detectron2/mask_rcnn_fpn_1x"


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (YAML, ["SOLVER.MAX_ITER", "2", "MODEL.WEIGHTS", "a=b", "SOLVER.AMP.ENABLED", "True"]),
        (LAZY, ["SOLVER.MAX_ITER=2", "MODEL.WEIGHTS=a=b", "train.amp.enabled=True"]),
    ],
)
def test_train_says_to_detectron2_what_its_own_command_would(
    config: str, settings: list[str]
) -> None:
    line = [config, "--resume", "--amp", "--num-gpus", "8", "--weights", "none"]
    line += ["--variant", "resnext50_32x4d"]
    line += ["--cfg-options", "SOLVER.MAX_ITER=2", "MODEL.WEIGHTS=a=b"]
    found = translated(command_parser("train").parse_args([*line, "--launcher", "none"]))
    assert found.overrides == settings
    path = config if config == YAML else str(INSTALLED_CONFIGS / f"{config}.py")
    taken = (found.config, found.resume, found.eval_only, found.num_gpus, found.weights)
    assert taken == (path, True, False, 8, "none")
    assert found.variant == "resnext50_32x4d"
    wanted = vars(command_parser("train-detectron2").parse_args([config]))
    assert wanted.keys() <= vars(found).keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--amp", "bf16"], "--amp bf16: Detectron2 has fp16 alone"),
        (["--resume", "a.pth"], "--resume a.pth: .*leave the name out"),
        (["--cfg-options", "a"], "--cfg-options a: use KEY=VALUE"),
    ],
)
def test_what_detectron2_does_not_know_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        translated(command_parser("train").parse_args([YAML, *arguments]))


@pytest.mark.parametrize(
    "name",
    ["mask_rcnn_x50_32x4d_fpn_coco", "torchvision/deeplabv3_x50_32x4d_voc"],
)
def test_graphs_are_for_backbones_of_this_package(name: str) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    cfg = task_of(engine_of(name), "train").load_config(name)
    use_cuda_graphs(cfg)
    if "torchvision" in name:
        cfg.model.num_classes = 21
    with torch.device("meta"):
        built = MODELS.build(cfg.model)
    assert any(isinstance(m, Trunk) and m.cuda_graphs for m in built.modules())
    cfg.model.backbone.type, cfg.model.type = "mmdet.ResNet", "mmdet.MaskRCNN"
    with pytest.raises(InputError, match="has no backbone of this package"):
        use_cuda_graphs(cfg)
