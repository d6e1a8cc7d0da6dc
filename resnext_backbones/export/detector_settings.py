"""MMDetection's settings of a Faster or Mask R-CNN are torchvision's arguments, or are refused.

What a config does not say is as `_base_/models/mask-rcnn_r50_fpn.py` and MMDetection's classes have
it by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resnext_backbones.errors import InputError
from resnext_backbones.weights.configs import pixels_in, read_section, value_at
from resnext_backbones.weights.detector_defaults import (
    DEFAULTS,
    GENERATOR,
    Allowed,
    in_default_words,
)
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.sources import said_in

EXPORTED = (
    "exported whole are torchvision's Faster and Mask R-CNN with FPN (not their V2, with another "
    "box head) and RetinaNet, and MMDetection's and Detectron2's Faster and Mask R-CNN with FPN; "
    "of all others the trunk is, without --detector"
)

RESCALED = (1333, 800)
"""MMDetection's pipelines of COCO have these for the longer and the shorter side."""

TWO_STAGES, ONE_STAGE = ("faster_rcnn", "mask_rcnn"), ("retinanet",)

PLAIN = ("Conv2d", "Conv", None)
"""MMDetection's words for convolutions whose weights are what they convolve with."""


FIXED: Allowed = {
    **DEFAULTS,
    "type": ("MaskRCNN", "FasterRCNN"),
    "data_preprocessor.pad_value": (0, None),
    "backbone.in_channels": (3, None),
    "backbone.style": ("pytorch", None),
    "backbone.norm_cfg.eps": (1e-5, None),
    "backbone.strides": ([1, 2, 2, 2], None),
    "backbone.dilations": ([1, 1, 1, 1], None),
    "backbone.out_indices": ([0, 1, 2, 3], None),
    "neck.type": ("FPN",),
    "neck.num_outs": (5,),
    "neck.start_level": (0, None),
    "neck.add_extra_convs": (False, None),
    "neck.conv_cfg.type": PLAIN,
    "neck.norm_cfg": (None,),
    "neck.act_cfg": (None,),
    "neck.upsample_cfg": (None, {"mode": "nearest"}),
    "rpn_head.type": ("RPNHead",),
    "rpn_head.num_convs": (1, None),
    "rpn_head.loss_cls.use_sigmoid": (True,),
    **{f"rpn_head.anchor_generator.{name}": (said,) for name, said in GENERATOR.items()},
    "roi_head.type": ("StandardRoIHead",),
    "roi_head.shared_head": (None,),
    "roi_head.bbox_roi_extractor.roi_layer.output_size": (7,),
    "roi_head.bbox_head.type": ("Shared2FCBBoxHead",),
    "roi_head.bbox_head.reg_class_agnostic": (False, None),
    "roi_head.bbox_head.loss_cls.type": ("CrossEntropyLoss",),
    "test_cfg.rpn.nms.type": ("nms",),
    "test_cfg.rpn.nms.class_agnostic": (False, None),
    "test_cfg.rpn.min_bbox_size": (0, None),
    "test_cfg.rpn.nms_across_levels": (False, None),
    "test_cfg.rcnn.nms.type": ("nms",),
    "test_cfg.rcnn.nms.class_agnostic": (False, None),
    "test_cfg.rcnn.mask_thr_binary": (0.5, None),
}
"""These must have one of these values, None where they are left out."""

MASKED: Allowed = {
    "roi_head.mask_roi_extractor.roi_layer.output_size": (14,),
    "roi_head.mask_head.type": ("FCNMaskHead",),
    "roi_head.mask_head.num_convs": (4, None),
    "roi_head.mask_head.conv_cfg.type": PLAIN,
    "roi_head.mask_head.norm_cfg": (None,),
    "roi_head.mask_head.class_agnostic": (False, None),
    "roi_head.mask_head.upsample_cfg": (None, {"type": "deconv", "scale_factor": 2}),
}
"""And of a Mask R-CNN these."""

STOCK: Allowed = {
    "backbone.conv_cfg.type": PLAIN,
    "backbone.norm_cfg.num_groups": (32, None),
}
"""And of MMDetection's own trunks, whose files do not say them, these, which no tensor shows."""


def _weights(stds: Any) -> tuple[float, ...]:
    return tuple(round(1 / float(std), 6) for std in stds)


TAKEN: dict[str, tuple[str, Callable[[Any], Any], Any]] = {
    "rpn_pre_nms_top_n_test": ("test_cfg.rpn.nms_pre", int, 1000),
    "rpn_post_nms_top_n_test": ("test_cfg.rpn.max_per_img", int, 1000),
    "rpn_nms_thresh": ("test_cfg.rpn.nms.iou_threshold", float, 0.7),
    "box_score_thresh": ("test_cfg.rcnn.score_thr", float, 0.05),
    "box_nms_thresh": ("test_cfg.rcnn.nms.iou_threshold", float, 0.5),
    "box_detections_per_img": ("test_cfg.rcnn.max_per_img", int, 100),
    "bbox_reg_weights": (
        "roi_head.bbox_head.bbox_coder.target_stds",
        _weights,
        (0.1, 0.1, 0.2, 0.2),
    ),
    "size_divisible": ("data_preprocessor.pad_size_divisor", int, 1),
}
"""torchvision's arguments, and where a config has them."""


