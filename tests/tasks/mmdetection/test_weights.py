"""A detector that does not fit the weights of its backbone stops before it trains."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import mmdet
import mmengine.logging
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from resnext_backbones import Architecture, ResNeXtClassifier, build_backbone
from resnext_backbones.adapters.backbone import Backbone
from resnext_backbones.adapters.registry import MODELS as OWN_MODELS
from resnext_backbones.engine.catalogue import find_config
from resnext_backbones.engine.checks.network import build_on_meta
from resnext_backbones.engine.config import OWN_BACKBONES
from resnext_backbones.engine.fit import check_weights, fetch_weights
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import load_config, use_of, use_weights
from resnext_backbones.weights import Preprocessing, WeightsError, download
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.preprocessing import BGR
from resnext_backbones.weights.registry import REGISTRY
from resnext_backbones.weights.write import convert, write_state

MASK = "mask_rcnn_x101_32x4d_fpn_coco"
MMDET_CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"


def config(checkpoint: str | Path | None, **backbone) -> Config:
    cfg = load_config(MASK)
    cfg.model.backbone.update(backbone)
    init_cfg = {"type": "Pretrained", "checkpoint": str(checkpoint)}
    cfg.model.backbone.init_cfg = None if checkpoint is None else init_cfg
    return cfg


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(build_backbone("resnext26_32x4d").state_dict(), path)
    return path


@pytest.mark.parametrize(
    "source", ["open-mmlab/resnext101_32x4d", "open-mmlab://resnext101_32x4d", "timm/{}.gluon_in1k"]
)
def test_fitting_weights_are_taken(source: str) -> None:
    check_weights(use_of(config(source.format("resnext101_32x4d"))))


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("detectron2/X-101-32x8d", "BGR, mean (103.53, 116.28, 123.675), std (57.375"),
        ("open-mmlab://detectron2/resnext101_32x8d", "BGR"),
        ("caffe2/X-101-64x4d", "std (1.0, 1.0, 1.0)"),
    ],
)
def test_other_pixels_are_shown_beside_those_given(source: str, wanted: str) -> None:
    with pytest.raises(InputError) as caught:
        check_weights(use_of(config(source)))
    message = str(caught.value)
    assert wanted in message
    assert "data_preprocessor gives RGB, mean (123.675, 116.28, 103.53)" in message
    assert "--allow-mismatch" in message


def test_other_pixels_are_refused_by_every_backbone_of_this_package() -> None:
    kinds = {name: kind for name, kind in OWN_MODELS.module_dict.items() if "." not in name}
    own = {name for name, kind in kinds.items() if issubclass(kind, Backbone)}
    assert {f"resnext_backbones.{name}" for name in own} == set(OWN_BACKBONES)
    for kind in OWN_BACKBONES:
        with pytest.raises(InputError, match="BGR"):
            check_weights(use_of(config("detectron2/X-101-32x8d", type=kind)))


def test_a_mismatch_may_be_a_warning(monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(mmengine.logging, "print_log", lambda message, **_: said.append(message))
    check_weights(use_of(config("detectron2/X-101-32x8d")), allow_mismatch=True)
    check_weights(use_of(config(None)), allow_mismatch=True)
    assert [sum(words in text for text in said) for words in ("BGR", "random values")] == [1, 1]


def test_the_same_order_by_another_mean_is_a_mismatch(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    convert(file, path, "safetensors", preprocessing=BGR)
    with pytest.raises(InputError, match="BGR"):
        check_weights(use_of(config(path)))
    cfg = config(None)
    use_weights(cfg, str(path))
    check_weights(use_of(cfg))
    pixels = cfg.model.data_preprocessor
    assert (pixels.mean, pixels.std) == (list(BGR.mean), list(BGR.std))
    assert pixels.bgr_to_rgb is False


def test_weights_bring_their_pixels() -> None:
    cfg = config(None)
    use_weights(cfg, "caffe2/X-101-64x4d")
    assert cfg.model.data_preprocessor.std == [1, 1, 1]
    use_weights(cfg, "torchvision/resnext101_64x4d.v1")
    assert cfg.model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert cfg.model.data_preprocessor.bgr_to_rgb is True
    check_weights(use_of(cfg))


def test_weights_of_unknown_pixels_leave_the_config_as_it_is(file: Path) -> None:
    cfg = config(None)
    before = dict(cfg.model.data_preprocessor)
    use_weights(cfg, str(file))
    assert cfg.model.data_preprocessor == before
    check_weights(use_of(cfg))


def test_frozen_stages_need_weights() -> None:
    with pytest.raises(InputError, match=r"frozen_stages=1.*random values; .* --weights none, wh"):
        check_weights(use_of(config(None)))
    check_weights(use_of(config(None, frozen_stages=-1)))


@pytest.mark.parametrize("name", ["faster_rcnn_x101_32x8d_fpn_coco", "demo_shapes"])
def test_without_weights_all_of_the_backbone_learns(name: str) -> None:
    cfg = load_config(name)
    pixels = dict(cfg.model.data_preprocessor)
    said = use_weights(cfg, "none")
    check_weights(use_of(cfg))
    fetch_weights(use_of(cfg))
    assert cfg.model.data_preprocessor == pixels
    backbone = build_on_meta(cfg).train().backbone
    assert backbone.init_cfg is None
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    norms = [module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.training for norm in norms)
    changed = "frozen_stages 1 -> -1, norm_eval True -> False, norm_cfg.requires_grad False -> True"
    assert said == f"--weights none: {changed if '32x8d' in name else 'as the config has it'}"


def test_other_backbones_learn_too() -> None:
    cfg = load_config(str(MMDET_CONFIGS / "faster_rcnn" / "faster-rcnn_r50_fpn_1x_coco.py"))
    use_weights(cfg, "none")
    backbone = build_on_meta(cfg).train().backbone
    assert not any(cfg["type"] == "Pretrained" for cfg in backbone.init_cfg)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert backbone.bn1.training


def test_offline_the_message_says_all_that_can_be_done(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "TRIES", 1)
    row = REGISTRY["open-mmlab/resnext101_32x4d"]
    away = ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b")  # nothing listens there
    source = replace(row.source, addresses=tuple(f"{base}/{{file}}" for base in away))
    monkeypatch.setitem(REGISTRY, row.alias, replace(row, source=source))
    with pytest.raises(WeightsError) as caught:
        fetch_weights(use_of(load_config(MASK)))
    message = str(caught.value)
    for part in (
        *(f"{base}/resnext101_32x4d-a5af3160.pth" for base in away),
        f"put it at {tmp_path}/hub/checkpoints/resnext101_32x4d-a5af3160.pth",
    ):
        assert part in message
    assert message.endswith(", or name it where it lies: --weights FILE")
    assert message.count("put it at") == 1


def test_mmengines_runner_refuses_other_pixels(
    file: Path, shapes_root: Path, tmp_path: Path, monkeypatch
) -> None:
    """As a config goes through MMDetection's own tool: nothing of this package has seen it."""
    monkeypatch.setenv("COCO_ROOT", str(shapes_root))
    convert(file, tmp_path / "w.safetensors", "safetensors", preprocessing=BGR)
    cfg = Config.fromfile(find_config("demo_shapes"))
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "w.safetensors")}
    cfg.model.backbone.init_cfg = init_cfg
    cfg.work_dir = str(tmp_path / "run")
    with pytest.raises(
        InputError, match=r"of BGR.*gives RGB.*allow_mismatch=True of CheckWeightsH"
    ):
        Runner.from_cfg(cfg).train()


