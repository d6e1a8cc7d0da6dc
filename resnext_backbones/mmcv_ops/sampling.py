"""Points within regions of interest, and the values of feature maps there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

AT_ONCE = 1 << 24
"""Sampled values at a time, which bounds the memory."""


class Regions(NamedTuple):
    """Holds regions of interest in the pixels of a feature map.

    Attributes:
        image: (R,), the number of the image.
        start: (R, 2), y and x of the upper left corner.
        bin: (R, 2), height and width of a bin.
        grid: (R, 2), how many points a bin has down and across.
    """

    image: Tensor
    start: Tensor
    bin: Tensor
    grid: Tensor

    @classmethod
    def of(
        cls,
        rois: Tensor,
        size: tuple[int, int],
        scale: float,
        sampling_ratio: int,
        *,
        shift: float,
        least: float | None = None,
    ) -> Regions:
        """Returns the regions of boxes.

        Args:
            rois: (R, 5), number of the image, x1, y1, x2, y2 in the pixels of the image.
            size: bins down and across.
            scale: of the feature map against the image.
            sampling_ratio: points of a bin down and across; 0 takes one a pixel.
            shift: 0.5 where the middle of a pixel is a whole number, else 0.
            least: height and width are at least this.
        """
        corners = rois[:, [2, 1, 4, 3]] * scale - shift
        extent = corners[:, 2:] - corners[:, :2]
        if least is not None:
            extent = extent.clamp(min=least)
        each = extent / extent.new_tensor(size)
        grid = (
            each.ceil().long()
            if sampling_ratio <= 0
            else torch.full_like(each, sampling_ratio, dtype=torch.long)
        )
        return cls(rois[:, 0].long(), corners[:, :2], each, grid)

    def alike(self, values: int) -> Iterator[tuple[Tensor, Regions, list[int]]]:
        """Yields regions with the same grid: their indices, they, and the grid; no empty grids.

        Args:
            values: of a region at one point of each bin.
        """
        grids = {tuple(grid) for grid in self.grid.tolist()}
        for down, across in sorted(grids):
            if down > 0 and across > 0:
                same = (self.grid == self.grid.new_tensor([down, across])).all(1).nonzero()[:, 0]
                for part in same.split(max(AT_ONCE // (values * down * across), 1)):
                    yield part, Regions(*(field[part] for field in self)), [down, across]

    def coordinate(self, axis: int, bins: Tensor, points: Tensor) -> Tensor:
        """Returns where points of bins are, (R, ...).

        Args:
            axis: 0 for y, 1 for x.
            bins, points: numbers of bins, and of points within them, that broadcast to (R, ...).
        """
        start, each, grid = (
            field[:, axis].reshape(-1, *(1,) * (points.dim() - 1))
            for field in (self.start, self.bin, self.grid)
        )
        return start + bins * each + (points + 0.5) * each / grid


def grid_of(regions: Regions, size: tuple[int, int], grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Returns y, (R, P, 1, down, 1), and x, (R, 1, Q, 1, across), of all points of P x Q bins."""
    device = regions.start.device
    (rows, columns), (down, across) = (
        [torch.arange(count, device=device) for count in counts] for counts in (size, grid)
    )
    y = regions.coordinate(0, rows[:, None, None, None], down[None, None, None, :, None])
    x = regions.coordinate(1, columns[:, None, None], across[None, None, None, None, :])
    return y, x


def bilinear(images: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Returns values between pixels: 0 from a pixel outside on, the border's in between.

    Args:
        images: (N, C, H, W).
        image: (R,), which image.
        y, x: (R, ...), that broadcast to one shape, (R, *S).

    Returns:
        (R, *S, C).
    """
    height, width = images.shape[-2:]
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.detach().floor().long(), x.detach().floor().long()
    below, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    down, across = y - top, x - left
    pixels = images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
    first = image.reshape(-1, *(1,) * (inside.dim() - 1)) * height

    def at(row: Tensor, column: Tensor, weight: Tensor) -> Tensor:
        return pixels[(first + row) * width + column] * (weight * inside)[..., None]

    return (
        at(top, left, (1 - down) * (1 - across))
        + at(top, right, (1 - down) * across)
        + at(below, left, down * (1 - across))
        + at(below, right, down * across)
    )
