"""Efficient channel attention weighs each channel by those beside it."""

from __future__ import annotations

import math

from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weighs channels as Wang et al. (2020), Figure 2: x * sigmoid(conv1d(mean of x)).

    The convolution runs over the channels; its kernel grows with their number, equation 12 there
    with gamma = 2 and b = 1, and has at least 3 values, as timm's. Names are timm's.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = int((math.log2(channels) + 1) / 2)
        size = max(3, size if size % 2 else size + 1)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        weights = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()
        return x * weights.transpose(1, 2).unsqueeze(3)
