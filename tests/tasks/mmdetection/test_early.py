"""What is wrong with a detector, its metrics or its images is named before it is built."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmdet", reason="MMDetection is not installed")

import mmdet
import torch
from mmengine.config import Config

from resnext_backbones.data.aspect import check_aspect
from resnext_backbones.engine.checks.table import check_run
from resnext_backbones.engine.memory import training_options
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import load_config
from resnext_backbones.tasks.mmdetection.parts import check_model, feature_channels
from resnext_backbones.tasks.mmdetection.run import TASK
from resnext_backbones.tasks.mmdetection.sizes import largest_sizes, resized_to

ZOO = Path(mmdet.__file__).parent / ".mim" / "configs"


@pytest.fixture(scope="module")
def read() -> Config:
    return load_config("demo_coco")


@pytest.fixture
def cfg(read: Config, tmp_path: Path) -> Config:
    found = copy.deepcopy(read)
    found.work_dir = str(tmp_path / "run")
    return found


def change(cfg: Config, place: str, value: Any) -> None:
    *parents, last = place.split(".")
    node = cfg
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    node[last] = value


SETTINGS: dict[str, tuple[Any, str]] = {
    "default_hooks.checkpoint.save_best": ("bbox_mAP", "save_best bbox_mAP: .*coco/bbox_mAP"),
    "custom_hooks": (
        [{"type": "EarlyStoppingHook", "monitor": "coco/mask_mAP"}],
        "custom_hooks.0.monitor coco/mask_mAP: .*coco/segm_mAP",
    ),
    "val_evaluator.metrics": (["bbox"], "val_evaluator.metrics: CocoMetric .*metric"),
    "train_dataloader.dataset.metainfo": ({"CLASSES": ("a",)}, "metainfo.CLASSES: .*classes"),
    "train_dataloader.dataset.filter_cfgs": ({}, "dataset.filter_cfgs: CocoDataset.*filter_cfg"),
    "train_dataloader.dataset.pipeline.2.keep_ration": (True, "keep_ration: Resize .*keep_ratio"),
    "visualizer.vis_backends": ([{"type": "DVCLiveVisBackend"}], "pip install dvclive"),
    "model.backbone.init_cfg": ({"type": "Pretrained"}, "PretrainedInit needs checkpoint"),
    "model.neck.init_cfg": ({"type": "Xaviar"}, "neck.init_cfg.type Xaviar: .*Xavier"),
    "model.neck.norm_cfg": ({"type": "BatchNorm"}, "neck.norm_cfg.type BatchNorm: .*try"),
    "model.roi_head.mask_head.conv_cfg": ({"type": "Conv2D"}, "conv_cfg.type Conv2D: .*Conv2d"),
}
MODELS: dict[str, tuple[Any, str]] = {
    "model.backbone.out_indices": ((1, 2, 3), r"neck.in_channels=\[512,1024,2048\]"),
    "model.neck.in_channels": ([64, 128, 256, 512], r"in_channels=\[256,512,1024,2048\]"),
    "model.neck.out_channels": (128, "rpn_head.in_channels 64: .*=128"),
    "model.rpn_head.in_channels": (256, "rpn_head.in_channels 256: .*=64"),
    "model.roi_head.bbox_roi_extractor.out_channels": (256, "bbox_roi_extractor.out_channels 256"),
    "model.roi_head.mask_head.in_channels": (256, "mask_head.in_channels 256"),
    "model.rpn_head.anchor_generator.strides": (
        [4, 8, 16],
        r"anchor_generator.strides \[4, 8, 16\]: the neck gives 5 feature maps",
    ),
    "model.neck.num_outs": (4, "anchor_generator.strides .*: the neck gives 4 feature maps"),
    "model.roi_head.bbox_roi_extractor.featmap_strides": (
        [4, 8, 16, 32, 64, 128],
        "featmap_strides .*: the neck gives 5 feature maps",
    ),
    "model.backbone.variant": ("resnext50", "model.backbone: .*resnext50"),
}


@pytest.mark.parametrize("place", SETTINGS)
def test_a_setting_that_is_wrong(cfg: Config, place: str) -> None:
    value, words = SETTINGS[place]
    change(cfg, place, value)
    with pytest.raises(InputError, match=f"(?s){words}"):
        check_run(cfg, "train")


def test_two_of_a_name(cfg: Config) -> None:
    change(
        cfg, "visualizer.vis_backends", [{"type": "LocalVisBackend"}, {"type": "LocalVisBackend"}]
    )
    with pytest.raises(InputError, match="vis_backends: LocalVisBackend is named twice"):
        check_run(cfg, "train")
    cfg.visualizer.vis_backends[1].name = "another"
    check_run(cfg, "train")


@pytest.mark.parametrize("place", MODELS)
def test_parts_that_do_not_fit(cfg: Config, place: str) -> None:
    value, words = MODELS[place]
    change(cfg, place, value)
    with pytest.raises(InputError, match=f"(?s){words}"):
        check_model(cfg)


@pytest.mark.parametrize("name", ["coco/bbox_mAP", "coco/segm_mAP_50", "auto", ["coco/bbox_mAP_s"]])
def test_metrics_that_are_measured(cfg: Config, name: str) -> None:
    cfg.default_hooks.checkpoint.save_best = name
    check_run(cfg, "train")
    cfg.val_evaluator.classwise = True
    cfg.default_hooks.checkpoint.save_best = "coco/person_precision"
    check_run(cfg, "train")


STOCK = (
    "atss/atss_r50_fpn_1x_coco", "cascade_rcnn/cascade-rcnn_x101-32x4d_fpn_1x_coco",
    "centernet/centernet_r18_8xb16-crop512-140e_coco",
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco",
    "faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco", "faster_rcnn/faster-rcnn_r50_fpn_ms-3x_coco",
    "htc/htc_r50_fpn_1x_coco", "libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco",
    "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco", "rtmdet/rtmdet_s_8xb32-300e_coco",
    "solo/solo_r50_fpn_1x_coco", "ssd/ssd300_coco", "yolo/yolov3_d53_8xb8-320-273e_coco",
    "yolox/yolox_s_8xb8-300e_coco",
)  # fmt: skip


@pytest.mark.whole
@pytest.mark.parametrize("name", STOCK)
def test_stock_configs_are_right(name: str, tmp_path: Path) -> None:
    cfg = load_config(str(ZOO / f"{name}.py"), work_dir=str(tmp_path))
    check_run(cfg, "train")
    check_run(cfg, "test")
    check_model(cfg)


def test_channels_are_those_of_the_feature_maps() -> None:
    """Darknet has an attribute of that name, which means something else."""
    assert feature_channels({"type": "mmdet.Darknet", "depth": 53}) == (256, 512, 1024)


def test_what_takes_less_memory_is_mmdetections(cfg: Config) -> None:
    cfg.model.backbone.frozen_stages = 1
    lines = list(training_options(cfg))
    assert lines[0].startswith("--cfg-options model.backbone.with_cp=True")
    assert any("model.backbone.frozen_stages=2" in line for line in lines)
    cfg.model.backbone.with_cp = True
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    assert not any("with_cp" in line or "--amp" in line for line in training_options(cfg))


def test_an_inherited_depth_says_how_to_unset_it() -> None:
    from mmengine.registry import MODELS as REGISTRY

    own = {"type": "resnext_backbones.ResNeXt", "variant": "resnext101_32x4d"}
    for inherited in ({"depth": 50}, {"depth": 101, "groups": 64, "base_width": 4}, {"groups": 8}):
        with pytest.raises(ValueError, match="_delete_=True"), torch.device("meta"):
            REGISTRY.build({**own, **inherited})


SIZES = [
    ([{"type": "Resize", "scale": (1333, 800), "keep_ratio": True}], [(1333, 800)]),
    ([{"type": "Resize", "scale": (64, 64)}], []),
    ([{"type": "mmdet.RandomChoiceResize", "scales": [(64, 32), (96, 96)]}], [(64, 32), (96, 96)]),
    (
        [{"type": "X", "transforms": [[{"type": "RandomResize", "scale": [(64, 32), (8, 8)]}]]}],
        [(64, 32), (8, 8)],
    ),
]


@pytest.mark.parametrize(("pipeline", "sizes"), SIZES)
def test_sizes_of_a_pipeline(pipeline: list[Any], sizes: list[Any]) -> None:
    assert list(resized_to(pipeline)) == sizes


@pytest.mark.parametrize(
    ("step", "sizes"),
    [
        ({"type": "Resize", "scale": 64, "keep_ratio": True}, [(64, 64)]),
        ({"type": "Resize", "scale": (1e9, 64), "keep_ratio": True}, [(1 << 24, 64)]),
        ({"type": "RandomChoiceResize", "scales": [64, (32, 16)]}, [(64, 64), (32, 16)]),
    ],
)
def test_sizes_as_people_write_them(step: dict[str, Any], sizes: list[tuple[int, int]]) -> None:
    assert list(resized_to([step])) == sizes


WIDE = {"type": "RandomChoiceResize", "scales": [(400, 4200), (600, 4200)], "keep_ratio": True}
CROP = {"type": "RandomCrop", "crop_type": "absolute_range", "crop_size": (384, 600)}
LAST = {"type": "RandomChoiceResize", "scales": [(480, 1333), (800, 1333)], "keep_ratio": True}
JITTER = {"type": "RandomResize", "scale": (640, 480), "ratio_range": (0.5, 2.0)}


@pytest.mark.parametrize(
    ("pipeline", "sizes"),
    [
        ([{"type": "RandomChoice", "transforms": [[LAST], [WIDE, CROP, LAST]]}],
         [(480, 1333), (800, 1333)] * 2),
        ([WIDE, CROP], [(384, 600), (384, 600)]),
        ([JITTER], [(1280, 960)]),
        ([{**JITTER, "scale": [(64, 48), (32, 24)]}], [(64, 48), (32, 24)]),
        ([LAST, {"type": "RandomApply", "transforms": [CROP]}],
         [(480, 1333), (800, 1333), (384, 600), (384, 600)]),
        ([JITTER, {"type": "mmdet.RandomCrop", "crop_size": (640, 640)}], [(640, 640)]),
        ([{"type": "Resize", "scale": (64, 64)}], [(64, 64)]),
        ([CROP], []),
    ],
)  # fmt: skip
def test_the_largest_sizes_that_images_have_in_the_end(
    pipeline: list[Any], sizes: list[Any]
) -> None:
    assert largest_sizes(pipeline) == sizes


@pytest.mark.parametrize("keep_ratio", [True, False])
@pytest.mark.parametrize("scale", [(0, 0), 0, "large", (64,), (), [(64, 64), (64, -1)], None])
def test_what_is_no_size_is_named(scale: Any, keep_ratio: bool) -> None:
    step = {"type": "mmdet.Resize", "scale": scale, "keep_ratio": keep_ratio}
    if scale is None:  # it has a factor in its place
        assert not list(resized_to([step]))
        return
    with pytest.raises(InputError, match=r"^Resize\(scale=.*\): sizes are width and height"):
        list(resized_to([step]))


def test_images_that_would_vanish() -> None:
    """mmcv rounds to the nearest pixel, so half a one is one."""
    from mmcv.image import rescale_size

    for width, height in ((4000, 8), (8, 4000), (4000, 16), (2560, 10), (100, 1), (128, 1)):
        named = [{"width": width, "height": height, "file_name": "ribbon.jpg"}]
        if min(rescale_size((width, height), (128, 128))) < 1:
            with pytest.raises(InputError, match=rf"ribbon.jpg \({width} x {height}\)"):
                check_aspect(Path("a.json"), named, [(128, 128)])
        else:
            check_aspect(Path("a.json"), named, [(128, 128)])


@pytest.mark.parametrize("out", ["m.pkl", "m.txt", "."])
def test_metrics_have_a_place_before_anything_is_read(cfg: Config, out: str) -> None:
    with pytest.raises(InputError, match="--out"):
        TASK.evaluate(cfg, "none.pth", out=Path(out))
    with pytest.raises(InputError, match="--show-dir"):
        TASK.evaluate(cfg, "none.pth", show_dir=Path(__file__))
