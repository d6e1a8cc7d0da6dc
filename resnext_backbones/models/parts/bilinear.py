"""Bilinear attention mixes the tiles of a map, by rows and by columns."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnext_backbones.models.layers import Layers

TILES = 8
"""A map is cut into so many rows and columns of tiles."""

GROUPS = 2
"""Each half of the channels has weights of its own."""


class BilinearAttention(nn.Module):
    """Adds a bilinear attentional transform, Chi et al. (2020), section 3, as timm has it.

    A quarter of the channels is transformed between two 1x1 convolutions. Names are timm's. Maps
    whose sides are no multiples of 8 are filled up with zeros at their right and lower edges, and
    cut to their size again; timm's has no output for them.
    """

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        inner = max(8, int(channels / 4 + 4) // 8 * 8)
        self.conv1 = layers.step(channels, inner, 1, activation=nn.ReLU(inplace=True))
        self.ba = BilinearTransform(inner, layers)
        self.conv2 = layers.step(inner, channels, 1, activation=nn.ReLU(inplace=True))
        self.dropout = nn.Dropout2d(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        return x + self.dropout(self.conv2(self.ba(self.conv1(x))))


class BilinearTransform(nn.Module):
    """Multiplies tiles by a matrix of weights from the left and from the right: y' = P y Q.

    Both matrices are made of the largest values in each row and each column of tiles. The rows of P
    and the columns of Q sum up to 1.
    """

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        count = GROUPS * TILES * TILES
        self.conv1 = layers.step(channels, GROUPS, 1, activation=nn.ReLU(inplace=True))
        self.conv_p = nn.Conv2d(GROUPS, count, (TILES, 1))
        self.conv_q = nn.Conv2d(GROUPS, count, (1, TILES))
        self.conv2 = layers.step(channels, channels, 1, activation=nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        n, channels, height, width = x.shape
        # So written, a program with free sizes knows that both are whole numbers of tiles.
        tall, wide = (height + TILES - 1) // TILES, (width + TILES - 1) // TILES
        x = functional.pad(x, (0, TILES * wide - width, 0, TILES * tall - height))
        rows, columns = _highest(self.conv1(x), tall, wide)
        left = self.conv_p(rows).reshape(-1, GROUPS, TILES, TILES).sigmoid()
        right = self.conv_q(columns).reshape(-1, GROUPS, TILES, TILES).sigmoid()
        left, right = left / left.sum(3, keepdim=True), right / right.sum(2, keepdim=True)
        # Channels stay last in memory, where they are.
        y = x.permute(0, 2, 3, 1).reshape(n, TILES, tall, TILES, wide, GROUPS, channels // GROUPS)
        # Lists of tensors, as TorchScript has them.
        y = torch.einsum("ngij,njakbgc->niakbgc", [left, y])
        y = torch.einsum("niakbgc,ngkl->nialbgc", [y, right])
        y = y.reshape(n, TILES * tall, TILES * wide, channels).permute(0, 3, 1, 2)
        return self.conv2(y)[:, :, :height, :width]


def _highest(x: Tensor, tall: int, wide: int) -> tuple[Tensor, Tensor]:
    """Returns the largest values in each row (N, C, 8, 1) and each column of tiles (N, C, 1, 8)."""
    if torch.compiler.is_exporting():  # other runtimes cannot pool maps of any size to a given one
        n, channels = x.shape[:2]
        tiles = x.reshape(n, channels, TILES, tall, TILES, wide)
        rows, columns = tiles.amax((3, 4, 5)), tiles.amax((2, 3, 5))
        return rows[:, :, :, None], columns[:, :, None]
    rows = functional.adaptive_max_pool2d(x, (TILES, 1))
    return rows, functional.adaptive_max_pool2d(x, (1, TILES))
