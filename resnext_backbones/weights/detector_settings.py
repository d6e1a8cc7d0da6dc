"""Says in a framework's words what of a detector is no weight: pixels, classes, pools, anchors.

What is not named is as the framework builds the detector with FPN: MMDetection's
`_base_/models/mask-rcnn_r50_fpn.py`, Detectron2's `Base-RCNN-FPN.yaml`, torchvision's classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from resnext_backbones.models.architecture import Architecture, unseen_fields
from resnext_backbones.variants import VARIANTS, describe, names_of
from resnext_backbones.weights.detector_names import DETECTRON2, MMDET, TORCHVISION
from resnext_backbones.weights.detectors import Detector
from resnext_backbones.weights.preprocessing import Preprocessing

USUAL = {"fpn": 256, "fc": 1024, "mask": 256}
"""Widths that all three frameworks build."""

OTHERWISE = (
    "(pools and anchors as torchvision builds them; of a detector that was built with "
    "aligned_options() the pools are aligned, with a sampling ratio of 0, and no anchor is rounded)"
)
STRIDES = (
    "(a block strides in its 3x3 convolution, as a ResNeXt's; Detectron2's own ResNets, with "
    "MODEL.RESNETS.STRIDE_IN_1X1 True, and style='caffe' of MMDetection stride in the first 1x1 "
    "one, which no tensor shows: of those say it to the target too)"
)


@dataclass(frozen=True)
class Facts:
    """Holds what settings say of a detector.

    Attributes:
        variant: of the trunk, in words where it is no name.
        rows: in torchvision's layout, the background's among them.
        widths: those that are not `USUAL`.
        rounded: whether anchors are rounded to whole pixels and pools are not aligned, as in
            torchvision; in MMDetection and Detectron2 it is the other way round.
    """

    variant: str
    classes: int
    rows: int
    masks: bool
    pixels: Preprocessing
    widths: dict[str, int]
    rounded: bool
    stride_in_1x1: bool

    @property
    def sampling(self) -> int:
        """Returns the sampling ratio of RoIAlign; 0 is as many samples as a bin has pixels."""
        return 2 if self.rounded else 0


def settings_for(
    detector: Detector,
    to: str,
    pixels: Preprocessing,
    network: Architecture,
    class_ids: str,
    *,
    rounded: bool,
) -> str:
    """Returns the settings of a target, a line each, with which it computes what the source did;
    arguments as of `Facts`.
    """
    heads = detector.heads
    widths = {
        "fpn": len(heads["fpn.lateral1.weight"]),
        "fc": len(heads["box.fc1.weight"]),
        "mask": len(heads["mask.conv0.weight"]) if detector.has_masks else USUAL["mask"],
    }
    name = _name_of(network)
    facts = Facts(
        variant=name or describe(network),
        classes=detector.classes,
        rows=91 if detector.rows_by_coco_id(class_ids) else detector.classes + 1,
        masks=detector.has_masks,
        pixels=pixels,
        widths={name: width for name, width in widths.items() if width != USUAL[name]},
        rounded=rounded,
        stride_in_1x1=network.stride_in_1x1,
    )
    lines = WORDS[to](facts)
    if name is None:
        lines.append(
            "(no variant is this network: build it by its fields, with "
            + ", ".join(f"{n}={getattr(network, n)!r}" for n in unseen_fields(network))
            + ", which no tensor shows)"
        )
    lines += [OTHERWISE] if rounded and to != TORCHVISION else []
    lines += [STRIDES] if network.cardinality == 1 and not network.stride_in_1x1 else []
    return "\n".join(lines)


def _name_of(network: Architecture) -> str | None:
    """Returns the name of a variant that is a network in all that counts, also in what no tensor
    shows, but for what settings say beside it.
    """
    beside: dict[str, Any] = {
        "in_channels": network.in_channels,
        "stride_in_1x1": network.stride_in_1x1,
    }
    n = len(network.blocks)
    names = (
        name
        for name in names_of(network)
        if replace(VARIANTS[name].of_stages(n), **beside) == network
    )
    return next(names, None)


def _mmdet(facts: Facts) -> list[str]:
    pixels, fpn = facts.pixels, facts.widths.get("fpn")
    turned = pixels.order == "RGB"
    pool = f"type='RoIAlign', sampling_ratio={facts.sampling}, aligned={not facts.rounded}"
    kinds = ("bbox", 7), ("mask", 14)
    modules = ["openmmlab", "mmdetection"][: 1 + facts.rounded]
    lines = [
        f"custom_imports: imports={[f'resnext_backbones.adapters.{name}' for name in modules]}",
        f"data_preprocessor: mean={list(pixels.mean)}, std={list(pixels.std)}, bgr_to_rgb={turned}",
        f"backbone: type='resnext_backbones.ResNeXt', variant={facts.variant!r}"
        + (", style='caffe'" if facts.stride_in_1x1 else ""),
    ]
    if fpn:
        lines.append(
            f"neck: out_channels={fpn}; in_channels={fpn} and feat_channels={fpn} of heads"
        )
    for name, size in kinds[: 1 + facts.masks]:
        width = facts.widths.get("fc" if name == "bbox" else "mask")
        word = "fc_out_channels" if name == "bbox" else "conv_out_channels"
        more = f", {word}={width}" if width else ""
        lines += [
            f"roi_head.{name}_roi_extractor: roi_layer=dict({pool}, output_size={size})",
            f"roi_head.{name}_head: num_classes={facts.classes}{more}",
        ]
    if facts.rounded:
        lines.append("rpn_head.anchor_generator: type='resnext_backbones.RoundedAnchorGenerator'")
    return lines


def _detectron2(facts: Facts) -> list[str]:
    pixels, widths = facts.pixels, facts.widths
    pooler = "ROIAlign" if facts.rounded else "ROIAlignV2"
    lines = {
        "MODEL.BACKBONE.NAME": "build_resnext_fpn_backbone",
        "MODEL.BACKBONE.VARIANT": facts.variant,
        "MODEL.RESNETS.STRIDE_IN_1X1": facts.stride_in_1x1,
        "INPUT.FORMAT": pixels.order,
        "MODEL.PIXEL_MEAN": list(pixels.mean),
        "MODEL.PIXEL_STD": list(pixels.std),
        "MODEL.MASK_ON": facts.masks,
        "MODEL.ROI_HEADS.NUM_CLASSES": facts.classes,
    }
    for head in ("ROI_BOX_HEAD", "ROI_MASK_HEAD")[: 1 + facts.masks]:
        lines[f"MODEL.{head}.POOLER_TYPE"] = pooler
        lines[f"MODEL.{head}.POOLER_SAMPLING_RATIO"] = facts.sampling
    for name, word in (("fpn", "FPN.OUT_CHANNELS"), ("fc", "ROI_BOX_HEAD.FC_DIM")):
        lines |= {f"MODEL.{word}": widths[name]} if name in widths else {}
    lines |= {"MODEL.ROI_MASK_HEAD.CONV_DIM": widths["mask"]} if "mask" in widths else {}
    said = [f"{key} {value}" for key, value in lines.items()]
    if facts.rounded:
        said.append(
            "MODEL.ANCHOR_GENERATOR.NAME RoundedAnchorGenerator, once "
            "resnext_backbones.adapters.detectron2_anchors is imported"
        )
    return said


def _torchvision(facts: Facts) -> list[str]:
    mean, std = facts.pixels.unit()
    network = "MaskRCNN" if facts.masks else "FasterRCNN"
    more = ", stride_in_1x1=True" if facts.stride_in_1x1 else ""
    options: dict[str, Any] = {"image_mean": mean, "image_std": std}
    given = ", ".join(f"{name}={value}" for name, value in options.items())
    own = "" if facts.rounded else f", **aligned_options(masks={facts.masks})"
    lines = [
        f"torchvision.models.detection.{network}(resnext_fpn({facts.variant!r}{more}), "
        f"num_classes={facts.rows}, {given}{own})"
    ]
    if not facts.rounded:
        lines.append(
            "from resnext_backbones.adapters.torchvision_detectors import aligned_options: pools "
            "are aligned, and anchors not rounded"
        )
    if facts.pixels.order == "BGR":
        lines.append(
            "hand over images[[2, 1, 0]]: it takes BGR, and reads the channels as they come"
        )
    if facts.widths:
        said = ", ".join(f"{name} {width}" for name, width in facts.widths.items())
        lines.append(f"with heads of these widths: {said}")
    return lines


WORDS: dict[str, Callable[[Facts], list[str]]] = {
    MMDET: _mmdet,
    DETECTRON2: _detectron2,
    TORCHVISION: _torchvision,
}
