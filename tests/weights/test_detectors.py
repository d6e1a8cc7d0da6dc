"""Which files hold whole detectors, and which are refused with the reason."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detector_files import Files, same_bits, tensors_in, write
from detector_peers import tiny

from resnext_backbones.errors import InputError
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.detector_names import LAYOUTS
from resnext_backbones.weights.detector_settings import _name_of
from resnext_backbones.weights.preprocessing import BGR, RGB, Preprocessing
from resnext_backbones.weights.write_detectors import convert_detector

HEADS = ("fpn.output4.bias", "rpn.deltas.weight", "box.logits.bias", "mask.conv3.weight")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("own", HEADS)
@pytest.mark.parametrize("what", ["missing", "of another shape", "with NaN", "unexpected"])
def test_heads_are_whole_or_nothing_is_written(
    layout: str, own: str, what: str, files: Files, tmp_path: Path
) -> None:
    state, name = tensors_in(files(layout)), LAYOUTS[layout].heads.from_own(own)
    assert name is not None
    if what == "missing":
        del state[name]
    elif what == "of another shape":
        state[name] = state[name][1:]
    elif what == "with NaN":
        state[name] = torch.full_like(state[name], torch.nan)
    else:
        name = f"{name.rsplit('.', 2)[0]}.spare.weight"
        state[name] = torch.zeros(3)
    path = write(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"Nothing was written.\n +1 {what}.*{re.escape(name)}"):
        convert_detector(path, tmp_path / "out.pth", "mmdet", pixels=RGB)
    assert list(tmp_path.iterdir()) == [path]


REFUSED = [
    ("mmdet", "bbox_head.retina_cls.weight", "a RetinaNet, of which Detectron2 and torchvision"),
    ("detectron2", "head.cls_subnet.0.weight", "have a ReLU before P7 and MMDetection has none"),
    ("torchvision", "head.regression_head.bbox_ctrness.weight", "levels by convolutions"),
    ("torchvision", "head.regression_head.conv.0.weight", "is a RetinaNet"),
    ("mmdet", "roi_head.bbox_head.0.fc_cls.weight", "averages the logits of its stages"),
    ("detectron2", "roi_heads.box_predictor.2.cls_score.weight", "Cascade R-CNN"),
    ("detectron2", "roi_heads.keypoint_head.conv_fcn1.weight", "finds keypoints"),
    ("torchvision", "roi_heads.keypoint_head.0.weight", "finds keypoints"),
    ("mmdet", "neck.lateral_convs.0.bn.weight", "has norms"),
    ("detectron2", "backbone.fpn_lateral2.norm.weight", "have norms"),
    ("torchvision", "backbone.fpn.inner_blocks.0.1.weight", "have norms"),
    ("mmdet", "roi_head.mask_head.convs.0.gn.weight", "have norms"),
    ("mmdet", "neck.fpn_convs.4.conv.weight", "levels by convolutions"),
    ("detectron2", "backbone.top_block.p6.weight", "levels by convolutions"),
    ("torchvision", "roi_heads.box_head.0.0.weight", "box head has convolutions"),
    ("detectron2", "roi_heads.box_head.conv1.weight", "box head has convolutions"),
    ("mmdet", "roi_head.bbox_head.shared_convs.0.conv.weight", "box head has convolutions"),
]


@pytest.mark.parametrize(("layout", "name", "why"), REFUSED)
def test_other_detectors_are_refused_with_the_reason(
    layout: str, name: str, why: str, files: Files, tmp_path: Path
) -> None:
    path = write(tensors_in(files(layout)) | {name: torch.zeros(1)}, tmp_path / "w.pth")
    why = why.replace("has norms", "have norms")
    with pytest.raises(WeightsError, match=f"{why}.*Nothing was written"):
        convert_detector(path, tmp_path / "out.pth", "mmdet", pixels=RGB)


@pytest.mark.parametrize("shape", [(), (0,), (1, 64), (0, 64)])
@pytest.mark.parametrize("name", ["fc_cls", "fc_reg"])
def test_shapes_that_are_none(
    name: str, shape: tuple[int, ...], files: Files, tmp_path: Path
) -> None:
    changed = {f"roi_head.bbox_head.{name}.weight": torch.zeros(shape)}
    path = write(tensors_in(files("mmdet")) | changed, tmp_path / "w")
    with pytest.raises(WeightsError, match="Nothing was written"):
        convert_detector(path, tmp_path / "o", "torchvision", pixels=RGB)


@pytest.mark.parametrize(("name", "what"), [("fc_reg", "boxes"), ("conv_logits", "masks")])
def test_heads_that_do_not_tell_classes_apart(
    name: str, what: str, files: Files, tmp_path: Path
) -> None:
    state = tensors_in(files("mmdet"))
    rows = 4 if what == "boxes" else 1
    state = {key: value[:rows] if f".{name}." in key else value for key, value in state.items()}
    with pytest.raises(WeightsError, match=f"its {what} are class-agnostic"):
        convert_detector(write(state, tmp_path / "w"), tmp_path / "o", "detectron2", pixels=RGB)


ANCHORS = "scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]"
STDS = "target_stds=[0.1, 0.1, 0.2, 0.2]"
CODED = ")), roi_head=dict(bbox_head=dict(bbox_coder=dict(type='DeltaXYWHBBoxCoder'"
POOLED = ")), roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(aligned=False)"


@pytest.mark.parametrize(
    ("anchors", "why"),
    [
        (ANCHORS, ""),
        (ANCHORS.replace("4,", "(4, 4),") + ", base_sizes=[4, 8, 16, 32, 64]", ""),
        (ANCHORS.replace("scales=[8]", "octave_base_scale=8, scales_per_octave=1"), ""),
        (f"{ANCHORS}, type='mmdet.models.task_modules.AnchorGenerator'", ""),  # in pure Python
        (ANCHORS.replace("[8]", "[4]"), r"scales=\[4\]"),
        (f"{ANCHORS}, type='resnext_backbones.RoundedAnchorGenerator'", "type=resnext_backbones"),
        (f"{ANCHORS}, center_offset=0.5", "center_offset=0.5"),
        (f"{ANCHORS}{POOLED}", "bbox_roi_extractor.roi_layer.aligned=False"),
        (f"{ANCHORS}{CODED}, target_means=[0.0, 0, 0, 0], {STDS})", ""),
        (f"{ANCHORS}{CODED})", r"bbox_coder.target_stds=\[1"),  # as the coder has them itself
        (f"{ANCHORS}{CODED}, target_stds=[1, 1, 1, 1])", r"bbox_coder.target_stds=\[1, 1, 1, 1\]"),
        (f"{ANCHORS}{CODED}, {STDS}), reg_decoded_bbox=True", ""),  # which training alone reads
    ],
)
def test_what_a_config_of_mmdetection_says_counts(
    anchors: str, why: str, files: Files, tmp_path: Path
) -> None:
    pixels = f"mean={list(BGR.mean)}, std={list(BGR.std)}, bgr_to_rgb=False"
    cfg = f"model = dict(data_preprocessor=dict({pixels}), rpn_head=dict("
    cfg += f"anchor_generator=dict({anchors})))"
    content = {"meta": {"cfg": cfg}, "state_dict": tensors_in(files("mmdet"))}
    path, out = write(content, tmp_path / "w.pth"), tmp_path / "o.pkl"
    if why:
        with pytest.raises(WeightsError, match=f"{why}.* is not the default"):
            convert_detector(path, out, "detectron2")
    else:
        with pytest.raises(InputError, match=r"--pixels RGB, .*w\.pth says BGR, mean"):
            convert_detector(path, out, "detectron2", pixels=RGB)
        assert not out.exists()
        assert convert_detector(path, out, "detectron2").pixels == BGR
    assert out.exists() == (not why)


def test_the_style_of_a_config_of_mmdetection_is_the_trunks(files: Files, tmp_path: Path) -> None:
    cfg = "model = dict(backbone=dict(type='ResNet', style='caffe'))"
    path = write({"meta": {"cfg": cfg}, "state_dict": tensors_in(files("mmdet"))}, tmp_path / "w")
    assert (
        "STRIDE_IN_1X1 True"
        in convert_detector(path, tmp_path / "o.pth", "detectron2", pixels=BGR).settings
    )
    again = convert_detector(tmp_path / "o.pth", tmp_path / "p.pth", "mmdet")
    assert "style='caffe'" in again.settings


@pytest.mark.parametrize(
    ("channels", "order", "means"), [(3, "BGR", 1), (3, "BGR", 3), (1, "grey", 1)]
)
def test_one_mean_in_a_config_of_mmdetection_is_of_all_channels(
    channels: int, order: str, means: int, files: Files, tmp_path: Path
) -> None:
    preprocessor = f"data_preprocessor=dict(mean={[110] * means}, std=[57])"
    cfg = f"model = dict({preprocessor}, backbone=dict(in_channels={channels}))"
    state, first = tensors_in(files("mmdet")), "backbone.conv1.weight"
    state[first] = state[first][:, :channels]
    path = write({"meta": {"cfg": cfg}, "state_dict": state}, tmp_path / "w.pth")
    wanted = Preprocessing(order, (110.0,) * channels, (57.0,) * channels)
    assert convert_detector(path, tmp_path / "o.pkl", "detectron2").pixels == wanted


def test_what_a_run_with_torchvisions_detector_says_counts(files: Files, tmp_path: Path) -> None:
    pixels = f"mean={list(RGB.mean)}, std={list(RGB.std)}"
    cfg = f"model = dict(data_preprocessor=dict({pixels}), aligned=True)"
    held = {f"network.{key}": value for key, value in tensors_in(files("torchvision")).items()}
    path = write({"meta": {"cfg": cfg}, "state_dict": held}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"--pixels BGR, .*w\.pth says RGB, mean"):
        convert_detector(path, tmp_path / "o.pkl", "detectron2", pixels=BGR)
    done = convert_detector(path, tmp_path / "o.pkl", "detectron2")
    assert done.pixels == RGB
    assert "POOLER_TYPE ROIAlignV2" in done.settings
    assert "RoundedAnchorGenerator" not in done.settings


def test_pixels_that_a_checkpoint_of_detectron2s_engine_says_count(
    files: Files, tmp_path: Path
) -> None:
    content = {"model": tensors_in(files("detectron2")), "preprocessing": BGR.to_metadata()}
    path = write(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"--pixels RGB, .*w\.pth says BGR, mean"):
        convert_detector(path, tmp_path / "o.pth", "mmdet", pixels=RGB)
    assert convert_detector(path, tmp_path / "o.pth", "mmdet").pixels == BGR


def test_trunks_without_heads_and_what_targets_lack(tmp_path: Path) -> None:
    state = tiny(3).content()
    trunk = {k: v for k, v in state.items() if k.startswith("backbone.body.")}
    path = write(trunk, tmp_path / "w")
    with pytest.raises(WeightsError, match="a trunk without heads"):
        convert_detector(path, tmp_path / "o", "mmdet", pixels=RGB)
    heads = {k: v for k, v in state.items() if k not in trunk}
    with pytest.raises(WeightsError, match="no detector"):
        convert_detector(write(heads, path), tmp_path / "o", "mmdet", pixels=RGB)
    cut = {k: v for k, v in state.items() if not k.endswith("layer2.0.conv1.weight")}
    with pytest.raises(WeightsError, match=r"1 missing: layer2\.0\.conv1\.weight"):
        convert_detector(write(cut, path), tmp_path / "o", "mmdet", pixels=RGB)
    offset = {"backbone.body.layer4.0.conv2.conv_offset.weight": torch.zeros(18, 128, 3, 3)}
    context = {"backbone.body.layer4.0.context_block1.conv_mask.weight": torch.zeros(1, 512, 1, 1)}
    for added, to in ((offset, "torchvision"), (context, "torchvision"), (context, "detectron2")):
        path = write(state | added, path)
        with pytest.raises(WeightsError, match=f"has no place for {next(iter(added))[14:]}"):
            convert_detector(path, tmp_path / "o", to, pixels=RGB)
    convert_detector(write(state | offset, path), tmp_path / "o.pkl", "detectron2", pixels=RGB)
    name = "backbone.bottom_up.res5.0.conv2_offset.weight"
    assert tensors_in(tmp_path / "o.pkl")[name].equal(*offset.values())
    # A part that Detectron2 has no names for has this package's, as its adapter's state dict.
    path = write(tiny(3, stem="deep").content(), path)
    convert_detector(path, tmp_path / "deep.pkl", "detectron2", pixels=RGB)
    assert "backbone.bottom_up.trunk.stem.0.weight" in tensors_in(tmp_path / "deep.pkl")
    convert_detector(tmp_path / "deep.pkl", tmp_path / "deep.pth", "torchvision")
    same_bits(tensors_in(tmp_path / "deep.pth"), tensors_in(path))


def test_settings_name_no_variant_that_is_another_network() -> None:
    """Broken where what no tensor shows is not looked at."""
    row = VARIANTS["resnext50_32x4d"]
    assert _name_of(replace(row, in_channels=4)) == "resnext50_32x4d"
    assert _name_of(VARIANTS["legacy_seresnext50_32x4d"]) == "legacy_seresnext50_32x4d"
    assert _name_of(replace(row, activation="SiLU")) is None
    assert _name_of(replace(row, pooling="ceil")) is None
