"""Export takes this: a network in eval mode, what it takes and gives, and what its file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from resnext_backbones.weights.publishers import Crop

INPUT = "images"
"""The one input of every file has this name: (N, C, H, W), float32, normalised."""


@dataclass(frozen=True)
class Output:
    """Describes an output; one that is no feature map has no stride.

    Attributes:
        name: in the file.
        channels: of a map, or the classes of logits.
        stride: in pixels of the image.
    """

    name: str
    channels: int
    stride: int | None = None


@dataclass(frozen=True)
class Subject:
    """Holds what is exported.

    Attributes:
        network: what is written, in eval mode: folded and fused where it can be.
        reference: what results are compared with: the network as it was trained, in eval mode.
        outputs: in their order.
        metadata: what the file says, by the keys of `export.metadata`.
        in_channels: of the images.
        least: pixels a side that images have at least.
        note: why it is written as it is, in words for the report; "" where there is nothing to say.
        crop: of the images that the weights are for, `whole` or None as of `export.facts`; a trunk
            is quantised with it, though its file takes any size and says none.
    """

    network: nn.Module
    reference: nn.Module
    outputs: tuple[Output, ...]
    metadata: Mapping[str, str]
    in_channels: int = 3
    least: int = 32
    note: str = ""
    crop: Crop | str | None = None

    def values(self, result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Returns what a network returned as a tuple, in the order of `outputs`."""
        return (result,) if isinstance(result, Tensor) else tuple(result)
