"""A deformable convolution computes its own offsets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class DeformConv(nn.Module):
    """Convolves as Dai et al. (2017), or modulated, as Zhu et al. (2019).

    A plain convolution of the same geometry gives each place of the kernel two offsets, in rows
    and columns, and, if modulated, a weight that a sigmoid keeps below one. It starts at zero: the
    kernel is then where a plain one would be. Names are mmcv's, and the order of its channels is
    mmcv's and Detectron2's.

    Args:
        modulated: weigh what is read at each place.
        deform_groups: groups of the input's channels that have offsets of their own.
        geometry: stride, padding and dilation; these and the others are `torch.nn.Conv2d`'s.

    Raises:
        ValueError: a number of groups does not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        groups: int = 1,
        bias: bool = False,
        modulated: bool = False,
        deform_groups: int = 1,
        **geometry: Any,
    ) -> None:
        super().__init__()
        for name, value in (("groups", groups), ("deform_groups", deform_groups)):
            if value < 1 or in_channels % value:
                raise ValueError(f"{name} must divide {in_channels} channels, got {value}")
        self._geometry = geometry
        self.modulated = modulated
        shape = out_channels, in_channels // groups, kernel_size, kernel_size
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        numbers = (3 if modulated else 2) * kernel_size**2 * deform_groups
        self.conv_offset = nn.Conv2d(in_channels, numbers, kernel_size, **geometry)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights, He et al. (2015), fan-out; offsets start at zero."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        for tensor in self.conv_offset.parameters():
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H', W')."""
        offset, mask = self.conv_offset(x), None
        if self.modulated:
            # Two parts of offsets, which alternate between rows and columns, and one of weights.
            first, second, weights = offset.chunk(3, dim=1)
            offset, mask = torch.cat((first, second), dim=1), weights.sigmoid()
        # torchvision's operator has no kernels for bfloat16, and wants one type throughout.
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, bias, mask = (
            None if t is None else t.to(wide) for t in (self.weight, self.bias, mask)
        )
        with torch.autocast(x.device.type, enabled=False):
            y = deform_conv2d(
                x.to(wide), offset.to(wide), weight, bias, **self._geometry, mask=mask
            )
        return y.to(offset.dtype)
