"""The shipped configs, and what the command line makes of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
import yaml
from helpers import quick

pytest.importorskip("mmdet", reason="MMDetection is not installed")

import mmdet
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import nn

from resnext_backbones.engine.catalogue import INSTALLED_CONFIGS, find_config, published_results
from resnext_backbones.engine.config import for_training, naming
from resnext_backbones.engine.fit import check_weights
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import (
    _is_reader,
    given_pixels,
    load_config,
    use_of,
)
from resnext_backbones.weights import Preprocessing, preprocessing_of
from resnext_backbones.weights.sources import row_of

CONFIGS = Path(__file__).parents[3] / "configs"
ZOO = Path(mmdet.__file__).parent / ".mim" / "configs"
STRONG = "mask-rcnn_r50_fpn_rpn-2conv_4conv1fc_syncbn-all_lsj-100e_coco"
ALL = sorted(
    path.stem
    for path in CONFIGS.glob("*_coco.py")
    if not path.stem.startswith(("demo", "overfit"))  # their networks begin from random values
)
JITTERED = {
    "mask_rcnn_x50_32x4d_fpn_lsj_100e_coco": "torchvision/resnext50_32x4d.v2",
    "mask_rcnn_seresnextaa101d_32x8d_fpn_lsj_100e_coco": (
        "timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k_288"
    ),
}
NAMES = [name for name in ALL if name not in JITTERED]
MASK = "mask_rcnn_x101_32x4d_fpn_coco"
SOME = quick(
    NAMES,
    [
        MASK,
        "faster_rcnn_x101_32x8d_fpn_ms_3x_coco",
        "retinanet_x101_64x4d_fpn_coco",
        "mask_rcnn_regnetx_3.2gf_fpn_coco",
    ],
)
WEIGHTS = {
    "x50_32x4d": "open-mmlab/resnext50_32x4d",
    "x101_32x4d": "open-mmlab/resnext101_32x4d",
    "x101_64x4d": "open-mmlab/resnext101_64x4d",
    "x101_32x8d": "open-mmlab/detectron2/resnext101_32x8d",
    "seresnextaa101d_32x8d": "timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k_288",
    "gcresnext50ts": "timm/gcresnext50ts.ch_in1k",
    "regnetx_3.2gf": "open-mmlab/regnetx_3.2gf",
}
EXPECTED = {
    f"{detector}_{network}_fpn{schedule}_coco"
    for detectors, networks in (
        (("faster_rcnn", "mask_rcnn"), ("x50_32x4d", "x101_32x4d", "x101_64x4d", "x101_32x8d")),
        (("faster_rcnn", "mask_rcnn"), ("seresnextaa101d_32x8d", "gcresnext50ts")),
        (("faster_rcnn", "mask_rcnn"), ("regnetx_3.2gf",)),
        (("cascade_mask_rcnn", "retinanet"), ("x101_32x4d", "x101_64x4d")),
    )
    for detector in detectors
    for network in networks
    for schedule in ("", "_ms_3x")
    if not (schedule and not network.startswith("x101"))
}


@pytest.fixture(autouse=True, scope="module")
def _mmdet_scope() -> None:
    register_all_modules()


def test_the_configs_are_those_promised() -> None:
    assert set(ALL) == EXPECTED | JITTERED.keys()


def test_what_is_learned_by_heart_is_few_images_of_any_coco() -> None:
    cfg = load_config("overfit_coco")
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert train.indices == val.indices == 100
    assert [train[key] for key in ("ann_file", "data_prefix")] == [val.ann_file, val.data_prefix]


@pytest.mark.parametrize("name", JITTERED)
def test_large_scale_jitter_trains_all_of_the_network_as_the_strong_baselines_do(name: str) -> None:
    cfg = load_config(name)
    theirs = Config.fromfile(next(ZOO.glob(f"*/{STRONG}.py")))
    for head in (theirs.model.roi_head.bbox_head, theirs.model.roi_head.mask_head):
        assert head.norm_cfg.pop("type") == "MMSyncBN"  # which needs several processes
        head.norm_cfg.type = "SyncBN"  # PyTorch's own takes empty inputs by now
    with torch.device("meta"):
        model, peer = MODELS.build(cfg.model), MODELS.build(theirs.model)
    own = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    found = {k: v.shape for k, v in peer.state_dict().items() if not k.startswith("backbone.")}
    assert own == found
    norms = [module for module in model.modules() if "Norm" in type(module).__name__]
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert len(norms) > 50
    assert all(p.requires_grad for p in model.parameters())
    assert all(norm.training for norm in norms)
    assert model.backbone.init_cfg == {"type": "Pretrained", "checkpoint": JITTERED[name]}
    assert given_pixels(cfg.model) == preprocessing_of(JITTERED[name])
    their_data = theirs.train_dataloader.dataset
    written = Config.fromfile(find_config(name))  # the reader of images is this package's in `cfg`
    assert written.train_dataloader.dataset.pipeline == their_data.dataset.pipeline
    assert cfg.train_cfg.max_epochs == their_data.times * theirs.train_cfg.max_epochs == 100
    preprocessors = cfg.model.data_preprocessor, theirs.model.data_preprocessor
    assert preprocessors[0].batch_augments == preprocessors[1].batch_augments
    tuned = Config.fromfile(next(ZOO.glob("*/mask-rcnn_r50-rsb-pre_fpn_1x_coco.py")))
    for key in ("optimizer", "paramwise_cfg"):
        assert cfg.optim_wrapper[key] == tuned.optim_wrapper[key]
    assert cfg.auto_scale_lr == {"enable": True, "base_batch_size": 16}
    assert {hook.type for hook in cfg.custom_hooks} == {
        "resnext_backbones.CheckWeightsHook",
        "EMAHook",
    }
    assert not {"networks", "ema", "trained"} & cfg.keys()


@pytest.mark.parametrize("name", SOME)
def test_config_builds_the_network_of_its_name(name: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COCO_ROOT", str(tmp_path))
    cfg = load_config(name)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    network = re.search(r"_((?:x\d|[a-z]*resnext|regnet).*)_fpn", name)[1]
    variant = re.sub(r"^x", "resnext", network).replace("3.2gf", "032")
    assert cfg.model.backbone.variant == variant
    assert model.neck.in_channels == list(model.backbone.channels)
    assert model.backbone.frozen_stages == 1
    assert model.backbone.norm_eval
    assert model.backbone.init_cfg == {"type": "Pretrained", "checkpoint": WEIGHTS[network]}
    assert given_pixels(cfg.model) == preprocessing_of(WEIGHTS[network])
    check_weights(use_of(cfg))
    assert cfg.optim_wrapper.optimizer.lr == (0.01 if name.startswith("retinanet") else 0.02)
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert "networks" not in cfg
    epochs = 36 if "3x" in name else 12
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.auto_scale_lr == {"enable": True, "base_batch_size": 16}
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.data_root == str(tmp_path)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.ann_file == f"{tmp_path}/annotations/instances_val2017.json"
    resizes = [t.type for t in cfg.train_dataloader.dataset.pipeline if "Resize" in t.type]
    assert resizes == (["RandomResize"] if "3x" in name else ["Resize"])


def models_in(metafile: dict | list | None) -> list[dict]:
    """MMDetection writes its zoo as a mapping in some files and as a list in others."""
    return metafile.get("Models", []) if isinstance(metafile, dict) else metafile or []


def test_expected_results_are_those_of_mmdetections_zoo() -> None:
    """And so are the weights that they begin with, and the pixels."""
    zoo = {}
    for path in ZOO.glob("*/metafile.yml"):
        for model in models_in(yaml.safe_load(path.read_text())):
            zoo[model["Name"]] = str(model.get("Results"))
    quoted = [row for row in published_results() if row.config in NAMES]
    assert len(quoted) >= 15
    for row in quoted:
        name = row.config
        found = row.source.removeprefix("MMDetection's zoo, ")
        own = Config.fromfile(CONFIGS / f"{name}.py").model
        assert own.backbone.variant == row.network, name
        theirs = Config.fromfile(next(ZOO.glob(f"*/{found}.py"))).model
        for key in ("mean", "std", "bgr_to_rgb"):
            assert own.data_preprocessor[key] == theirs.data_preprocessor[key], name
        weights = (row_of(model.backbone.init_cfg.checkpoint) for model in (own, theirs))
        assert next(weights) is next(weights) is not None, name
        assert row.metrics.keys() == {"box AP", *(["mask AP"] if "mask" in name else [])}
        for kind, value in row.metrics.items():
            # The zoo's file leaves out some mask APs that its README has.
            assert kind not in zoo[found] or f"'{kind}': {value}" in zoo[found], name


def test_data_root_has_a_default(monkeypatch) -> None:
    monkeypatch.delenv("COCO_ROOT", raising=False)
    assert load_config(MASK).train_dataloader.dataset.data_root == "data/coco"


def test_configs_are_found_by_name_from_anywhere(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(MASK) == INSTALLED_CONFIGS / f"{MASK}.py"
    assert load_config(MASK).model.backbone.variant == "resnext101_32x4d"


def test_unknown_config_names_the_closest() -> None:
    with pytest.raises(InputError, match=r"mask_rcnn_x101_32x4d_fpn_coc: .*mask_rcnn_x101_32x4d"):
        find_config("mask_rcnn_x101_32x4d_fpn_coc")
    with pytest.raises(InputError, match=r"try imagenet/\w+, imagenet/\w+, imagenet/\w+$"):
        find_config("configs/imagenet/resnext50_32x4d_v2.py")


def test_a_config_with_an_error_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("model = dict(\n")
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_config(str(path))


def test_a_config_that_is_based_on_itself_and_options_without_a_value() -> None:
    with pytest.raises(InputError, match=r"^config a\.py: one that it is"), naming(Path("a.py")):
        raise RecursionError
    for option in ("train_cfg.max_epochs", "=1", "2]"):
        with pytest.raises(InputError, match=rf"^--cfg-options {option}: give each as PLACE=VALUE"):
            load_config("demo_coco", options=[option])


def test_options_reach_the_config() -> None:
    cfg = load_config(MASK, ["optim_wrapper.optimizer.lr=0.5", "train_cfg.max_epochs=1"])
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.train_cfg.max_epochs == 1


def test_training_options(tmp_path: Path, monkeypatch) -> None:
    cfg = load_config(MASK, work_dir=str(tmp_path / "run"))
    for_training(cfg, amp="fp16")
    assert cfg.optim_wrapper.type == "OptimWrapper", "no GPU: float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for_training(cfg, amp="fp16", resume="auto")
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ("AmpOptimWrapper", "dynamic")
    assert cfg.resume == "auto"  # until it is known whether there is one
    for_training(cfg, amp="bf16")  # over a config that scales its loss
    assert cfg.optim_wrapper.keys().isdisjoint({"loss_scale", "dtype"})
    assert cfg.optim_wrapper.type == "resnext_backbones.Bfloat16OptimWrapper"


def test_an_earlier_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "epoch_3.pth").touch()
    cfg = load_config(MASK, work_dir=str(tmp_path))
    with pytest.raises(InputError, match=r"--work-dir.*--resume"):
        for_training(cfg)
    for_training(cfg, resume="auto")


def test_every_name_of_the_reader_is_taken() -> None:
    from mmcv.transforms import LoadImageFromFile

    class Other(LoadImageFromFile):
        pass

    for kind in ("LoadImageFromFile", "mmcv.LoadImageFromFile", "mmdet.LoadImageFromFile"):
        assert _is_reader(kind)
    assert _is_reader(LoadImageFromFile)  # of a config in pure Python
    for kind in ("resnext_backbones.LoadImageFromFile", "my.LoadImageFromFile", Other, None):
        assert not _is_reader(kind)


def test_pixels_of_one_channel_and_of_one_mean() -> None:
    def given(channels: int, **preprocessor) -> Preprocessing | None:
        backbone = {"in_channels": channels}
        return given_pixels({"backbone": backbone, "data_preprocessor": preprocessor})

    assert given(1, mean=[110], std=[57]) == Preprocessing("grey", (110.0,), (57.0,))
    grey = Preprocessing("BGR", (110.0,) * 3, (57.0,) * 3)
    assert given(3, mean=[110], std=[57]) == grey
    with pytest.raises(InputError, match=r"model.data_preprocessor: .* or grey with one, got BGR"):
        given(3, mean=[110, 110], std=[57, 57])


def test_stock_configs_train_here_too() -> None:
    path = Path(mmdet.__file__).parent / ".mim/configs/gfl/gfl_x101-32x4d_fpn_ms-2x_coco.py"
    cfg = load_config(os.fspath(path))
    for_training(cfg)
    loads = [t.type for t in cfg.train_dataloader.dataset.pipeline if "Image" in t.type]
    assert loads == ["resnext_backbones.LoadImageFromFile"]
    assert any(
        backend["type"] == "TensorboardVisBackend" for backend in cfg.visualizer.vis_backends
    )