def test_a_run_that_goes_on_has_its_weights() -> None:
    cfg = config(None)
    cfg.load_from = "whole_detector.pth"
    check_weights(use_of(cfg))


def test_fused_norms_must_stay_in_eval_mode(tmp_path: Path) -> None:
    state = build_backbone("resnext26_32x4d").state_dict()
    names = {key: FORMATS["caffe2"].from_own(key) for key in state if "running" not in key}
    blobs = {name: state[key].numpy() for key, name in names.items() if name}
    path = tmp_path / "fused.pkl"
    path.write_bytes(pickle.dumps(blobs, 2))
    check_weights(use_of(config(path)))
    with pytest.raises(InputError, match=r"fused norms.*norm_eval=True"):
        check_weights(use_of(config(path, norm_eval=False)))


def test_what_is_not_there_is_named() -> None:
    cfg = config(None)
    with pytest.raises(InputError, match=r"weights absent.pth: there is no such file"):
        use_weights(cfg, "absent.pth")
    with pytest.raises(WeightsError, match=r"no such alias; try open-mmlab/resnext101_32x4d"):
        use_weights(cfg, "open-mmlab/resnext101_32x5d")


def test_a_published_cifar_trunk_goes_into_a_detector(tmp_path: Path) -> None:
    network = Architecture(blocks=(3, 3, 3), cardinality=8, base_channels=16, stem="3x3")
    classifier = ResNeXtClassifier(network, num_classes=10)
    path = tmp_path / "published.safetensors"
    pixels = Preprocessing("RGB", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    write_state(classifier.state_dict(), path, "safetensors", pixels.to_metadata())
    cfg = load_config("demo_shapes_resnext29")
    use_weights(cfg, str(path))
    check_weights(use_of(cfg))
    assert cfg.model.data_preprocessor.mean == list(pixels.mean)
    model = MODELS.build(cfg.model)
    model.backbone.init_weights()
    own = model.backbone.state_dict()
    assert all(torch.equal(v, classifier.state_dict()[k]) for k, v in own.items())
    images = torch.randn(1, 3, 128, 128)
    assert [m.shape[-1] for m in model.neck(model.backbone(images))] == [64, 32, 16, 8]