GIVEN: dict[str, tuple[Callable[[str], Any], tuple[str, ...]]] = {
    "min_size": (int, ()),
    "max_size": (int, ()),
    "size_divisible": (int, ()),
    "rpn_pre_nms_top_n_test": (int, TWO_STAGES),
    "rpn_post_nms_top_n_test": (int, TWO_STAGES),
    "rpn_nms_thresh": (float, TWO_STAGES),
    "box_score_thresh": (float, TWO_STAGES),
    "box_nms_thresh": (float, TWO_STAGES),
    "box_detections_per_img": (int, TWO_STAGES),
    "score_thresh": (float, ONE_STAGE),
    "nms_thresh": (float, ONE_STAGE),
    "detections_per_img": (int, ONE_STAGE),
    "topk_candidates": (int, ONE_STAGE),
}
"""`--set` takes these, of the detectors that are named, or of all."""


def given_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Returns what `--set` gives; raises InputError where it is no NAME=VALUE of the table."""
    given = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            given[name] = GIVEN[name][0](text)
            fits = given[name] >= (1 if GIVEN[name][0] is int else 0)
        except (KeyError, ValueError):
            fits = False
        if not fits:
            raise InputError(
                f"--set {pair}: use NAME=VALUE of {', '.join(GIVEN)}: sizes and "
                "counts from 1, thresholds from 0"
            )
    return given


def check_given(given: Mapping[str, Any], kind: str) -> None:
    """Raises InputError where a detector has no such setting: torchvision would ignore it."""
    for name in given:
        if GIVEN[name][1] and kind not in GIVEN[name][1]:
            own = [each for each, (_, kinds) in GIVEN.items() if not kinds or kind in kinds]
            raise InputError(f"--set {name}: {kind} has {', '.join(own)}")


def mmdetection_settings(
    source: str, text: str
) -> tuple[dict[str, Any], Preprocessing | None, list[str]]:
    """Returns arguments of torchvision's class, the pixels that a checkpoint's config says, and
    what was taken for granted, in words.

    Args:
        source: for messages.
        text: the config, which is read and not run.

    Raises:
        InputError: torchvision's network cannot meet a setting, which is named.
    """
    model = in_default_words(read_section(text, "model"))
    own = str(value_at(model, "backbone.type")).startswith("resnext_backbones.")
    fixed = (
        FIXED | (MASKED if value_at(model, "roi_head.mask_head") else {}) | ({} if own else STOCK)
    )
    for name, allowed in fixed.items():
        if (held := value_at(model, name)) not in allowed:
            wanted = " or ".join(repr(value) for value in allowed if value is not None)
            needed = f"to be {wanted}" if wanted else "left out"
            raise InputError(
                f"{source}: model.{name} is {held!r}, and torchvision's network, which is what is "
                f"exported, needs it {needed}; nothing was written"
                + (f"\n{EXPORTED}" if name == "type" else "")
            )
    settings = {
        argument: convert(default if (value := value_at(model, name)) is None else value)
        for argument, (name, convert, default) in TAKEN.items()
    }
    for argument, value in settings.items():
        if TAKEN[argument][1] is int and value < 1:
            raise InputError(
                f"{source}: model.{TAKEN[argument][0]} is {value}, and what is exported needs a "
                "number from 1; nothing was written"
            )
    notes = []
    if (scale := _rescaled(source, read_section(text, "test_dataloader"))) is None:
        scale = RESCALED
        notes.append(
            "sizes: the config's test_dataloader does not say them; without --set min_size=... "
            f"max_size=... they are {scale[1]} and {scale[0]}, as MMDetection has them for COCO"
        )
    settings |= {"min_size": scale[1], "max_size": scale[0]}
    return settings, said_in([model], pixels_in, source), notes


def _rescaled(source: str, loader: Any) -> tuple[int, int] | None:
    """Returns the most pixels of the longer and of the shorter side of an image, as the pipeline
    that is in effect has them; None where it does not say them. The config's variable
    `test_pipeline` may say something else.
    """
    for step in _pipeline(value_at(loader, "dataset")):
        kind, scale = value_at(step, "type"), step.get("scale")
        if kind == "Resize" and step.get("keep_ratio") and isinstance(scale, list | tuple):
            return max(scale), min(scale)
        if "Resize" in str(kind) or "FlipAug" in str(kind):
            raise InputError(
                f"{source}: the pipeline of test_dataloader has {kind} with {dict(step)}, and what "
                "is exported scales as Resize with a scale and keep_ratio=True does; nothing was "
                "written"
            )
    return None


def _pipeline(dataset: Any) -> list[Mapping[str, Any]]:
    """Returns the steps of a data set, or of the first one in it."""
    while isinstance(dataset, Mapping):
        if "pipeline" in dataset:
            return [step for step in dataset["pipeline"] or () if isinstance(step, Mapping)]
        inner = dataset.get("dataset") or dataset.get("datasets")
        dataset = inner[0] if isinstance(inner, list | tuple) and inner else inner
    return []
