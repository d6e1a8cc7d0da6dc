"""torchvision's own networks, beside which ours are set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torchvision.models import detection, segmentation
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from resnext_backbones.adapters.torchvision import deeplabv3, fcn

PEER = {"weights": None, "weights_backbone": None, "num_classes": 3}
SMALL = {"min_size": 64, "max_size": 96}
TWO_STAGES = {
    "box_score_thresh": 0.0,
    "box_detections_per_img": 8,
    "rpn_post_nms_top_n_train": 64,
    "rpn_post_nms_top_n_test": 32,
    "box_batch_size_per_image": 16,
}
ONE_STAGE = {"score_thresh": 0.0, "detections_per_img": 8, "topk_candidates": 64}
P6P7 = {"returned_layers": [2, 3, 4]}


def p6p7(channels: int = 256) -> dict[str, Any]:
    return {**P6P7, "extra_blocks": LastLevelP6P7(channels, 256)}


DETECTORS: dict[str, tuple[Callable, Callable, dict[str, Any], Callable[[], dict[str, Any]]]] = {
    "faster": (detection.fasterrcnn_resnet50_fpn, detection.FasterRCNN, TWO_STAGES, dict),
    "mask": (detection.maskrcnn_resnet50_fpn, detection.MaskRCNN, TWO_STAGES, dict),
    "keypoint": (
        detection.keypointrcnn_resnet50_fpn,
        partial(detection.KeypointRCNN, num_keypoints=17),
        TWO_STAGES,
        dict,
    ),
    "retinanet": (detection.retinanet_resnet50_fpn, detection.RetinaNet, ONE_STAGE, p6p7),
    "fcos": (detection.fcos_resnet50_fpn, detection.FCOS, ONE_STAGE, p6p7),
}


SEGMENTATION = {
    "deeplabv3": (segmentation.deeplabv3_resnet50, deeplabv3),
    "fcn": (segmentation.fcn_resnet50, fcn),
}


def peer_trunk(norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d, **options: Any) -> ResNet:
    """torchvision's own network of one block a stage."""
    options = {key: value for key, value in options.items() if key.startswith("replace")}
    return ResNet(
        Bottleneck, [1] * 4, groups=4, width_per_group=4, norm_layer=norm_layer, **options
    )
