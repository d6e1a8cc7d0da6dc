"""A global context is one vector of an image, which is added everywhere."""

from __future__ import annotations

from torch import Tensor, nn


class GlobalContext(nn.Module):
    """Adds a transformed global context, Cao et al. (2019), Figure 4(d), as timm has it.

    The context is the mean of x over all places, weighed by a softmax over a 1x1 convolution. Two
    1x1 convolutions transform it, with an eighth of the channels between, and a layer norm behind
    the first. The second starts at zero, so that a new module changes nothing. Names are timm's;
    mmcv's ContextBlock has other names, and another eps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.conv_attn = nn.Conv2d(channels, 1, 1)
        self.mlp_add = nn.Sequential()
        self.mlp_add.fc1 = nn.Conv2d(channels, inner, 1)
        self.mlp_add.norm = nn.GroupNorm(1, inner, eps=1e-6)  # a layer norm, of one place
        self.mlp_add.act = nn.ReLU(inplace=True)
        self.mlp_add.fc2 = nn.Conv2d(inner, channels, 1)
        nn.init.kaiming_normal_(self.conv_attn.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(self.mlp_add.fc2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        places = x.flatten(2)  # N, C, H x W: no copy, in either memory format
        weights = self.conv_attn(x).flatten(2).softmax(2)
        context = places @ weights.transpose(1, 2)
        return x + self.mlp_add(context.unsqueeze(3))
