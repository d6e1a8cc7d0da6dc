"""The trunk is pretrained with a classification head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.options import check_positive
from resnext_backbones.models.resnext import ResNeXt


class ResNeXtClassifier(ResNeXt):
    """Adds global average pooling and a linear layer `fc` to the trunk, by torchvision's names.

    Arguments and errors are those of `ResNeXt`, but for `out_indices`: the head takes the last
    stage.
    """

    def __init__(
        self, architecture: Architecture, *, num_classes: int = 1000, **options: Any
    ) -> None:
        check_positive(num_classes=num_classes)
        if "out_indices" in options:
            raise ValueError("out_indices: a classifier takes the output of its last stage only")
        super().__init__(architecture, **options)
        # By torchvision's name and place: people cut `children()` there, and put others in.
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.channels[-1], num_classes)

    # Logits where a trunk gives a tuple of feature maps: what makes it a classifier.
    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """Maps (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.fc(self.avgpool(super().forward(images)[-1]).flatten(1))
