"""The names of the tensors of Faster and Mask R-CNN, beside the trunk, in three frameworks.

One table has a row for each part, in this package's words and in theirs; `weights.formats` has the
names within the trunk. What stands in braces is looked up in `templates.FIELDS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from resnext_backbones.weights.templates import Format, Rows

MMDET, DETECTRON2, TORCHVISION = "mmdet", "detectron2", "torchvision"

BY_COCO_ID, CONTIGUOUS = "coco", "contiguous"
CLASS_IDS = (BY_COCO_ID, CONTIGUOUS)
"""In torchvision's layout COCO's 80 classes have the rows of their ids, or follow each other."""

PARTS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "pyramid": (
        ("fpn.", "neck.", "backbone.", "backbone.fpn."),
        (
            "lateral{stage}",
            "lateral_convs.{zero}.conv",
            "fpn_lateral{res}",
            "inner_blocks.{zero}.0",
        ),
        ("output{stage}", "fpn_convs.{zero}.conv", "fpn_output{res}", "layer_blocks.{zero}.0"),
    ),
    "proposals": (
        ("rpn.", "rpn_head.", "proposal_generator.rpn_head.", "rpn.head."),
        ("conv", "rpn_conv", "conv", "conv.0.0"),
        ("logits", "rpn_cls", "objectness_logits", "cls_logits"),
        ("deltas", "rpn_reg", "anchor_deltas", "bbox_pred"),
    ),
    "boxes": (
        ("box.", "roi_head.bbox_head.", "roi_heads.", "roi_heads."),
        ("fc{fc}", "shared_fcs.{shared}", "box_head.fc{fc}", "box_head.fc{vgg}"),
        ("logits", "fc_cls", "box_predictor.cls_score", "box_predictor.cls_score"),
        ("deltas", "fc_reg", "box_predictor.bbox_pred", "box_predictor.bbox_pred"),
    ),
    "masks": (
        ("mask.", "roi_head.mask_head.", "roi_heads.", "roi_heads."),
        ("conv{block}", "convs.{block}.conv", "mask_head.mask_fcn{nth}", "mask_head.{block}.0"),
        ("deconv", "upsample", "mask_head.deconv", "mask_predictor.conv5_mask"),
        ("logits", "conv_logits", "mask_head.predictor", "mask_predictor.mask_fcn_logits"),
    ),
}
"""This package's names, MMDetection's (since 2.0), Detectron2's and torchvision's (since 0.13):
what the names of a part begin with, then its modules, each with a weight and a bias."""

EARLIER = (
    ("fpn.lateral{stage}.{parameter}", "backbone.fpn.inner_blocks.{zero}.{parameter}"),
    ("fpn.output{stage}.{parameter}", "backbone.fpn.layer_blocks.{zero}.{parameter}"),
    ("rpn.conv.{parameter}", "rpn.head.conv.{parameter}"),
    ("mask.conv{block}.{parameter}", "roi_heads.mask_head.mask_fcn{nth}.{parameter}"),
)
"""torchvision's names before 0.13, which its published files have."""

KEYPOINTS = "it finds keypoints, and only boxes and masks are converted"
CASCADE = (
    "it is a Cascade R-CNN: MMDetection averages the logits of its stages, Detectron2 their "
    "probabilities, and torchvision has none"
)
LEVELS = (
    "its pyramid has levels by convolutions, as RetinaNet's and FCOS'; the last one of Faster and "
    "Mask R-CNN is pooled"
)
NORMS = "its pyramid or its heads have norms, and those that are converted have none"
CONVOLUTIONS = "its box head has convolutions, and the one that is converted has two fc"


@dataclass(frozen=True)
class Layout:
    """Says how a framework lays out a detector.

    Attributes:
        name: as messages call the framework.
        trunks: what stands in front of a trunk's names; the first is written.
        heads: the names beside it.
        background_first: whether the background is class 0, with boxes and a mask of its own that
            nothing uses; else it is the last class, and has none.
        refused: of names that some other detector has, and why it is not converted.
        notes: what else a file may hold: names of settings that are not weights.
    """

    name: str
    trunks: tuple[str, ...]
    heads: Format
    background_first: bool
    refused: Mapping[str, str]
    notes: str = r"(?!)"

    def reason(self, names: list[str]) -> str:
        """Returns why names beside a trunk are no detector's that is converted; "" if none says."""
        told = (why for mark, why in self.refused.items() if any(re.match(mark, n) for n in names))
        return next(told, "")


def _rows(column: int) -> Rows:
    return tuple(
        (f"{begins[0]}{row[0]}.{{parameter}}", f"{begins[column]}{row[column]}.{{parameter}}")
        for begins, *rows in PARTS.values()
        for row in rows
    )


def _retinanet(relu: str) -> str:
    return (
        f"it is a RetinaNet, of which {relu}: the same tensors are another detector in the other "
        "frameworks"
    )


RELU = "Detectron2 and torchvision have a ReLU before P7 and MMDetection has none"

LAYOUTS: dict[str, Layout] = {
    DETECTRON2: Layout(
        "Detectron2",
        ("backbone.bottom_up.", "backbone.bottom_up.trunk."),
        Format("Detectron2", (), _rows(2)),
        background_first=False,
        refused={
            r"head\.ctrness\.": LEVELS,
            r"head\.(cls_subnet|bbox_subnet|cls_score|bbox_pred)\.": _retinanet(RELU),
            r"backbone\.top_block\.": LEVELS,
            r"roi_heads\.(box_head|box_predictor)\.\d\.": CASCADE,
            r"roi_heads\.keypoint": KEYPOINTS,
            r"roi_heads\.box_head\.conv\d": CONVOLUTIONS,
            r"(backbone\.fpn_|roi_heads\.).*\.norm\.": NORMS,
        },
        notes=r"pixel_mean|pixel_std|proposal_generator\.anchor_generator\.cell_anchors\.\d",
    ),
    TORCHVISION: Layout(
        "torchvision",
        ("backbone.body.",),
        Format("torchvision", (), (*_rows(3), *EARLIER)),
        background_first=True,
        refused={
            r"head\.regression_head\.bbox_ctrness\.": LEVELS,
            r"head\.(classification|regression)_head\.(cls_logits|conv)": _retinanet(RELU),
            r"backbone\.fpn\.extra_blocks\.": LEVELS,
            r"roi_heads\.keypoint": KEYPOINTS,
            r"roi_heads\.box_head\.\d\.": CONVOLUTIONS,
            r"(backbone\.fpn\.\w+\.\d|rpn\.head\.conv\.\d|roi_heads\.mask_head\.\d)\.1\.": NORMS,
        },
    ),
    MMDET: Layout(
        "MMDetection",
        ("backbone.",),
        Format("MMDetection", (), _rows(1)),
        background_first=False,
        refused={
            r"bbox_head\.retina_": _retinanet(RELU),
            r"roi_head\.bbox_head\.\d\.": CASCADE,
            r"roi_head\.keypoint": KEYPOINTS,
            r"roi_head\.bbox_head\.(shared|cls|reg)_convs\.": CONVOLUTIONS,
            r"(neck|roi_head)\..*\.(bn|gn|ln|norm\w*)\.": NORMS,
            r"neck\.fpn_convs\.[4-9]\.": LEVELS,
        },
    ),
}
"""Detectors are converted between these; what is in front of a trunk tells them apart, the longest
first."""
