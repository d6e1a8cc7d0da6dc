"""A whole Mask R-CNN of MMDetection with one trunk or the other, from images to the loss."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

CONFIG = "mask_rcnn_x101_32x4d_fpn_coco"
INSTANCES = 8
SHAPES = ("img_shape", "pad_shape", "batch_input_shape")


class MaskRCNN(nn.Module):
    """Builds the detector of the configs; its heads have the same random weights with every trunk.

    Args:
        variant: of the trunk.
        own: this package's trunk, or else MMDetection's.
    """

    def __init__(self, variant: str, *, own: bool) -> None:
        super().__init__()
        from mmdet.registry import MODELS
        from mmengine.registry import init_default_scope

        from benchmarks.training import take_mmdetections
        from resnext_backbones.tasks.mmdetection.config import load_config
        from resnext_backbones.tasks.mmdetection.hooks import keep_boxes_exact

        cfg = load_config(CONFIG).model
        cfg.backbone.variant = variant
        if not own:
            take_mmdetections(cfg.backbone)
        init_default_scope("mmdet")
        self.detector: Any = MODELS.build(cfg)
        keep_boxes_exact(self.detector)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in self.detector.named_parameters():
                if not name.startswith("backbone."):
                    parameter.normal_(0, 0.02, generator=generator)
        self.train()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, 3, H, W) to the losses of RPN and heads, for the same instances each time.

        The heads see a random draw of the proposals. Proposals whose scores are equal but for
        rounding change places, and then others are drawn: the second loss is no exact number.
        """
        torch.manual_seed(0)  # the heads draw samples
        samples = [_sample(images.shape[-2:], images.device) for _ in images]
        losses = self.detector.loss(images, samples)
        rpn = {name: losses.pop(name) for name in list(losses) if "rpn" in name}
        return self.detector.parse_losses(rpn)[0], self.detector.parse_losses(losses)[0]


@cache  # drawing the masks is no part of what is measured
def _sample(size: torch.Size, device: torch.device) -> Any:
    """Returns boxes of all sizes with elliptic masks."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    height, width = size
    generator = torch.Generator().manual_seed(0)
    extent = torch.tensor([width, height])
    centres = torch.rand(INSTANCES, 2, generator=generator) * extent
    halves = torch.rand(INSTANCES, 2, generator=generator) * extent / 4 + 8
    corners = centres - halves, centres + halves
    boxes = torch.cat([corner.clamp(min=torch.zeros(2), max=extent) for corner in corners], 1)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    offsets = (torch.stack((x, y), -1) - centres[:, None, None]) / halves[:, None, None]
    masks = (offsets.square().sum(-1) <= 1).to(torch.uint8)
    sample = DetDataSample(metainfo=dict.fromkeys(SHAPES, (height, width)))
    sample.gt_instances = InstanceData(
        bboxes=boxes.to(device),
        labels=torch.randint(80, (INSTANCES,), generator=generator).to(device),
        masks=BitmapMasks(masks.numpy(), height, width),
    )
    sample.ignored_instances = InstanceData(bboxes=boxes.new_zeros(0, 4).to(device))
    return sample
