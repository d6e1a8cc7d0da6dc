"""The names of the tensors of Faster and Mask R-CNN, beside the trunk, in three frameworks.

One table has a row for each part, in this package's words and in theirs; `weights.formats` has the
names within the trunk. What stands in braces is looked up in `templates.FIELDS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from resnext_backbones.weights.templates import Format

MMDET, DETECTRON2, TORCHVISION = "mmdet", "detectron2", "torchvision"

BY_COCO_ID, CONTIGUOUS = "coco", "contiguous"
CLASS_IDS = (BY_COCO_ID, CONTIGUOUS)
"""In torchvision's layout COCO's 80 classes have the rows of their ids, or follow each other."""

PARTS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "pyramid": (
        (
            "fpn.lateral{stage}.{parameter}",
            "neck.lateral_convs.{zero}.conv.{parameter}",
            "backbone.fpn_lateral{res}.{parameter}",
            "backbone.fpn.inner_blocks.{zero}.0.{parameter}",
        ),
        (
            "fpn.output{stage}.{parameter}",
            "neck.fpn_convs.{zero}.conv.{parameter}",
            "backbone.fpn_output{res}.{parameter}",
            "backbone.fpn.layer_blocks.{zero}.0.{parameter}",
        ),
    ),
    "proposals": (
        (
            "rpn.conv.{parameter}",
            "rpn_head.rpn_conv.{parameter}",
            "proposal_generator.rpn_head.conv.{parameter}",
            "rpn.head.conv.0.0.{parameter}",
        ),
        (
            "rpn.logits.{parameter}",
            "rpn_head.rpn_cls.{parameter}",
            "proposal_generator.rpn_head.objectness_logits.{parameter}",
            "rpn.head.cls_logits.{parameter}",
        ),
        (
            "rpn.deltas.{parameter}",
            "rpn_head.rpn_reg.{parameter}",
            "proposal_generator.rpn_head.anchor_deltas.{parameter}",
            "rpn.head.bbox_pred.{parameter}",
        ),
    ),
    "boxes": (
        (
            "box.fc{fc}.{parameter}",
            "roi_head.bbox_head.shared_fcs.{shared}.{parameter}",
            "roi_heads.box_head.fc{fc}.{parameter}",
            "roi_heads.box_head.fc{vgg}.{parameter}",
        ),
        (
            "box.logits.{parameter}",
            "roi_head.bbox_head.fc_cls.{parameter}",
            "roi_heads.box_predictor.cls_score.{parameter}",
            "roi_heads.box_predictor.cls_score.{parameter}",
        ),
        (
            "box.deltas.{parameter}",
            "roi_head.bbox_head.fc_reg.{parameter}",
            "roi_heads.box_predictor.bbox_pred.{parameter}",
            "roi_heads.box_predictor.bbox_pred.{parameter}",
        ),
    ),
    "masks": (
        (
            "mask.conv{block}.{parameter}",
            "roi_head.mask_head.convs.{block}.conv.{parameter}",
            "roi_heads.mask_head.mask_fcn{nth}.{parameter}",
            "roi_heads.mask_head.{block}.0.{parameter}",
        ),
        (
            "mask.deconv.{parameter}",
            "roi_head.mask_head.upsample.{parameter}",
            "roi_heads.mask_head.deconv.{parameter}",
            "roi_heads.mask_predictor.conv5_mask.{parameter}",
        ),
        (
            "mask.logits.{parameter}",
            "roi_head.mask_head.conv_logits.{parameter}",
            "roi_heads.mask_head.predictor.{parameter}",
            "roi_heads.mask_predictor.mask_fcn_logits.{parameter}",
        ),
    ),
}
"""This package's name of a tensor, MMDetection's (since 2.0), Detectron2's and torchvision's (since
0.13)."""

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


def _rows(column: int) -> tuple[tuple[str, str], ...]:
    return tuple((row[0], row[column]) for rows in PARTS.values() for row in rows)


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
