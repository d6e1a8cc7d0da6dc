"""MMDetection's settings become torchvision's, or are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resnext_backbones.errors import InputError
from resnext_backbones.export.detector_settings import mmdetection_settings

mmdet = pytest.importorskip("mmdet", reason="MMDetection is not installed")


def config(*changes: tuple[str, Any]) -> str:
    """MMDetection's own of a Mask R-CNN, as a checkpoint has it, with changes."""
    from mmengine.config import Config

    base = Path(mmdet.__file__).parent / ".mim/configs/_base_"
    cfg = Config.fromfile(base / "models/mask-rcnn_r50_fpn.py")
    cfg.test_dataloader = Config.fromfile(base / "datasets/coco_instance.py").test_dataloader
    cfg.merge_from_dict(dict(changes))
    return cfg.pretty_text


def test_mmdetections_settings_are_taken_or_refused_by_name() -> None:
    given, pixels, notes = mmdetection_settings("x", config(("model.test_cfg.rcnn.score_thr", 0.3)))
    assert pixels is not None
    assert pixels.order == "RGB"
    assert not notes
    assert given == {
        "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_test": 1000, "rpn_nms_thresh": 0.7,
        "box_score_thresh": 0.3, "box_nms_thresh": 0.5, "box_detections_per_img": 100,
        "bbox_reg_weights": (10, 10, 5, 5), "size_divisible": 32,
        "min_size": 800, "max_size": 1333,
    }  # fmt: skip
    for name, value in (
        ("model.type", "CascadeRCNN"),
        ("model.backbone.in_channels", 1),
        ("model.test_cfg.rcnn.nms.type", "soft_nms"),
        ("model.rpn_head.anchor_generator.scales", [4]),
        ("model.roi_head.mask_roi_extractor.roi_layer.sampling_ratio", 2),
        ("model.backbone.style", "caffe"),
        ("model.neck.norm_cfg", {"type": "BN"}),
        ("model.neck.conv_cfg.type", "ConvWS"),
        ("model.backbone.conv_cfg.type", "ConvWS"),
        ("model.backbone.norm_cfg.num_groups", 16),
        ("model.rpn_head.anchor_generator.base_sizes", [8, 16, 32, 64, 128]),
        ("model.test_cfg.rcnn.nms.class_agnostic", True),
        ("model.roi_head.bbox_head.bbox_coder.clip_border", False),
        ("model.roi_head.bbox_roi_extractor.roi_layer.output_size", 14),
        ("model.roi_head.mask_head.num_convs", 2),
        ("model.test_cfg.rcnn.max_per_img", -1),
    ):
        with pytest.raises(InputError, match=name):
            mmdetection_settings("x", config((name, value)))
    own = (
        ("model.backbone.type", "resnext_backbones.ResNeXt"),
        ("model.backbone.conv_cfg.type", "ConvWS"),
    )
    assert mmdetection_settings("x", config(*own))[0] == {**given, "box_score_thresh": 0.05}
    same = (
        ("model.rpn_head.anchor_generator.base_sizes", [4, 8, 16, 32, 64]),
        ("model.rpn_head.anchor_generator.strides", [(s, s) for s in (4, 8, 16, 32, 64)]),
        # As a config in pure Python has them.
        ("model.type", "mmdet.models.detectors.mask_rcnn.MaskRCNN"),
        ("model.roi_head.bbox_roi_extractor.roi_layer.type", "mmcv.ops.RoIAlign"),
    )
    assert mmdetection_settings("x", config(*same))[0] == {**given, "box_score_thresh": 0.05}
    turned = (
        ("model.data_preprocessor.bgr_to_rgb", False),
        ("model.data_preprocessor.rgb_to_bgr", True),
    )
    assert mmdetection_settings("x", config(*turned))[1] == pixels


def test_mmdetections_images_are_scaled_as_its_test_does() -> None:
    """A variable of the config may be stale: what `test_dataloader` has is in effect."""
    pipeline = "test_dataloader.dataset.pipeline"
    stale = ("test_pipeline", [{"type": "Resize", "scale": (1333, 800), "keep_ratio": True}])
    own = [{"type": "Resize", "scale": (640, 480), "keep_ratio": True}]
    wrapped = {"type": "ConcatDataset", "datasets": [{"type": "CocoDataset", "pipeline": own}]}
    for change in ((pipeline, own), ("test_dataloader.dataset", {**wrapped, "_delete_": True})):
        given, _, notes = mmdetection_settings("x", config(stale, change))
        assert (given["min_size"], given["max_size"], notes) == (480, 640, [])
    given, _, (note,) = mmdetection_settings("x", config(stale, (pipeline, [])))
    assert (given["min_size"], given["max_size"]) == (800, 1333)
    assert "--set min_size" in note
    with pytest.raises(InputError, match="pipeline of test_dataloader has FixShapeResize"):
        mmdetection_settings("x", config((pipeline, [{"type": "FixShapeResize"}])))
