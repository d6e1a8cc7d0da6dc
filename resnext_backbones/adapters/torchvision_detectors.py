"""torchvision's detectors get the pools and anchors of MMDetection and Detectron2 here.

A detector that `resnext convert --detector` wrote from one of theirs finds the same boxes with
them, and one that was trained with them goes to the others without a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper, MultiScaleRoIAlign

STRIDES = (4, 8, 16, 32)
"""The maps of a pyramid have these strides; pooling adds one of twice the last."""

CPU = torch.device("cpu")

CANONICAL_SCALE, CANONICAL_LEVEL = 224, 4
"""A box with the area of 224 x 224 is pooled from the map of stride 2^4 (Lin et al., 2017)."""


class AlignedRoIAlign(MultiScaleRoIAlign):
    """Pools boxes as MMDetection and Detectron2 do: aligned by half a pixel, with as many samples
    in a bin as it has pixels. It is a `MultiScaleRoIAlign` since torchvision asks for one.

    Args:
        featmap_names, output_size: as of torchvision's class.
        strides: of these maps.
    """

    def __init__(self, featmap_names: list[str], output_size: int, strides: Sequence[int]) -> None:
        super().__init__(featmap_names, output_size, sampling_ratio=0)
        self.strides = tuple(strides)

    def forward(
        self,
        x: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],  # noqa: ARG002
    ) -> Tensor:
        """Returns (K, C, output_size, output_size) for K boxes of all images, as torchvision's."""
        maps = [x[name] for name in self.featmap_names]
        first, last = (stride.bit_length() - 1 for stride in (self.strides[0], self.strides[-1]))
        levels = LevelMapper(first, last, CANONICAL_SCALE, CANONICAL_LEVEL)(boxes)
        ids = [torch.full_like(each[:, :1], i) for i, each in enumerate(boxes)]
        rois = torch.cat([torch.cat(ids), torch.cat(boxes)], dim=1)
        pooled = maps[0].new_zeros(rois.shape[0], maps[0].shape[1], *self.output_size)
        for level, (features, stride) in enumerate(zip(maps, self.strides, strict=True)):
            here = torch.where(levels == level)[0]
            pooled[here] = roi_align(
                features, rois[here], self.output_size, 1 / stride, aligned=True
            ).to(pooled.dtype)
        return pooled


class PreciseAnchors(AnchorGenerator):
    """Makes anchors as MMDetection and Detectron2 do: not rounded to whole pixels, and as far apart
    as a map's stride, also where an image's side is no multiple of it.
    """

    def __init__(self, strides: Sequence[int]) -> None:
        ratios = ((0.5, 1.0, 2.0),) * len(strides)
        super().__init__(tuple((8 * stride,) for stride in strides), ratios)
        self.strides = tuple(strides)

    def generate_anchors(
        self,
        scales: list[int],
        aspect_ratios: list[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device = CPU,
    ) -> Tensor:
        """Returns corners (len(aspect_ratios) * len(scales), 4) round 0, as torchvision's does."""
        sizes = torch.as_tensor(scales, dtype=dtype, device=device)
        heights = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[:, None]
        halves = torch.stack([sizes / heights, sizes * heights], dim=-1).flatten(0, 1) / 2
        return torch.cat([-halves, halves], dim=1)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Returns the anchors (K, 4) of each image."""
        self.set_cell_anchors(feature_maps[0].dtype, feature_maps[0].device)
        device = feature_maps[0].device
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        sizes = [list(features.shape[-2:]) for features in feature_maps]
        anchors = torch.cat(self.grid_anchors(sizes, strides))
        return [anchors for _ in image_list.image_sizes]


def aligned_options(*, masks: bool, strides: Sequence[int] = STRIDES) -> dict[str, Any]:
    """Returns arguments of torchvision's FasterRCNN, or MaskRCNN with `masks`, with which it pools
    and places anchors as MMDetection and Detectron2 do.

    Args:
        strides: of the trunk's maps.
    """
    pool = partial(AlignedRoIAlign, [str(i) for i in range(len(strides))], strides=strides)
    options: dict[str, Any] = {
        "rpn_anchor_generator": PreciseAnchors([*strides, 2 * strides[-1]]),
        "box_roi_pool": pool(output_size=7),
    }
    return options | ({"mask_roi_pool": pool(output_size=14)} if masks else {})
